"""The `#SBATCH` lines: sbatch reads in them what was meant, and nothing else.

`arguments` was compared with sbatch itself (22.05); tests/cluster submits.
"""

from __future__ import annotations

import dataclasses
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rps_core.batch import render as rendering
from rps_core.batch.render import ONLY_OURS
from rps_core.errors import UsageError
from rps_core.models import Allocation, SessionSpec
from rps_core.schedulers.slurm import directives
from rps_core.schedulers.slurm import plugin as slurm
from rps_core.testing import HOSTILE

TEMPLATES = Path(slurm.__file__).with_name("batch")

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
        template=TEMPLATES / "jupyterlab.sh",
        session_dir=session_dir,
        directory=Path("/home/alice"),
        allocation=Allocation(**wanted),  # type: ignore[arg-type]
        gpu_directive=gpu_directive,
        warn_before=warn_before,
    )


def read_by_sbatch(script: str) -> list[str]:
    """Return the arguments of all directives; they end at the first line that is no comment."""
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
        with pytest.raises(UsageError, match=r"is empty|an unprintable character"):
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
            ["bash", "-xc", slurm.rps_render_batch(spec=one).replace(ONLY_OURS, "")],
            capture_output=True, check=False, cwd="/",
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
    ("directive", "output"),
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
        ("--time=5", "use `rps start -t`"),
        ("-t 5", "use `rps start -t`"),
        ("-o/tmp/x", "`rps logs` reads"),
        ("--export=ALL", "must not inherit"),
        ("--comment=mine", "rps identifies the job by it"),
        ("-J mine", "rps identifies the job by it"),
        ("--error=/tmp/x", "`rps logs` and `rps why` read"),
        ("-Ha1-9", "a session is one job"),
        ("-HO -vo/tmp/x", "`rps logs` reads"),
        ("--requeue", "valid for one run"),
        ("-Q", "reads what sbatch prints"),
        ("-M other", "on this cluster"),
    ],
)
def test_a_directive_that_would_break_the_session_is_refused(directive: str, output: str) -> None:
    with pytest.raises(UsageError) as caught:
        slurm.rps_render_batch(spec=spec(directives=(directive,)))
    assert output in str(caught.value)


def of_the_users(tmp_path: Path, *lines: str) -> str:
    """Return the script that is made of a user's own with these lines."""
    own = tmp_path / "mine.sh"
    own.write_text("\n".join(("#!/bin/bash -l", *lines, "")))
    return slurm.rps_render_batch(spec=dataclasses.replace(spec(), template=own))


