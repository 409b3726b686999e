"""The directives of Torque and PBS: user input becomes nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rps_core.errors import UsageError
from rps_core.models import Allocation, SessionSpec
from rps_core.schedulers.pbs import pbspro as pbs
from rps_core.schedulers.pbs import torque
from rps_core.schedulers.pbs.directives import job_name

BATCH = Path(torque.__file__).with_name("batch")
SESSION = Path("/home/alice/.local/state/rps/sessions/one-two-three")
Render = Callable[[SessionSpec], str]
RENDER: dict[str, Render] = {"torque": torque.rps_render_batch, "pbs": pbs.rps_render_batch}


def spec(scheduler: str, session_dir: Path = SESSION, /, **asked: Any) -> SessionSpec:
    return SessionSpec(
        name="one-two-three",
        tag="rps:one-two-three:0a0b0c0d",
        app="lab",
        template=BATCH / "jupyterlab.sh",
        session_dir=session_dir,
        directory=Path("/home/alice"),
        allocation=Allocation(**{"walltime": timedelta(minutes=30), **asked}),
    )


def directives(scheduler: str, **asked: Any) -> list[str]:
    script = RENDER[scheduler](spec(scheduler, **asked))
    return [line[5:] for line in script.split("\n") if line.startswith("#PBS ")]


OUTPUT = ["-r n", "-j oe", f"-o {SESSION}/spool.log", f"-S {SESSION}/job-shell"]


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


def test_gpus_of_a_type_are_nodes_with_that_property_on_torque() -> None:
    found = directives("torque", cpus=4, gpus=2, gpu_type="a100", constraint="ib")
    assert "-l nodes=1:ppn=4:gpus=2:a100:ib" in found


@pytest.mark.parametrize("mode", ["shared", "exclusive_process", "Default", "reseterr"])
def test_a_type_that_torque_reads_as_a_mode_is_refused(mode: str) -> None:
    with pytest.raises(UsageError, match="reads it as a mode"):
        directives("torque", gpus=1, gpu_type=mode)


def test_gpus_of_a_type_need_a_resource_of_the_site_on_pbs() -> None:
    wanted = spec("pbs", gpus=2, gpu_type="a100")
    with pytest.raises(UsageError, match="no types of its own") as caught:
        pbs.rps_render_batch(wanted)
    assert "scheduler.gpu_type_resource" in caught.value.hint
    script = pbs.rps_render_batch(replace(wanted, gpu_type_resource="gpu_model"))
    assert "\n#PBS -l select=1:ncpus=1:ngpus=2:gpu_model=a100\n" in script


def test_pbs_places_several_nodes_on_different_hosts() -> None:
    """Test `place=scatter`.

    One host can hold both chunks of `select=2` (pbs_resources(7B)).
    """
    assert "-l place=scatter" in directives("pbs", nodes=2)
    assert not [line for line in directives("pbs") if "place" in line]
    assert "-l place=scatter" not in directives("pbs", nodes=2, directives=("-lplace=pack",))


@pytest.mark.parametrize(
    ("scheduler", "own", "left_out"),
    [
        ("pbs", "-l select=1:ncpus=2+1:ncpus=4", {"select", "place"}),
        ("pbs", "-m n -lselect=3", {"select", "place"}),
        ("pbs", '-l "select=1:vntype=a,place=free"', {"select", "place"}),
        ("torque", "-l nodes=4:ppn=2,mem=9gb", {"nodes", "mem"}),
        ("torque", "-l procs=9", {"nodes"}),
        ("torque", "-L tasks=1:lprocs=4", {"nodes", "mem"}),
        ("torque", "-l qos=low -l advres=mine", {"qos", "advres"}),
    ],
)
@pytest.mark.parametrize("where", ["directive", "script"])
def test_the_resources_that_a_user_requests_replace_ours(
    scheduler: str, own: str, left_out: set[str], where: str, tmp_path: Path
) -> None:
    """Test precedence.

    PBS uses the first request (Libcmds/set_resource.c), Torque the last.
    """
    asked: dict[str, Any] = {"nodes": 2, "memory_mb": 64}
    if scheduler == "torque":
        asked |= {"qos": "high", "reservation": "r1"}
    ours = {line.split("=")[0].removeprefix("-l ") for line in directives(scheduler, **asked)}
    if where == "directive":
        found = directives(scheduler, **asked, directives=(own,))
    else:
        template = tmp_path / "mine.sh"
        template.write_text(f"#!/bin/bash\n# mine\n\n#PBS {own}\ndate\n")
        wanted = replace(spec(scheduler, **asked), template=template)
        script = RENDER[scheduler](wanted)
        found = [line[5:] for line in script.split("\n") if line.startswith("#PBS ")]
    assert own in found
    found.remove(own)
    assert {line.split("=")[0].removeprefix("-l ") for line in found} == ours - left_out


def test_pbs_is_asked_for_the_whole_job_beside_a_request_for_the_whole_job() -> None:
    """Test that no `select` is beside `-l ncpus`: PBS refuses that.

    Its message is msg_invaljobresc (src/lib/Liblog/pbs_messages.c).
    """
    found = directives("pbs", memory_mb=512, gpus=1, directives=("-l ncpus=8",))
    assert [line for line in found if line.startswith("-l ")] == [
        "-l mem=512mb", "-l ngpus=1", "-l walltime=00:30:00", "-l ncpus=8"
    ]  # fmt: skip
    found = directives("pbs", nodes=2, cpus=4, memory_mb=512, directives=("-l vmem=9gb",))
    assert [line for line in found if line.startswith("-l ")] == [
        "-l nodes=2:ppn=4", "-l mem=1024mb", "-l walltime=00:30:00", "-l vmem=9gb"
    ]  # fmt: skip


@pytest.mark.parametrize("scheduler", ["torque", "pbs"])
@pytest.mark.parametrize(
    ("own", "output"),
    [
        ("-t 0-1", "a session is one job"),
        ("-m n -J 0-1", "a session is one job"),
        ("-hJ0-1", "a session is one job"),
        ("-I", "a session is a batch job"),
        ("-S /bin/bash", "first line names its shell"),
        ("-z", "rps reads what qsub prints"),
        ("-C '#RPS'", "#PBS"),
        ("-l nodes=1,walltime=9:00:00", "rps start -t"),
        ("-W group_list=a,block=true", "rps start --wait"),
        ("-k oe", "`rps why` reads that output"),
        ("-m n -ko", "`rps why` reads that output"),
        ("-Roe", "`rps why` reads that output"),
        ("-m 'n", "not closed"),
        ("nodes=1", "is no option of qsub"),
    ],
)
def test_an_option_that_would_break_the_session_is_refused(
    scheduler: str, own: str, output: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        directives(scheduler, directives=(own,))
    assert output in f"{caught.value.message} {caught.value.hint}"
    template = tmp_path / "mine.sh"
    template.write_text(f"#!/bin/bash\n#PBS {own}\ndate\n")
    with pytest.raises(UsageError) as caught:
        RENDER[scheduler](replace(spec(scheduler), template=template))
    assert output in f"{caught.value.message} {caught.value.hint}"
    assert "mine.sh, line 2" in caught.value.message


@pytest.mark.parametrize("scheduler", ["torque", "pbs"])
@pytest.mark.parametrize("own", ["-k n", "-k doe"])
def test_an_output_that_goes_to_its_place_is_the_sites_choice(scheduler: str, own: str) -> None:
    assert own in directives(scheduler, directives=(own,))


@pytest.mark.parametrize("scheduler", ["torque", "pbs"])
def test_the_command_line_overrides_some_options_of_a_script(
    scheduler: str, tmp_path: Path
) -> None:
    """Test that they stay in the user's script.

    As directives they are dropped silently.
    """
    template = tmp_path / "mine.sh"
    own = "#PBS -N mine -r y -o /tmp/out -j n\n"
    template.write_text(f"#!/bin/bash\n{own}date\n#PBS -t 0-1\n")
    assert own in RENDER[scheduler](replace(spec(scheduler), template=template))
    for option in ("-N mine", "-r y", "-o /tmp/out", "-j n"):
        with pytest.raises(UsageError, match="a session cannot have"):
            directives(scheduler, directives=(option,))


def test_a_reservation_of_pbs_is_a_queue() -> None:
    assert "-q R123" in directives("pbs", reservation="R123")


@pytest.mark.parametrize(("options", "queue"), [({"reservation"}, "R1"), ({"partition"}, "workq")])
def test_an_option_replaces_the_queue_that_is_configured(options: set[str], queue: str) -> None:
    """A site sets `job.partition`, and the user gives --reservation."""
    found = directives("pbs", reservation="R1", partition="workq", given=frozenset(options))
    assert [line for line in found if line.startswith("-q")] == [f"-q {queue}"]


@pytest.mark.parametrize(
    ("options", "output"),
    [({"partition", "reservation"}, "Omit --reservation or -p."), (set(), "job.reservation")],
)
def test_a_job_of_pbs_cannot_have_two_queues(options: set[str], output: str) -> None:
    with pytest.raises(UsageError, match="R1 or workq") as caught:
        directives("pbs", reservation="R1", partition="workq", given=frozenset(options))
    assert output in caught.value.hint


@pytest.mark.parametrize(
    ("asked", "output"),
    [
        ({"qos": "high"}, "no quality of service"),
        ({"constraint": "haswell"}, "cpu_type=rome"),
    ],
)
def test_what_pbs_does_not_have_is_refused(asked: dict[str, str], output: str) -> None:
    with pytest.raises(UsageError) as caught:
        directives("pbs", **asked)
    assert output in str(caught.value)


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
    """Test any value: it is refused, or stays on one line of comment.

    The rest of the script is the same as without it.
    """
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
