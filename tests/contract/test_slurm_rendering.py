"""The `#SBATCH` lines: what sbatch reads in them is what was meant, and nothing else.

That `arguments` reads as sbatch does was held against sbatch itself (22.05); tests/cluster submits.
"""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rps_core import planning, rendering
from rps_core.errors import UsageError
from rps_core.models import Allocation, SessionSpec
from rps_core.schedulers import slurm
from rps_core.schedulers import slurm_directives as directives
from rps_core.testing import HOSTILE

FREE = ("account", "partition", "qos", "reservation", "constraint")
ODD = st.text(max_size=30) | st.text("ab \\\"'#$(;`%,=:-\t\n\r\0é\u2028", max_size=20)


def spec(
    session_dir: Path = Path("/s"),
    *,
    gpu_directive: str = "gres",
    warn_before: int = 0,
    **asked: object,
) -> SessionSpec:
    wanted: dict[str, object] = {"walltime": timedelta(minutes=30), **asked}
    return SessionSpec(
        name="one-two-three",
        tag="rps:one-two-three:0a0b0c0d",
        app="lab",
        template=planning.find_template("slurm/jupyterlab.sh", "slurm"),
        session_dir=session_dir,
        directory=Path("/home/alice"),
        allocation=Allocation(**wanted),  # type: ignore[arg-type]
        gpu_directive=gpu_directive,
        warn_before=warn_before,
    )


def read_by_sbatch(script: str) -> list[str]:
    """The arguments of all directives; they end at the first line that is no comment."""
    found: list[str] = []
    for line in script.split("\n"):
        if line and not line.startswith("#"):
            break
        if line.startswith("#SBATCH"):
            found += directives.arguments(line.removeprefix("#SBATCH"))
    return found


PLAIN = read_by_sbatch(slurm.rps_render_batch(spec=spec()))


def asked_of_all(value: str) -> SessionSpec:
    return spec(account=value, partition=value, qos=value, reservation=value, constraint=value)


@settings(max_examples=300, deadline=None)
@given(ODD | st.sampled_from(HOSTILE))
def test_a_value_is_read_back_whole_or_refused(value: str) -> None:
    if not value or not value.isprintable():
        with pytest.raises(UsageError, match=r"is empty|line break or a control character"):
            slurm.rps_render_batch(spec=asked_of_all(value))
        return
    found = read_by_sbatch(slurm.rps_render_batch(spec=asked_of_all(value)))
    assert [one for one in found if one not in PLAIN] == [f"--{name}={value}" for name in FREE]
    assert len(found) == len(PLAIN) + len(FREE)


@settings(max_examples=25, deadline=None)
@given(ODD.filter(lambda text: text.isprintable() and text != ""))
def test_a_value_is_nothing_to_the_shell(value: str) -> None:
    """bash runs no more and no less of the script than with a harmless one."""
    traced = [
        subprocess.run(
            ["bash", "-xc", slurm.rps_render_batch(spec=one)], capture_output=True, check=False, cwd="/"
        ).stderr
        for one in (asked_of_all("plain"), asked_of_all(value))
    ]  # fmt: skip
    assert b"RPS_SESSION=/s" in traced[0]
    assert traced[0] == traced[1]


@given(ODD)
def test_reading_a_directive_never_surprises(text: str) -> None:
    try:
        found = directives.arguments(text)
    except UsageError:
        return
    assert len("".join(found)) <= len(text)


@pytest.mark.parametrize(
    ("line", "found"),
    [  # seen with `sbatch -vv` of 22.05
        ("--account=a#b", ["--account=a"]),
        ("--account=a b", ["--account=a", "b"]),
        ('--account="a b" --qos=x', ["--account=a b", "--qos=x"]),
        ("--account='a\"b\\c'", ['--account=a"bc']),
        ('--account="a\\"b\\\\c"', ['--account=a"b\\c']),
        ('--account="a\\\\\\"b $(x) `y` , ; & é"', ['--account=a\\"b $(x) `y` , ; & é']),
        ('--account=""', ["--account="]),
        ("--account='it'\\''s'", ["--account=it's"]),
        ('-A "#x"', ["-A", "#x"]),
        ("--exclusive # really", ["--exclusive"]),
        (" \t -p shared,debug  -N 1 ", ["-p", "shared,debug", "-N", "1"]),
    ],
)
def test_sbatchs_own_way_of_reading(line: str, found: list[str]) -> None:
    assert directives.arguments(line) == found


@pytest.mark.parametrize(
    "directive",
    ["--exclusive", "-x comet-14-01", "--mail-type=END --mail-user=a@b", '--begin="now+1hour"',
     "--time-min=5", "--wait-all-nodes=1", "--nice=5 # politely", "--mem-per-cpu=2G", "-H", "-w n1"],
)  # fmt: skip
def test_a_directive_of_the_users_is_passed_on_as_it_is(directive: str) -> None:
    script = slurm.rps_render_batch(spec=spec(directives=(directive,)))
    assert f"\n#SBATCH {directive}\n" in script


