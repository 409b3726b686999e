"""The service's configuration: one documented file, and mistakes that are told where they are."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from rps_core import config
from rps_core.errors import UsageError
from rps_proxy.settings import Settings, load, load_local


def test_every_key_is_documented_and_nothing_else() -> None:
    layer = config.packaged_layer("defaults", files("rps_conf") / "proxy.yaml")
    assert sorted(config.keys(Settings)) == sorted(
        key for key in layer.lines if key not in {part.rpartition(".")[0] for part in layer.lines}
    )
    text = (files("rps_conf") / "proxy.yaml").read_text("utf-8").splitlines()
    for key in config.keys(Settings):
        if key != "tls.key":  # it shares the comment of `tls.certificate`
            assert text[layer.lines[key] - 2].lstrip().startswith("#"), key


def test_layers(tmp_path: Path) -> None:
    file = tmp_path / "proxy.yaml"
    file.write_text(
        "domain: rps.example.org\nlisten: {port: 443}\nnetworks: {redeem: [10.0.0.0/8]}\n"
    )
    settings = load(file, ["listen.port=8443", "lease.length=60"])
    assert settings.domain == "rps.example.org"
    assert settings.listen.port == 8443
    assert settings.networks.redeem == ("10.0.0.0/8",)
    assert settings.lease.length == 60
    assert settings.lease.renew_every == 15


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("domian: rps.example.org", "Did you mean `domain`"),
        ("listen: {prot: 1}", "Did you mean `listen.port`"),
        ("listen: {port: many}", '`listen.port` must be a whole number, and is "many"'),
        (
            "networks: {issue: 10.0.0.0/8}",
            '`networks.issue` must be a list, such as [one, another], and is "10.0.0.0/8"',
        ),
        ("compat: {networks: 10.0.0.0/8}", "`compat.networks` must be a list"),
        ("compat: {cgi: of}", "`compat.cgi` must be on or off"),
        ("lease: {length: long}", "`lease.length` must be a number"),
        ("limits: {pending_per_user: -1}", "`limits.pending_per_user` must be 0 or more"),
        ("keep: {pending: 0}", "`keep.pending` must be more than 0"),
        ("idle_exit: -1", "`idle_exit` must be 0 or more"),
        ("listen: {port: 70000}", "0 to 65535"),
        ("listen: {address: localhost}", "an address of this machine"),
        ("listen: {address: 'fe80::1%eth0'}", "without brackets or a zone"),
        ("workers: many", "auto, or 1 to"),
        ("workers: 0", "auto, or 1 to"),
        ("domain: localhost", "two labels"),
        ("domain: RPS.example.org", "lower case"),
        ("domain: '*.example.org'", "two labels"),
        ("domain: rps.example.org.", "without a dot at its end"),
        ("networks: {redeem: [10.0.0.1/8]}", "'10.0.0.1/8', no network: is 10.0.0.0/8 meant?"),
        ("networks: {issue: [login1]}", "'login1', no network"),
        ("tls: {certificate: /x.pem}", "go together"),
        ("lease: {length: 20}", "at least twice"),
        ("lease: {sweep_every: 0}", "more than 0"),
        ("websocket: {dead_after: 30}", "at least twice"),
        ("lease: {renew_every: 40}", "at least twice"),
        ("log: {level: loud}", "warning, info or debug"),
    ],
)
def test_mistakes_are_told_with_file_and_line(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "proxy.yaml"
    file.write_text(f"# ours\n{line}\n")
    with pytest.raises(UsageError) as error:
        load(file)
    assert said in str(error.value)
    assert f"{file}:2" in error.value.message


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load(tmp_path / "none.yaml")


def test_the_local_service_stays_on_this_machine(tmp_path: Path) -> None:
    file = Path(os.environ["XDG_CONFIG_HOME"]) / "rps" / "proxy.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(
        "domain: evil.example\nlisten: {address: '::', port: 9000}\n"
        "networks: {redeem: [0.0.0.0/0], issue_key_file: null}\nidle_exit: 60\n"
    )
    settings = load_local(tmp_path / "d")
    assert (settings.domain, settings.listen.address) == ("rps.localhost", "127.0.0.1")
    assert (settings.listen.port, settings.idle_exit) == (9000, 60)
    assert settings.networks.redeem == ("127.0.0.0/8",)
    assert settings.networks.issue_key_file == str(tmp_path / "d" / "issue.key")
    assert settings.service_directory == tmp_path / "d"
    assert settings.worker_count == 1


def test_auto_is_haproxy_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert load(None, []).engine == "auto"
    assert load(None, []).engine_kind == "embedded"
    (tmp_path / "haproxy").touch(mode=0o755)
    assert load(None, []).engine_kind == "haproxy"
    assert load(None, ["engine=embedded"]).engine_kind == "embedded"


def test_workers_are_the_embedded_engines_alone_and_as_many_as_it_may_use_cores() -> None:
    cores = len(os.sched_getaffinity(0))
    assert load(None, ["engine=embedded"]).worker_count == cores
    assert load(None, ["engine=embedded", "workers=3"]).worker_count == 3
    assert load(None, ["engine=apache", "workers=3"]).worker_count == 1


def test_help_loads_nothing_but_click() -> None:
    code = (
        "import sys; from rps_proxy.cli import proxy; proxy(['--help'], standalone_mode=False);"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in"
        " ('aiohttp', 'asyncio', 'uvloop', 'cryptography', 'omegaconf', 'yaml', 'sqlite3')))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.splitlines()[-1] == "[]", run.stderr
    for command in ("serve", "ca", "status"):
        assert command in run.stdout


def test_ca_prints_the_path_of_the_certificate() -> None:
    code = "from rps_proxy.cli import proxy; proxy()"
    run = subprocess.run(
        [sys.executable, "-c", code, "ca"], capture_output=True, text=True, timeout=60
    )
    path = Path(run.stdout.strip())
    assert path == Path(os.environ["XDG_DATA_HOME"]) / "rps" / "ca" / "rps.localhost" / "ca.pem"
    assert path.read_text().startswith("-----BEGIN CERTIFICATE-----")
