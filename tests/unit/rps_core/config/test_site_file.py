"""Site files: their mistakes, their trusted owners, and which of two counts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rps_core.cli.main import rps
from rps_core.config import site_file
from rps_core.config.mistakes import ConfigurationError
from rps_core.errors import DetectionError, UsageError
from rps_core.hooks.manager import Plugins
from rps_core.models import Host

GOOD = "scheduler: slurm\ndetect: {login_hosts: [vm<N>]}\nproxy: {domain: nb.example.org}\n"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the administrator's directory of site files."""
    (tmp_path / "etc" / "sites").mkdir(parents=True)
    (tmp_path / "etc" / "config.yaml").touch()
    monkeypatch.setenv("RPS_SYSTEM_CONFIG", str(tmp_path / "etc" / "config.yaml"))
    return tmp_path / "etc" / "sites"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the user's directory of site files."""
    (tmp_path / "config" / "rps" / "sites").mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "rps" / "sites"


def host(name: str, *commands: str, domain: str = "") -> Host:
    there = {command: f"/usr/bin/{command}" for command in commands}
    return Host(hostname=name, fqdn=f"{name}{domain}", commands=there)


def ran(*arguments: str) -> Result:
    return CliRunner().invoke(rps, arguments)


def described(directory: Path, text: str, name: str = "here") -> Plugins:
    (directory / f"{name}.yaml").write_text(text)
    plugins = Plugins.load()
    assert plugins.broken == []
    return plugins


WRONG = """\
scheduler: ""
local: perhaps
detect:
  login_hosts: ["login[1-4]", ok]
  compute_node: [x]
  possible_hosts: [a]
  domain: -x
  files: [etc/x]
  commands: [rm -rf]
proxy: {port: 99999}
job:
  acount: abc
"""
LINES = {
    "`scheduler` is missing": 1,
    "`local` is perhaps; it must be allowed or forbidden": 2,
    "`detect.login_hosts` is login[1-4]; it must be a host name": 4,
    "unknown key `detect.compute_node`": 5,
    "`detect.possible_hosts` needs `detect.cluster_name`": 6,
    "`detect.domain` is -x; it must be a domain": 7,
    "`detect.files` is etc/x; it must be an absolute path": 8,
    "`detect.commands` is rm -rf; it must be the name of a program": 9,
    "`proxy.port` is 99999; it must be a port": 10,
    "unknown key `job.acount`": 12,
}


def test_every_mistake_has_its_file_and_line(own: Path) -> None:
    path = own / "here.yaml"
    path.write_text(WRONG)
    with pytest.raises(ConfigurationError) as caught:
        site_file.describe(site_file.read(path))
    found = {error.message for error in caught.value.mistakes}
    assert len(found) == len(LINES)
    for text, line in LINES.items():
        assert any(message.startswith(f"{path}:{line}: {text}") for message in found), (text, found)
    done = ran("config", "--check", "--cluster", "local")
    assert isinstance(done.exception, UsageError)
    assert all(text in str(done.exception) for text in LINES)


@pytest.mark.parametrize(
    ("text", "line"),
    [(WRONG, 1), ("scheduler: [", 1), ("- a\n", None), ("scheduler: {a: &x 1}", 1),
     ("scheduler: slurm\ndetect: [a]\n", 2), ("scheduler: {name: [slurm]}\n", 1)],
)  # fmt: skip
def test_a_mistake_costs_its_file_alone(own: Path, text: str, line: int | None) -> None:
    (own / "here.yaml").write_text(text)
    (own / "there.yaml").write_text(GOOD)
    plugins = Plugins.load()
    (broken,) = plugins.broken
    place = f"{own}/here.yaml" + (f":{line}" if line else "")
    assert (broken.plugin, broken.origin, broken.where) == ("here", f"{own}/here.yaml", place)
    names = {cluster.name for cluster in plugins.clusters()}
    assert "there" in names
    assert "here" not in names
    done = ran("start", "--dry-run", "--cluster", "there", "-A", "x")
    assert done.exit_code == 0
    assert done.stderr.count("rps: warning: the plugin `here`") == 1
    assert f"({place})" in done.stderr


@pytest.mark.parametrize(
    ("name", "word"),
    [("local.yaml", "reserved"), ("generic-x.yaml", "reserved"), ("generic.yaml", "reserved"),
     ("Big.yaml", "not a valid name"), ("scheduler.slurm.yaml", "not a valid name"),
     ("here.yml", "ends in .yaml")],
)  # fmt: skip
def test_a_name_that_cannot_be_used_is_reported(own: Path, name: str, word: str) -> None:
    (own / name).write_text(GOOD)
    (broken,) = Plugins.load().broken
    assert word in broken.reason
    assert broken.where == str(own / name)


def test_a_file_that_is_not_a_site_file_is_left_alone(own: Path) -> None:
    for name in ("README", "here.yaml~", "here.yaml.rpmsave"):
        (own / name).write_text("- x")
    assert Plugins.load().broken == []


