"""Defaults of a partition: what overrides what, and mistakes with file and line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rps_core.cli.main import rps

SYSTEM = """\
job: {account: abc123, partition: shared, cpus: 1}
partitions:
  gpu:
    gpus: {a100: 1}
    cpus: 10
    memory: 90G
  shared: {memory: 2G}
  a.b: {cpus: 3, directives: [--exclusive]}
sites:
  generic:
    partitions: {gpu: {qos: fast}}
"""
USER = """\
job: {memory: 8G}
partitions: {gpu: {walltime: 90}}
profiles:
  big: {job: {partition: gpu}, partitions: {gpu: {cpus: 20}}}
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    system = tmp_path / "system.yaml"
    system.write_text(SYSTEM)
    user = Path(os.environ["XDG_CONFIG_HOME"]) / "rps" / "config.yaml"
    user.parent.mkdir(parents=True)
    user.write_text(USER)
    monkeypatch.setenv("RPS_SYSTEM_CONFIG", str(system))
    monkeypatch.setenv("RPS_CLUSTER", "generic")
    return system, user


def run(*arguments: str) -> Result:
    return CliRunner().invoke(rps, arguments)


def directives(*arguments: str) -> set[str]:
    done = run("start", "--dry-run", *arguments)
    assert done.exit_code == 0, done.output
    return {line.split()[1] for line in done.stdout.splitlines() if line.startswith("#SBATCH ")}


def test_the_defaults_of_the_partition_count_for_its_jobs() -> None:
    gpu = directives("-p", "gpu")
    assert {"--gres=gpu:a100:1", "--cpus-per-task=10", "--qos=fast", "--time=01:30:00"} <= gpu
    shared = directives()
    assert {"--cpus-per-task=1", "--time=00:30:00"} <= shared
    assert not [one for one in shared if "gres" in one or "qos" in one]
    assert {"--cpus-per-task=3", "--exclusive"} <= directives("-p", "a.b")


def test_the_users_job_overrides_a_sites_defaults_and_options_override_both() -> None:
    assert "--mem=8192M" in directives("-p", "gpu")
    assert "--mem=8192M" in directives()
    found = directives("-p", "gpu", "-c", "2", "-g", "0", "-m", "1G")
    assert {"--cpus-per-task=2", "--mem=1024M"} <= found
    assert not [one for one in found if "gres" in one]


def test_a_profile_may_choose_the_partition_and_have_defaults(files: tuple[Path, Path]) -> None:
    assert {"--partition=gpu", "--cpus-per-task=20", "--gres=gpu:a100:1"} <= directives("big")
    assert "--cpus-per-task=10" not in directives("big", "-p", "shared")
    found = run("config", "--set", "partitions.gpu.cpus=30", "--profile", "big", "--origins").stdout
    assert "job.cpus = 30    [options, partitions.gpu] --set" in found


def test_the_origin_is_the_partitions_line(files: tuple[Path, Path]) -> None:
    system, user = files
    found = run("config", "--set", "job.partition=gpu", "--origins").stdout
    for line in (
        f'job.gpus = "a100:1"    [system, partitions.gpu] {system}:4',
        f"job.cpus = 10    [system, partitions.gpu] {system}:5",
        f'job.qos = "fast"    [system, sites.generic, partitions.gpu] {system}:11',
        f'job.walltime = "90"    [user, partitions.gpu] {user}:2',
        f'job.memory = "8G"    [user] {user}:1',
    ):
        assert line in found


def test_mistakes_are_reported_for_every_partition_with_file_and_line(
    files: tuple[Path, Path],
) -> None:
    system, _ = files
    system.write_text(
        "partitions:\n  a: {cpuz: 1}\n  b: {cpus: 0, memory: lots}\n  c.d: {gpus: {x: y}}\n"
        "  e: {partition: f}\n  g: text\n  h: {walltime: soon, nodes: many}\n"
    )
    message = str(run("config", "--check").exception)
    for line, said in (
        (2, "unknown key `partitions.a.cpuz`"),
        (3, "`partitions.b.cpus` is 0; it must be 1 or more"),
        (3, "`partitions.b.memory`: `lots`"),
        (4, "`partitions.c.d.gpus`: `x:y`"),
        (5, "unknown key `partitions.e.partition`"),
        (6, "`partitions.g` must be a mapping"),
        (7, "`partitions.h.walltime`: `soon`"),
        (7, "`partitions.h.nodes` must be a whole number"),
    ):
        assert f"{system}:{line}: {said}" in message, said
