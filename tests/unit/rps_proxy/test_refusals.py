"""The refusal codes of docs/protocol.md, the launcher and the agent."""

from __future__ import annotations

import re
from pathlib import Path

from rps_core.node.agent.protocol import is_code, is_line
from rps_core.proxy_client import rps as client
from rps_proxy.refusals import Refusal

PROTOCOL = Path(__file__).parents[3] / "docs/protocol.md"
ROW = re.compile(r"\| (\d{3}) \| (.*) \|")
CODE = re.compile(r"(?:^|, |; )`([a-z-]+)`")


def test_the_documented_codes_and_statuses_are_those_that_are_sent() -> None:
    table = PROTOCOL.read_text().partition("| status | codes |")[2].partition("\n\n")[0]
    documented = {
        code: int(status)
        for status, cell in ROW.findall(table)
        for code in CODE.findall(re.sub(r" \([^)]*\)", "", cell))
    }
    assert documented == {refusal.value: refusal.status for refusal in Refusal}


def test_every_code_and_message_is_in_the_grammar_that_clients_accept() -> None:
    for refusal in Refusal:
        assert is_code(refusal.value), refusal
        assert is_line(refusal.message), refusal


def test_overload_is_the_one_kind_that_names_a_time_for_the_next_attempt() -> None:
    for refusal in Refusal:
        assert bool(refusal.retry_after) == (refusal.status in (429, 503)), refusal


def test_the_launcher_advises_on_codes_that_the_service_sends() -> None:
    sent = {refusal.value for refusal in Refusal}
    assert set(client._WHAT_TO_DO) <= sent
    assert set(client._TOO_FAST) <= sent
