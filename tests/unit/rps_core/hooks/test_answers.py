"""Each hook's answer is checked by its declared type, down to the last field."""

import dataclasses
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rps_core import hookspecs, jobs, models, traits
from rps_core.hooks.answers import WrongAnswerError, checked, declared
from rps_core.jobs import Evidence, Gone, JobPhase, Known, ObservedJob, Outcome, Unknown
from rps_core.models import Claim, Cluster, Presence
from rps_core.traits import HealthCheck

HOOKS = sorted(name for name, spec in vars(hookspecs).items() if hasattr(spec, "rps_spec"))
HERE = Cluster(name="toy", site="toy", scheduler="slurm")
RUNNING = Known(phase=JobPhase.RUNNING)
odd: Any = object()


@pytest.mark.parametrize("hook", HOOKS)
def test_the_declared_type_of_every_hook_can_be_checked(hook: str) -> None:
    assert declared(hook) is not Any
    with pytest.raises(WrongAnswerError, match="its answer"):
        checked(hook, odd)


def test_the_fields_of_every_dataclass_can_be_checked() -> None:
    """None has a type that is imported for the type checker alone."""
    from rps_core.hooks import answers

    values = (*vars(jobs).values(), *vars(models).values(), *vars(traits).values())
    kinds = [one for one in values if dataclasses.is_dataclass(one)]
    assert len(kinds) > 10
    for kind in kinds:
        assert answers._fields(kind).keys() == {one.name for one in dataclasses.fields(kind)}  # type: ignore[arg-type]


class Words(Mapping[str, str]):
    """A mapping that is no dict, and changes."""

    def __getitem__(self, key: str) -> str:
        return "1"

    def __iter__(self) -> Iterator[str]:
        return iter(["tag"])

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("hook", "answer"),
    [
        ("rps_detect_cluster", None),
        ("rps_detect_cluster", Claim(cluster=HERE, reasons=("a", "b"), unusable="no")),
        ("rps_scheduler_presence", Presence(answers=True, seen="x")),
        ("rps_site_config", Path(__file__)),
        ("rps_default_allocation", "abc-123_x"),
        ("rps_default_allocation", "é"),
        ("rps_render_batch", "#!/bin/sh\n"),
        ("rps_render_batch", "#!/bin/sh\ncd /home/\udcff\n"),
        ("rps_submit", "12[3].server"),
        ("rps_poll", {"1": RUNNING, "2": Gone(outcome=Outcome.ENDED, evidence="x")}),
        ("rps_poll", {"1": Known(phase=JobPhase.PENDING, estimated_start=datetime.now(UTC))}),
        ("rps_poll_all_users", {"1": ObservedJob(status=Unknown(reason="x"), owner="me")}),
        ("rps_job_details", ()),
        ("rps_cancel", False),
        ("rps_health_checks", (HealthCheck(argv=("a",)),)),
        ("rps_session_started", None),
    ],
)
def test_an_answer_of_its_type_is_returned(hook: str, answer: object) -> None:
    assert checked(hook, answer) == answer


