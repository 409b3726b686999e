"""GPUs by type: the option, the configuration, the limits of a partition."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rps_core.cli.main import rps
from rps_core.errors import UsageError
from rps_core.units import parse_gpu_limit, parse_gpus

CONFIG = """\
job: {account: abc123, partition: gpu}
profiles:
  big: {job: {gpus: {a100: 2}}}
  v100: {job: {gpus: {v100: }}}
limits:
  partitions:
    cpu: {gpus: 0}
    gpu: {gpus: {a100: 2, v100: 4}}
    old: {gpus: 2}
"""


@pytest.fixture(autouse=True)
def user_file(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RPS_CLUSTER", "generic")
    path = Path(os.environ["XDG_CONFIG_HOME"]) / "rps" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(CONFIG)
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(rps, arguments)


def requested(*arguments: str) -> list[str]:
    done = run("start", "--dry-run", *arguments)
    assert done.exit_code == 0, done.output
    return [line.split()[1] for line in done.output.splitlines() if "--gres" in line]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("-g", "2"), "--gres=gpu:2"),
        (("-g", "a100"), "--gres=gpu:a100:1"),
        (("-g", "a100:2"), "--gres=gpu:a100:2"),
        (("--gpus=v100:4",), "--gres=gpu:v100:4"),
        (("big",), "--gres=gpu:a100:2"),
        (("v100",), "--gres=gpu:v100:1"),
        (("big", "-g", "1"), "--gres=gpu:1"),
        (("--set", "job.gpus={a100: 2}"), "--gres=gpu:a100:2"),
        (("--set", "job.gpus.v100=2"), "--gres=gpu:v100:2"),
        (("-p", "old", "-g", "rtx_2080:2"), "--gres=gpu:rtx_2080:2"),
        (("-p", "other", "-g", "3g.20gb"), "--gres=gpu:3g.20gb:1"),
    ],
)
def test_gpus_are_requested_by_number_and_by_type(arguments: tuple[str, ...], line: str) -> None:
    assert requested(*arguments) == [line]


def test_none_are_requested_with_0() -> None:
    assert requested("big", "-g", "0") == requested() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-g", "a100:3"), "3 GPUs of type a100 per node requested, but a node of partition gpu has 2"),
        (("-g", "h100"), "partition gpu has no GPUs of type h100\n"
                          "Use a partition with GPUs of type h100 (-p): old."),
        (("-g", "7"), "7 GPUs per node requested, but a node of partition gpu has 6"),
        (("-p", "old", "-g", "a100:3"), "a node of partition old has 2"),
        (("-p", "cpu", "-g", "a100"), "partition cpu has no GPUs of type a100\n"
                                      "Use a partition with GPUs of type a100 (-p): gpu, old."),
        (("-p", "cpu", "-g", "1"), "Use a partition with GPUs (-p): gpu, old."),
    ],
)  # fmt: skip
def test_what_is_above_the_limit_of_a_type_is_refused(
    arguments: tuple[str, ...], words: str
) -> None:
    done = run("start", "--dry-run", *arguments)
    assert words in str(done.exception)
    assert requested("-p", "cpu", "-g", "0") == []


@pytest.mark.parametrize(
    "text", ["", "a b", "a100:", "a100:x", ":2", "-1", "a:1:2", "a100:2,v100:1", "ä"]
)
def test_what_is_no_number_of_gpus_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a number of GPUs"):
        parse_gpus(text)
    if text:
        assert "job.gpus" in str(run("start", "--dry-run", "-g", text).exception)


def test_limits_are_one_number_or_one_of_each_type() -> None:
    assert parse_gpu_limit("4") == {None: 4}
    assert parse_gpu_limit("a100:4,v100:2") == {"a100": 4, "v100": 2}
    for text in ("a100:4,a100:2", "4,a100:2", "4,2"):
        with pytest.raises(UsageError, match="is not a limit of GPUs"):
            parse_gpu_limit(text)


def test_mistakes_are_reported_with_file_and_line(user_file: Path) -> None:
    user_file.write_text(
        "job:\n  gpus: {a100: 2, v100: 1}\n"
        "limits:\n  partitions:\n    a: {gpus: {a100: x}}\n    b: {gpus: {a100: [1]}}\n"
        "profiles:\n  big:\n    job: {gpus: {a100: -1}}\n"
    )
    message = str(run("config", "--check").exception)
    for line, key in (
        (2, "job.gpus"),
        (5, "limits.partitions.a.gpus"),
        (6, "limits.partitions.b.gpus"),
    ):
        assert f"{user_file}:{line}: `{key}`" in message
    assert f"{user_file}:9: `job.gpus`" in message


def test_the_origin_of_a_mapping_is_its_line(user_file: Path) -> None:
    found = run("config", "--profile", "big", "--origins").output
    assert f'job.gpus = "a100:2"    [user, profiles.big] {user_file}:3' in found
    assert f'limits.partitions.gpu.gpus = "a100:2,v100:4"    [user] {user_file}:8' in found