@pytest.mark.parametrize(
    ("line", "output"),
    [
        ("#SBATCH --output=/tmp/x", "--output, which rps sets. Remove it: `rps logs` reads"),
        ("#SBATCH\t-o /tmp/x # mine", "--output, which rps sets"),
        ("#SBATCH--err=/tmp/x", "--error, which rps sets"),
        ("#SBATCH -N1 --array=0-1", "--array, which rps sets. Remove it: a session is one job"),
        ("#SBATCH -Ha0-1", "--array, which rps sets"),
        ("#SBATCH --time=8:00:00", "use `rps start -t`"),
        ("#SBATCH --export ALL", "--export, which rps sets"),
        ("#SBATCH --requeue", "--requeue, which rps sets"),
        ("#SLURM --array=0-1", "--array, which rps sets"),
        ("#SBATCH hetjob", "heterogeneous"),
        ("#SBATCH  PackJob", "heterogeneous"),
        ('#SBATCH --account="x', "not closed"),
    ],
)
def test_a_directive_of_a_users_script_that_would_break_the_session_is_refused(
    line: str, output: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        of_the_users(tmp_path, "# mine", "#SBATCH --exclusive", "", line, "# rps: session", "ls")
    assert str(tmp_path / "mine.sh") in caught.value.message
    assert caught.value.hint.startswith("line 5, `")
    assert output in caught.value.hint
    assert "\n" not in caught.value.hint


def test_all_such_lines_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        of_the_users(tmp_path, "#SBATCH -o x -t 5", "#SBATCH -a 1-2")
    names = [line.partition(" sets ")[2].split(",")[0] for line in caught.value.hint.splitlines()]
    assert names == ["--output", "--time", "--array"]


def test_other_directives_of_a_users_script_apply(tmp_path: Path) -> None:
    """Test directives below shell code, which have no effect.

    Name and comment are arguments.
    """
    own = ("#SBATCH --exclusive", "#SBATCH", "#SBATCH # -o x", "# SBATCH -o x", " #SBATCH -o x",
           "#SBATCH -J mine --comment=mine", "#PBS -t 0-1", "ls", "#SBATCH --array=0-1")  # fmt: skip
    assert "\n".join(own[:7]) in of_the_users(tmp_path, *own)


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


@pytest.mark.parametrize(
    ("option", "requested"), [("gres", "--gres=gpu:a100:2"), ("gpus", "--gpus=a100:6")]
)
def test_gpus_of_a_type(option: str, requested: str) -> None:
    """As sbatch(1) has it: `--gres=gpu:TYPE:N`, `--gpus=TYPE:N`."""
    wanted = spec(gpus=2, gpu_type="a100", nodes=3, gpu_directive=option)
    assert requested in directives.directives(wanted)


@pytest.mark.parametrize(
    ("own", "rendered"),
    [
        (("--gres=lustre:1",), ["--gres=gpu:a100:2,lustre:1"]),
        (("--gres lustre:1 --exclusive",), ["--gres=gpu:a100:2,lustre:1", "--exclusive"]),
        (("--gres=craynetwork:0", "--gres=lustre:1"), ["--gres=gpu:a100:2,lustre:1"]),
        (("--gres=none",), ["--gres=gpu:a100:2"]),
        (
            ('--gres-flags=enforce-binding --mail-user="a b"', "--gpu-bind=none"),
            ["--gres=gpu:a100:2", '--gres-flags=enforce-binding --mail-user="a b"', "--gpu-bind=none"],
        ),
        (('--gres=a:1 --mail-user="a b"',), ["--gres=gpu:a100:2,a:1", '"--mail-user=a b"']),
    ],
)  # fmt: skip
def test_gres_of_the_user_and_gpus_are_one_option(
    own: tuple[str, ...], rendered: list[str]
) -> None:
    """Test that both are one option: sbatch keeps only the last `--gres`, silently."""
    without = list(directives.directives(spec()))
    wanted = directives.directives(spec(gpus=2, gpu_type="a100", directives=own))
    assert [one for one in wanted if one not in without] == rendered
    wanted = directives.directives(spec(gpus=2, directives=own, gpu_directive="gpus"))
    assert [one for one in wanted if one not in without] == ["--gpus=2", *own]
    assert list(directives.directives(spec(directives=own))) == [*without, *own]


@pytest.mark.parametrize(
    "own",
    ["--gres=gpu:1", "--gres gpu", "--gres=lustre:1,gpu:v100:2(S:0)", "-G 2", "-Gv100:1", "--gpus=1",
     "--exclusive --gpus 2", "--gpus-per-node=1", "--gpus-per-n 1", "--gpus-per-task=v100:1",
     "--tres-per-task=gres/gpu:1", "--tres-per-t gres:gpu:1", "--tres-per-task=cpu:4,gres/gpu=2",
     "-HG2", "-HOG 2", "-k1 -G2", "--nodes -N1 --gpus=1", "--gpus-per-no=1"],
)  # fmt: skip
@pytest.mark.parametrize("option", ["gres", "gpus"])
def test_gpus_that_are_requested_twice_are_refused(own: str, option: str) -> None:
    with pytest.raises(UsageError, match="requests GPUs, and so does") as caught:
        list(directives.directives(spec(gpus=2, directives=(own,), gpu_directive=option)))
    assert "-g 0" in caught.value.hint
    assert own in directives.directives(spec(gpus=0, directives=(own,), gpu_directive=option))


def test_gres_in_the_middle_of_a_directive_is_joined() -> None:
    wanted = list(directives.directives(spec(gpus=2, directives=("-H --gres a:1 -N 2",))))
    assert "--gres=gpu:2,a:1" in wanted
    assert wanted[-1] == "-H -N 2"


@pytest.mark.parametrize(
    "own", ["--gres", "--exclusive --mail-user", "-H -w", "-G", "--gpus-per-n"]
)
def test_a_directive_that_would_swallow_the_next_is_refused(own: str) -> None:
    with pytest.raises(UsageError, match="lacks the value of --"):
        list(directives.directives(spec(directives=(own, "--hold"))))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("#SBATCH --gres=gpu:1", "requests GPUs, and so does `job.gpus` (2). Omit one"),
        ("#SBATCH -HG1", "requests GPUs, and so does `job.gpus` (2). Omit one"),
        ("#SBATCH --gpus-per-n=1", "requests GPUs, and so does `job.gpus` (2). Omit one"),
        ("#SBATCH --gres=lustre:1", "sbatch keeps the last --gres. Move it to `job.directives`"),
    ],
)  # fmt: skip
def test_gpus_of_a_users_script_are_not_lost(line: str, message: str, tmp_path: Path) -> None:
    """sbatch applies the script's own lines last."""
    own = tmp_path / "mine.sh"
    own.write_text(f"#!/bin/bash -l\n{line}\nls\n")
    with pytest.raises(UsageError) as caught:
        slurm.rps_render_batch(spec=dataclasses.replace(spec(gpus=2), template=own))
    assert f"line 2, `{line}` " in caught.value.hint
    assert message in caught.value.hint
    assert line in slurm.rps_render_batch(spec=dataclasses.replace(spec(), template=own))


def test_an_option_whose_value_is_on_the_next_line_is_seen(tmp_path: Path) -> None:
    """sbatch parses the arguments of all lines as one list."""
    with pytest.raises(UsageError) as caught:
        of_the_users(tmp_path, "#SBATCH --nodelist", "#SBATCH --array=1 -a 1-2")
    assert caught.value.hint.startswith("line 3, `#SBATCH --array=1 -a 1-2` sets --array")


def test_nothing_is_asked_for_that_was_not_wanted() -> None:
    """Test that no memory, cores or account are set: another user may not have them."""
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


def test_a_users_signal_counts_more_than_the_warning() -> None:
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
    template = TEMPLATES / f"{app}.sh"
    script = rendering.render(template, (), tmp_path)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "lives\nagent\n", done