@pytest.mark.parametrize(
    ("hook", "answer", "message"),
    [
        ("rps_clusters", None, "answer is None (NoneType), not Sequence[Cluster]"),
        ("rps_clusters", (one for one in [HERE]), "(generator), not Sequence[Cluster]"),
        ("rps_clusters", [HERE, "toy"], "answer[1] is 'toy' (str), not Cluster"),
        ("rps_clusters", [Cluster(name="a b", site="x", scheduler="y")], "answer[0].name is 'a b'"),
        ("rps_clusters", [Cluster(name="", site="x", scheduler="y")], "answer[0].name is ''"),
        ("rps_detect_cluster", HERE, "not Claim or None"),
        ("rps_detect_cluster", Claim(cluster=odd, reasons=()), "answer.cluster is <object"),
        ("rps_detect_cluster", Claim(cluster=HERE, reasons=["x"]), "answer.reasons is ['x'] (list)"),  # type: ignore[arg-type]
        ("rps_detect_cluster", Claim(cluster=HERE, reasons=(1,)), "answer.reasons[0] is 1 (int)"),  # type: ignore[arg-type]
        ("rps_detect_cluster", Claim(cluster=HERE, reasons=(), fallback=1), "answer.fallback is 1"),  # type: ignore[arg-type]
        ("rps_scheduler_presence", True, "answer is True (bool), not Presence or None"),
        ("rps_site_config", "site.yaml", "not the path of a file"),
        ("rps_site_config", Path("/nowhere"), "which is not a file"),
        ("rps_site_config", Path("/"), "which is not a file"),
        ("rps_default_allocation", ["abc"], "answer is ['abc'] (list), not str or None"),
        ("rps_default_allocation", b"abc", "(bytes), not str or None"),
        ("rps_default_allocation", "", "must be one printable word"),
        ("rps_default_allocation", "a b", "must be one printable word"),
        ("rps_default_allocation", "a\x1b[31m", "must be one printable word"),
        ("rps_default_allocation", "\ud800", "must be one printable word"),
        ("rps_default_allocation", "a" * 257, "must be one printable word"),
        ("rps_partitions", "debug", "answer is 'debug' (str), not Sequence[str] or None"),
        ("rps_partitions", {"debug"}, "(set), not Sequence[str] or None"),
        ("rps_partitions", ["debug", "a b"], "answer[1] is 'a b' (str), and must be one printable"),
        ("rps_allocations", [1], "answer[0] is 1 (int), not str"),
        ("rps_render_batch", 42, "answer is 42 (int), not str"),
        ("rps_render_batch", "", "must be a script"),
        ("rps_render_batch", " #!/bin/sh", "must be a script"),
        ("rps_render_batch", "#!/bin/sh\n\ud800", "must be a script"),
        ("rps_submit", 42, "answer is 42 (int), not str"),
        ("rps_submit", "--all", "does not begin with `-`"),
        ("rps_submit", "é", "printable ASCII word"),
        ("rps_poll", [RUNNING], "(list), not Mapping[str, Known or Gone or Unknown] or None"),
        ("rps_poll", {1: RUNNING}, "answer (a key) is 1 (int), not str"),
        ("rps_poll", {"1": None}, "answer['1' (str)] is None (NoneType), not Known or Gone"),
        ("rps_poll", {"1": Known(phase="running")}, ".phase is 'running' (str), not JobPhase"),  # type: ignore[arg-type]
        ("rps_poll", {"1": Known(phase=JobPhase.RUNNING, time_left=60)}, ".time_left is 60 (int)"),  # type: ignore[arg-type]
        (
            "rps_poll",
            {"1": Known(phase=JobPhase.PENDING, estimated_start=datetime(2026, 1, 1))},
            "must be a time with its time zone",
        ),
        ("rps_poll", {"1": Gone(outcome=Outcome.ENDED, evidence="x", exit_code=True)}, "exit_code is True"),
        ("rps_poll_all_users", {"1": RUNNING}, "not ObservedJob"),
        ("rps_poll_all_users", {"1": ObservedJob(status=odd)}, ".status is <object"),
        ("rps_job_name", "", "must be one printable word"),
        ("rps_job_details", [Evidence(source="x", line=None)], "answer[0].line is None"),  # type: ignore[arg-type]
        ("rps_find_jobs", {"tag": 1}, "is 1 (int), not str"),
        ("rps_find_jobs", ["tag"], "(list), not Mapping[str, str] or None"),
        ("rps_list_jobs", ["1", ""], "answer[1] is ''"),
        ("rps_cancel", 1, "answer is 1 (int), not bool or None"),
        ("rps_cancel", "yes", "answer is 'yes' (str), not bool or None"),
        ("rps_health_checks", [HealthCheck(argv=())], "answer[0].argv is () (tuple), and must be a program"),
        ("rps_health_checks", [HealthCheck(argv="squeue")], "answer[0].argv is 'squeue' (str)"),  # type: ignore[arg-type]
        ("rps_current_job", 17, "answer is 17 (int), not str or None"),
        ("rps_start_step", "1", "answer is '1' (str), not bool or None"),
        ("rps_session_ended", True, "answer is True (bool), not None"),
    ],
)  # fmt: skip
def test_an_answer_of_another_kind_is_refused_with_its_place(
    hook: str, answer: object, message: str
) -> None:
    with pytest.raises(WrongAnswerError) as caught:
        checked(hook, answer)
    assert message in str(caught.value)


def test_sequences_and_mappings_become_plain_ones() -> None:
    """Test a plugin's own types, which may change or raise at a second look."""
    assert type(checked("rps_find_jobs", Words())) is dict
    assert type(checked("rps_partitions", ["a"])) is tuple


def test_a_value_that_cannot_be_shown_is_named_by_its_type() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise ValueError

    with pytest.raises(WrongAnswerError, match="its answer is a Odd, not bool or None"):
        checked("rps_cancel", Odd())