def test_another_user_can_write_no_file_of_mine(own: Path) -> None:
    (own / "here.yaml").write_text(GOOD)
    (own / "here.yaml").chmod(0o666)
    (broken,) = Plugins.load().broken
    assert "is writable for everyone" in broken.reason
    (own / "here.yaml").chmod(0o644)
    assert Plugins.load().broken == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_the_system_is_roots(
    system: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside RPS_SYSTEM_CONFIG, it is whose that is."""
    path = system / "here.yaml"
    path.write_text(GOOD)
    os.chown(path, 12345, 12345)
    assert site_file.read(path).name == "here"
    monkeypatch.delenv("RPS_SYSTEM_CONFIG")
    monkeypatch.setattr("rps_core.system.paths.site_directories", lambda: (own, system))
    with pytest.raises(UsageError, match="belongs to user 12345"):
        site_file.read(path)
    os.chown(path, 0, 0)
    assert site_file.read(path).name == "here"


def test_mine_counts_before_the_systems_and_both_before_a_plugin(own: Path, system: Path) -> None:
    def scheduler() -> str:
        plugins = Plugins.load()
        assert plugins.broken == []
        (found,) = [one for one in plugins.clusters() if one.name == "comet"]
        return found.scheduler

    assert scheduler() == "slurm"
    (system / "comet.yaml").write_text(GOOD.replace("slurm", "pbs"))
    assert scheduler() == "pbs"
    (own / "comet.yaml").write_text(GOOD.replace("slurm", "torque"))
    assert scheduler() == "torque"


def test_a_broken_file_leaves_the_plugin_of_its_name(own: Path) -> None:
    (own / "comet.yaml").write_text("x")
    plugins = Plugins.load()
    assert [broken.plugin for broken in plugins.broken] == ["comet"]
    assert "comet" in {cluster.name for cluster in plugins.clusters()}


def test_a_blocked_file_is_left_out(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPS_BLOCK", "here")
    assert "here" not in {one.name for one in described(own, GOOD).clusters()}


def test_its_other_keys_are_a_layer_of_the_configuration(own: Path) -> None:
    described(own, "scheduler: {name: slurm, gpu_directive: gpus}\njob:\n  partition: shared\n")
    done = ran("config", "--cluster", "here", "--origins", "--json")
    found = json.loads(done.stdout)
    path = own / "here.yaml"
    for key, value, line in (
        ("job.partition", "shared", 3),
        ("scheduler.gpu_directive", "gpus", 1),
    ):
        assert found[key] == {"value": value, "layer": "site file", "where": f"{path}:{line}"}
    explained = ran("config", "--cluster", "here", "--explain", "job.partition")
    assert f"[site file] {path}:3" in explained.stdout
    assert ran("config", "--check", "--cluster", "here").exit_code == 0


def test_the_administrators_configuration_counts_above_it(own: Path, system: Path) -> None:
    described(own, GOOD)
    (system.parent / "config.yaml").write_text(
        "sites: {here: {proxy: {domain: other.example.org}}}\n"
    )
    found = json.loads(ran("config", "--cluster", "here", "--json").stdout)
    assert found["proxy"]["domain"] == "other.example.org"


def test_an_edited_file_is_noticed(own: Path) -> None:
    assert described(own, GOOD).detect(host("vm1")).cluster.name == "here"
    plugins = described(own, GOOD.replace("vm<N>", "vm2"))
    assert plugins.detect(host("vm2")).cluster.name == "here"
    assert plugins.detect(host("vm1"), wanted="local").claims == ()


@pytest.mark.parametrize(
    ("detect", "usable", "refused", "elsewhere"),
    [
        ("login_hosts: [a]", [host("a", domain=".x")], [], [host("ab"), host("A"), host("b", domain=".a")]),
        ("login_hosts: [a.x.org]", [host("a", domain=".x.org")], [], [host("a"), host("a", domain=".xyorg")]),
        ("{login_hosts: [a], domain: x.org}", [host("a", domain=".x.org")], [],
         [host("a"), host("a", domain=".yx.org"), host("a", domain=".x.org.evil")]),
        ("{compute_nodes: ['n*'], login_hosts: [n1]}", [], [host("n1"), host("n"), host("nx")], [host("m")]),
        ("files: [/etc/passwd]", [host("a"), host("b")], [], []),
        ("files: [/etc/passwd, /nowhere]", [], [], [host("a")]),
        ("domain: x.org", [host("a", domain=".x.org")], [], [host("a")]),
        ("{login_hosts: [a], commands: [sbatch, squeue]}", [host("a", "sbatch", "squeue")],
         [host("a"), host("a", "sbatch")], [host("b", "sbatch", "squeue")]),
        ("{}", [], [], [host("a")]),
    ],
)  # fmt: skip
def test_what_is_described_is_claimed(
    own: Path, detect: str, usable: list[Host], refused: list[Host], elsewhere: list[Host]
) -> None:
    body = detect if detect.startswith("{") else f"{{{detect}}}"
    plugins = described(own, f"scheduler: slurm\ndetect: {body}\n")
    for one in usable:
        found = plugins.detect(one)
        assert found.cluster.name == "here"
        assert f"{own}/here.yaml describes it" in found.reasons
    for one in refused:
        with pytest.raises(DetectionError):
            plugins.detect(one)
        assert plugins.detect(one, inside=True).cluster.name == "here"
    for one in elsewhere:
        assert plugins.detect(one, wanted="local").claims == ()


def test_local_can_be_forbidden(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "scheduler: slurm\nlocal: forbidden\ndetect: {login_hosts: [vm]}\n"
    plugins = described(own, text)
    with pytest.raises(DetectionError, match="here forbids sessions on this host itself"):
        plugins.detect(host("vm"), wanted="local")
    assert plugins.detect(host("vm"), wanted="local", inside=True).cluster.name == "local"
    assert plugins.detect(host("laptop"), wanted="local").cluster.name == "local"
    allowed = described(own, text.replace("forbidden", "allowed"))
    assert allowed.detect(host("vm"), wanted="local").cluster.name == "local"
    monkeypatch.setenv("RPS_CLUSTER", "local")
    described(own, text.replace("vm", os.uname().nodename.partition(".")[0]))
    done = ran("start", "--dry-run")
    assert isinstance(done.exception, DetectionError)
    assert "forbids sessions on this host itself" in str(done.exception)
    assert ran("list").exit_code == 0