@pytest.mark.parametrize(
    ("directive", "told"),
    [
        ("exclusive", "no option of sbatch"),
        ("", "no option of sbatch"),
        ("# nothing", "no option of sbatch"),
        ("hetjob", "no option of sbatch"),
        ('--account="x', "not closed"),
        ("--account=a\\ b", "backslash"),
        ("--nice=5\n#SBATCH --array=1-9", "--array"),
        ("--nice=5\r--x", "line break"),
        ("--array=1-9", "a session is one job"),
        ("-a1-9", "a session is one job"),
        ("--exclusive --arr 1-9", "a session is one job"),
        ('"--array=1-9"', "a session is one job"),
        ("--time=5", "give it with -t"),
        ("-t 5", "give it with -t"),
        ("-o/tmp/x", "`rps logs` reads"),
        ("--export=ALL", "must not inherit"),
        ("--comment=mine", "recognised by it"),
        ("-J mine", "recognised by it"),
        ("--requeue", "good for one run"),
        ("-Q", "reads what sbatch prints"),
        ("-M other", "on this cluster"),
    ],
)
def test_a_directive_that_would_break_the_session_is_refused(directive: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        slurm.rps_render_batch(spec=spec(directives=(directive,)))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("directory", "shown"),
    [
        ("/home/alice/s", "--output=/home/alice/s/job.log"),
        ("/home/a b/s", '--output="/home/a b/s/job.log"'),
        ("/home/50%/%j/s", "--output=/home/50%%/%%j/s/job.log"),
        ('/home/it\'s "q" #1/s', '--output="/home/it\'s \\"q\\" #1/s/job.log"'),
        ("/home/été/s", '--output="/home/été/s/job.log"'),
    ],
)
def test_the_logs_path(directory: str, shown: str) -> None:
    assert shown in directives.directives(spec(Path(directory)))


@pytest.mark.parametrize(
    "directory", ["/home/a\\b/s", "/home/a\nb/s", "/home/\udcff/s", "/" + "x" * 5000]
)
def test_a_path_that_slurm_cannot_write_to_is_refused(directory: str) -> None:
    with pytest.raises(UsageError):
        list(directives.directives(spec(Path(directory))))


def test_gpus_in_the_two_spellings() -> None:
    """`--gres` counts those of a node, `--gpus` those of the job."""
    assert "--gres=gpu:2" in directives.directives(spec(gpus=2, nodes=3))
    assert "--gpus=6" in directives.directives(spec(gpus=2, nodes=3, gpu_directive="gpus"))
    assert not [one for one in directives.directives(spec()) if "gres" in one or "gpus" in one]


def test_nothing_is_asked_for_that_was_not_wanted() -> None:
    """No memory, no cores, no account that somebody else might not have."""
    assert PLAIN == [
        "--job-name=rps-one-two-three", "--comment=rps:one-two-three:0a0b0c0d", "--time=00:30:00",
        "--nodes=1", "--ntasks-per-node=1", "--no-requeue", "--export=NONE", "--output=/s/job.log",
        "--open-mode=append",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("minutes", "seconds", "signal"),
    [(30, 120, "--signal=B:USR1@120"), (6, 120, "--signal=B:USR1@120"), (5, 120, None),
     (2, 0, None), (60, 0, None), (3, 20, "--signal=B:USR1@20"), (60, 3600, None)],
)  # fmt: skip
def test_the_warning_comes_in_the_second_half_or_not_at_all(
    minutes: int, seconds: int, signal: str | None
) -> None:
    """Slurm may send it a minute early, to a script that still loads its modules."""
    wanted = spec(walltime=timedelta(minutes=minutes), warn_before=seconds)
    found = [one for one in directives.directives(wanted) if one.startswith("--signal")]
    assert found == ([signal] if signal else [])


def test_a_signal_of_ones_own_counts_more_than_the_warning() -> None:
    """sbatch takes the last."""
    wanted = spec(warn_before=120, directives=("--signal=B:USR1@300",))
    found = [one for one in directives.directives(wanted) if one.startswith("--signal")]
    assert found[-1] == "--signal=B:USR1@300"


@pytest.mark.parametrize("app", ["jupyterlab", "notebook"])
def test_the_warning_does_not_end_a_script_that_still_loads_modules(
    app: str, tmp_path: Path
) -> None:
    """The packaged script, run by bash, warned while it is in prepare.sh."""
    (tmp_path / "prepare.sh").write_text("kill -USR1 $$; echo lives\n")
    (tmp_path / "run-agent.sh").write_text("echo agent\n")
    template = planning.find_template(f"slurm/{app}.sh", "slurm")
    script = rendering.render(template, (), tmp_path)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "lives\nagent\n", done
