"""The service's configuration: one documented file, errors with file and line."""

from __future__ import annotations

import os
import re
from importlib.resources import files
from pathlib import Path

import pytest

from rps_core.config import layers as config
from rps_core.config.mistakes import ConfigurationError
from rps_core.config.schema import keys
from rps_core.errors import UsageError
from rps_proxy.settings.loading import REMOVED, load
from rps_proxy.settings.model import Settings


def test_every_key_is_documented_and_nothing_else() -> None:
    layer = config.packaged_layer("defaults", files("rps_conf") / "proxy.yaml")
    assert sorted(keys(Settings)) == sorted(
        key for key in layer.lines if key not in {part.rpartition(".")[0] for part in layer.lines}
    )
    text = (files("rps_conf") / "proxy.yaml").read_text("utf-8").splitlines()
    for key in keys(Settings):
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
        ("satellite: {networks: 10.0.0.0/8}", "`satellite.networks` must be a list"),
        ("satellite: {calls: of}", "`satellite.calls` must be on or off"),
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
        (
            "networks: {redeem: [10.0.0.1/8]}",
            "'10.0.0.1/8', which is not a network: is 10.0.0.0/8 meant?",
        ),
        ("networks: {issue: [login1]}", "'login1', which is not a network"),
        ("tls: {certificate: /x.pem}", "or neither"),
        ("lease: {length: 20}", "at least twice"),
        ("advanced: {sweep_every: 0}", "more than 0"),
        ("advanced: {websocket_dead_after: 30}", "at least twice"),
        ("lease: {renew_every: 40}", "at least twice"),
        ("log: {level: loud}", "warning, info or debug"),
    ],
)
def test_mistakes_are_reported_with_file_and_line(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "proxy.yaml"
    file.write_text(f"# ours\n{line}\n")
    with pytest.raises(UsageError) as error:
        load(file)
    assert said in str(error.value)
    assert f"{file}:2" in error.value.message


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "proxy.yaml"
    file.write_text(
        "domian: x\nlisten: {port: 70000, address: localhost}\nlease:\n  length: long\n"
        "log: {level: loud}\nlog: {format: xml}\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        load(file, ["keep.pending", "keep.lapsed=0", "engine=nginx"])
    found = [each.message for each in caught.value.mistakes]
    for place, text in (
        (f"{file}:1", "unknown key `domian`"),
        (f"{file}:2", "`listen.port` must be a port"),
        (f"{file}:2", "`listen.address` must be an address"),
        (f"{file}:4", "`lease.length` must be a number"),
        (f"{file}:6", "`log` is given twice, first in line 5"),
        (f"{file}:6", "`log.format` must be text or json"),
        ("--set keep.pending", "this is not `key=value`"),
        ("--set", "`keep.lapsed` must be more than 0"),
        ("--set", "`engine` must be auto"),
    ):
        assert any(one.startswith(f"{place}: {text}") for one in found), (text, found)
    assert len(found) == 9


@pytest.mark.parametrize("key", sorted(REMOVED))
def test_a_key_of_an_earlier_version_says_what_to_do(tmp_path: Path, key: str) -> None:
    section, name = key.split(".")
    file = tmp_path / "proxy.yaml"
    file.write_text(f"{section}:\n  {name}: 1\n  nonsense: 2\n")
    for path, assignments, place in ((file, [], f"{file}:2: "), (None, [f"{key}=1"], "--set: ")):
        with pytest.raises(ConfigurationError) as caught:
            load(path, assignments)
        found = {each.message: each.hint for each in caught.value.mistakes}
        messages = [one for one in found if f"`{key}` is a key of an earlier version" in one]
        assert len(messages) == 1
        assert messages[0].startswith(place)
        hint = found[messages[0]]
        assert "Remove the key" in hint or "Rename the key" in hint
        for new in re.findall(r"`(.*?)`", hint):
            assert new in keys(Settings)


def test_an_empty_section_of_an_earlier_version_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "proxy.yaml"
    file.write_text("upstream:\n  # connect_timeout: 10\n")
    with pytest.raises(
        ConfigurationError, match=r"proxy\.yaml:1: `upstream` is a key of an earlier"
    ):
        load(file)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load(tmp_path / "none.yaml")


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
