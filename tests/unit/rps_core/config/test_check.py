"""Every mistake of a configuration in one report, each with file and line."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import rps_core.sites.local
from rps_core.cli.main import rps
from rps_core.config import settings
from rps_core.config.mistakes import MOST_MISTAKES, ConfigurationError
from rps_core.errors import UsageError
from rps_core.plugin import hookimpl
from rps_core.system import paths

WRONG = """\
job:
  acount: abc123
  nodes: many
  walltime: tomorrow
  walltime: 60
  cpus: 0
notebook: {app: lab b, port_range: [1, 2], modules: one}
limits:
  partitions:
    debug: {walltime: soon, gpuz: 1}
    a.b: {cpus: x}
keep_ended: -1
profiles:
  gpu: {job: {gpus: a few, memory: lots}, sites: {}}
  a b: {}
sites:
  generic: {job: {nodes: 0}}
  elsewhere:
    nodo: 1
    profiles: {big: {scheduler: {poll_interval: 0}}}
  nowhere: text
"""
LINES = {
    "unknown key `job.acount`": 2,
    '`job.nodes` must be a whole number, and is "many"': 3,
    "`job.walltime` is given twice, first in line 4": 5,
    "`job.cpus` is 0; it must be 1 or more": 6,
    "`notebook.app` is lab b; it must be a name": 7,
    "`notebook.port_range` is [1, 2]; it must be [first, last]": 7,
    "`notebook.modules` must be a list": 7,
    "`limits.partitions.debug.walltime`: `soon` is not a walltime": 10,
    "unknown key `limits.partitions.debug.gpuz`": 10,
    '`limits.partitions.a.b.cpus` must be a whole number, and is "x"': 11,
    "`keep_ended` is -1.0; it must be 0 to 3650 days": 12,
    "`job.gpus`: `a few` is not a number of GPUs": 14,
    "`job.memory`: `lots` is not an amount of memory": 14,
    "a profile cannot contain `sites`": 14,
    "`a b` is not a valid name for a profile": 15,
    "`job.nodes` is 0; it must be 1 or more": 17,
    "unknown key `nodo`": 19,
    "`scheduler.poll_interval` is 0.0": 20,
    "`sites.nowhere` must be a mapping": 21,
}


@pytest.fixture
def user_file(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RPS_CLUSTER", "generic")
    path = paths.config_file()
    path.parent.mkdir(parents=True)
    return path


def check(*arguments: str) -> Result:
    return CliRunner().invoke(rps, ["config", "--check", *arguments])


def mistakes(result: Result) -> list[str]:
    assert isinstance(result.exception, ConfigurationError), result.output
    assert result.exception.exit_code == 2
    return [each.message for each in result.exception.mistakes]


def test_a_check_reports_every_mistake_with_its_line(user_file: Path) -> None:
    user_file.write_text(WRONG)
    error = check().exception
    found = mistakes(check())
    for text, line in LINES.items():
        assert any(one.startswith(f"{user_file}:{line}: {text}") for one in found), text
    assert len(found) == len(LINES), "\n".join(found)
    assert "Did you mean `job.account`?" in str(error)
    for text in LINES:  # the message that a command ends with names all of them
        assert text in str(error)


def test_every_source_is_checked_at_once(
    user_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "system.yaml"
    system.write_text("keep_ended: -2\njob: {nodes: [}\n")
    site = tmp_path / "site.yaml"
    site.write_text("proxy: {prot: 1}\n")
    user_file.write_text("job: {tasks: 0}\n")
    monkeypatch.setenv("RPS_SYSTEM_CONFIG", str(system))
    monkeypatch.setenv("RPS_JOB_WALLTME", "1")
    monkeypatch.setenv("RPS_JOB_MEMORY", "lots")
    monkeypatch.setattr(rps_core.sites.local, "rps_site_config", hookimpl(lambda: site))
    found = mistakes(check("--set", "job.gpus", "--set", "job.cpus=none", "--set", "job.cpus.x=1"))
    for text in (
        f"{system}:2: not valid YAML",
        f"{user_file}:1: `job.tasks` is 0",
        f"{site}:1: unknown key `proxy.prot`",
        "Unknown variable RPS_JOB_WALLTME",
        "RPS_JOB_MEMORY: `job.memory`: `lots` is not",
        "--set job.gpus: this is not `key=value`",
        "`job.cpus.x` is set twice",
    ):
        assert any(text in one for one in found), (text, found)


def test_a_value_that_another_layer_overrides_is_a_mistake_too(
    user_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "system.yaml"
    system.write_text("keep_ended: -2\njob: {nodes: 0}\n")
    user_file.write_text("keep_ended: 2\njob: {nodes: 1}\n")
    monkeypatch.setenv("RPS_SYSTEM_CONFIG", str(system))
    assert settings.load("generic", None, None, environment={}).settings.keep_ended == 2
    assert len(mistakes(check())) == 2


def test_other_commands_report_all_mistakes_that_concern_them(user_file: Path) -> None:
    user_file.write_text("job: {nodes: 0, acount: x}\n")
    with pytest.raises(ConfigurationError) as caught:
        settings.load("generic", None, None, environment={})
    assert [one.message.rpartition(":1: ")[2] for one in caught.value.mistakes] == [
        "unknown key `job.acount`", "`job.nodes` is 0; it must be 1 or more",
    ]  # fmt: skip


def test_a_valid_configuration_passes(user_file: Path) -> None:
    user_file.write_text("job: {account: abc123}\nsites: {unheard-of: {job: {qos: fast}}}\n")
    done = check()
    assert done.exit_code == 0, done.output
    assert "no plugin here serves the cluster `unheard-of`" in done.stderr
    assert done.stderr.endswith("The configuration is valid.\n")


def test_the_wrong_file_does_not_fill_the_screen(user_file: Path) -> None:
    user_file.write_text("".join(f"key{number}: 1\n" for number in range(2000)))
    assert len(mistakes(check())) == MOST_MISTAKES


# ----------------------------------------------------------------------- files named by a variable


def load() -> settings.LoadedSettings:
    return settings.load("here", None, None, environment={})


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (lambda _: None, "no such file; RPS_SYSTEM_CONFIG names it"),
        (lambda path: path.symlink_to("nowhere"), "no such file; RPS_SYSTEM_CONFIG names it"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
        (lambda path: path.symlink_to("system.yaml"), "cannot be read: Too many levels"),
        (lambda path: path.write_bytes(b"\xff"), "cannot be read: not UTF-8"),
    ],
    ids=["missing", "dangling", "directory", "loop", "binary"],
)
def test_a_system_file_that_cannot_be_read_is_an_error(
    make: object, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "system.yaml"
    make(path)  # type: ignore[operator]
    monkeypatch.setenv("RPS_SYSTEM_CONFIG", str(path))
    with pytest.raises(UsageError, match=f"^{path}: {shown}"):
        load()
    monkeypatch.setenv("RPS_CLUSTER", "generic")
    assert any(shown in one for one in mistakes(check()))


def test_a_system_file_is_named_by_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test relative paths: each directory's owner could provide the file."""
    (tmp_path / "system.yaml").write_text("job: {account: planted}\n")
    monkeypatch.chdir(tmp_path)
    for name in ("system.yaml", "./system.yaml", "~/system.yaml"):
        monkeypatch.setenv("RPS_SYSTEM_CONFIG", name)
        with pytest.raises(UsageError, match=f"RPS_SYSTEM_CONFIG is not an absolute path: {name}"):
            load()


def test_an_empty_variable_names_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPS_SYSTEM_CONFIG", "")
    assert paths.system_config_file() == Path("/etc/rps/config.yaml")
    assert load().settings.job.nodes == 1


@pytest.mark.parametrize(
    ("key", "value", "good"),
    [
        ("scheduler.warn_before", "65535", True),  # sbatch(1), --signal
        ("scheduler.warn_before", "65536", False),
        ("scheduler.warn_before", "-1", False),
        ("proxy.node_address", "ib0", True),
        ("proxy.node_address", "10.2.0.0/16", True),
        ("proxy.node_address", "2001:db8::/32", True),
        ("proxy.node_address", '"ib0 ib1"', False),
        ("proxy.node_address", '""', False),
    ],
)
def test_what_a_scheduler_or_a_node_cannot_take_is_a_mistake(
    user_file: Path, key: str, value: str, *, good: bool
) -> None:
    result = check("--set", f"{key}={value}")
    if good:
        assert result.exit_code == 0, result.output
    else:
        assert [f"`{key}` is" in one for one in mistakes(result)] == [True]
