"""The words of the launcher, the service and the agent are the same ones."""

from __future__ import annotations

from enum import StrEnum

import pytest

from rps_core.diagnosis.causes import LIVING, OVER
from rps_core.node.agent.events import EndCause as AgentEndCause
from rps_core.node.agent.protocol import WAITS
from rps_core.protocol import Cause, EndCause
from rps_proxy.refusals import Refusal


def test_the_agent_and_the_launcher_have_the_same_end_causes() -> None:
    """Python 3.6 has no StrEnum: the agent's words are constants of the same names."""
    agents = {name: word for name, word in vars(AgentEndCause).items() if name.isupper()}
    assert len(agents) == 10
    assert agents == {name: EndCause[name].value for name in agents}


def test_each_cause_has_a_meaning_and_no_other_word_has_one() -> None:
    assert {*LIVING, *OVER} == set(Cause)
    assert all(isinstance(word, Cause) for word in (*LIVING, *OVER))


def test_the_words_for_waiting_are_causes() -> None:
    assert set(WAITS) <= set(Cause)


@pytest.mark.parametrize("vocabulary", [Cause, EndCause, Refusal])
def test_a_member_is_named_as_its_word(vocabulary: type[StrEnum]) -> None:
    for member in vocabulary:
        assert member.name == member.value.upper().replace("-", "_").replace(" ", "_")
