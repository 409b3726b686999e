"""The directives of Torque and PBS, and that nothing a user types becomes anything else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rps_core import planning
from rps_core.errors import UsageError
from rps_core.models import Allocation, SessionSpec
from rps_core.schedulers import pbs, torque
from rps_core.schedulers.torque_directives import job_name

BATCH = Path(planning.__file__).parent / "batch"
SESSION = Path("/home/alice/.local/state/rps/sessions/one-two-three")
Render = Callable[[SessionSpec], str]
RENDER: dict[str, Render] = {"torque": torque.rps_render_batch, "pbs": pbs.rps_render_batch}


def spec(scheduler: str, session_dir: Path = SESSION, /, **asked: Any) -> SessionSpec:
    return SessionSpec(
        name="one-two-three",
        tag="rps:one-two-three:0a0b0c0d",
        app="lab",
        template=BATCH / scheduler / "jupyterlab.sh",
        session_dir=session_dir,
        directory=Path("/home/alice"),
        allocation=Allocation(**{"walltime": timedelta(minutes=30), **asked}),
    )


def directives(scheduler: str, **asked: Any) -> list[str]:
    script = RENDER[scheduler](spec(scheduler, **asked))
    return [line[5:] for line in script.split("\n") if line.startswith("#PBS ")]


OUTPUT = ["-r n", "-j oe", f"-o {SESSION}/spool.log"]


def test_torque_asks_for_everything() -> None:
    assert directives(
        "torque", walltime=timedelta(hours=168), account="abc123", partition="gpu-hotel", qos="high",
        reservation="course.12", constraint="haswell:ib", nodes=2, tasks=2, cpus=4, gpus=1,
        memory_mb=2048, directives=("-l nice=5", "-m n"),
    ) == [
        "-N rps-26ec65d794",
        "-l nodes=2:ppn=8:gpus=1:haswell:ib",
        "-l walltime=168:00:00",
        "-l mem=4096mb",
        "-q gpu-hotel",
        "-A abc123",
        "-l qos=high",
        "-l advres=course.12",
        *OUTPUT,
        "-l nice=5",
        "-m n",
    ]  # fmt: skip


def test_torque_asks_for_no_more_than_was_asked() -> None:
    assert directives("torque") == [
        "-N rps-26ec65d794",
        "-l nodes=1:ppn=1",
        "-l walltime=00:30:00",
        *OUTPUT,
    ]


def test_pbs_asks_for_everything() -> None:
    assert directives(
        "pbs", walltime=timedelta(hours=30), account="abc123", partition="workq",
        constraint="cpu_type=rome:switch=s1", nodes=2, tasks=2, cpus=4, gpus=1, memory_mb=2048,
        directives=("-l place=excl",),
    ) == [
        "-N rps-26ec65d794",
        "-l select=2:ncpus=8:mem=2048mb:ngpus=1:cpu_type=rome:switch=s1",
        "-l walltime=30:00:00",
        "-q workq",
        "-A abc123",
        *OUTPUT,
        "-l place=excl",
    ]  # fmt: skip


def test_a_reservation_of_pbs_is_a_queue() -> None:
    assert "-q R123" in directives("pbs", reservation="R123")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"qos": "high"}, "no quality of service"),
        ({"reservation": "R1", "partition": "workq"}, "Leave out one"),
        ({"constraint": "haswell"}, "cpu_type=rome"),
    ],
)
def test_what_pbs_does_not_have_is_refused(asked: dict[str, str], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        directives("pbs", **asked)
    assert told in str(caught.value)


@pytest.mark.parametrize("scheduler", ["torque", "pbs"])
@pytest.mark.parametrize(
    "path",
    ["/home/a b", "/home/a&b", "/home/a$b", "/home/a:b", "/home/a,b", "/home/é", "/a'b", "/%j"],
)
def test_a_session_directory_that_qsub_would_expand_is_refused(scheduler: str, path: str) -> None:
    with pytest.raises(UsageError, match="XDG_STATE_HOME"):
        RENDER[scheduler](spec(scheduler, Path(path)))


NASTY = st.one_of(
    st.text(max_size=30),
    st.text(st.sampled_from("ab1 ,:=$()`'\"\\;&|<>#\n\r\t\0\x1b%*?~-é\u2028\x85"), max_size=12),
)
FIELDS = ("account", "partition", "qos", "reservation", "constraint")


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(["torque", "pbs"]),
    st.dictionaries(st.sampled_from(FIELDS), NASTY, min_size=1),
    st.lists(NASTY, max_size=2),
)
def test_nothing_typed_is_more_than_one_directive(
    scheduler: str, asked: dict[str, str], extra: list[str]
) -> None:
    """Whatever the values: they are refused, or each stands on a line that is a comment to any shell,
    and the rest of the script is what it is without them."""
    try:
        script = RENDER[scheduler](spec(scheduler, **{**asked, "directives": tuple(extra)}))
    except UsageError:
        return
    lines = script.split("\n")
    plain = RENDER[scheduler](spec(scheduler)).split("\n")
    assert [line for line in lines if not line.startswith("#PBS ")] == [
        line for line in plain if not line.startswith("#PBS ")
    ]
    given_lines = [line for line in lines if line.startswith("#PBS ")]
    always = [line for line in plain if line.startswith("#PBS ")]
    # A constraint is part of the line that asks for nodes; every other value has one of its own.
    own = len([field for field in asked if field != "constraint"])
    assert len(given_lines) == len(always) + own + len(extra)
    for line in given_lines[: len(given_lines) - len(extra)]:
        assert set(line) <= set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789#_.+@-/=: "
        )


@settings(max_examples=200, deadline=None)
@given(NASTY)
def test_no_name_of_a_job_can_be_made_to_be_anything(tag: str) -> None:
    name = job_name(tag)
    assert len(name) <= 15
    assert set(name) <= set("rps-0123456789abcdef")
