"""The files that `rps proxy init` writes."""

from __future__ import annotations

import os
import re
import stat
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from rps_core.errors import UsageError
from rps_proxy.cli.init import UNITS, commented, domain_warning, init
from rps_proxy.settings.loading import load


@pytest.fixture
def rps_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "bin" / "rps"
    path.parent.mkdir()
    path.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'from rps_core.cli.main import main; main()'\n"
    )
    path.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(path)])
    return path


def test_the_configuration_is_the_defaults_at_a_service_account(
    tmp_path: Path, rps_command: Path
) -> None:
    configuration, *units = init(tmp_path / "etc")
    found, defaults = load(configuration), load()
    assert found.service_directory == Path("/var/lib/rps/service")
    assert found.ca_directory == Path("/var/lib/rps/ca")
    # The units run the engine as the service's account.
    found = replace(found, haproxy=replace(found.haproxy, group=defaults.haproxy.group))
    found = replace(found, apache=replace(found.apache, group=defaults.apache.group))
    assert replace(found, directory=None, tls=replace(found.tls, ca_directory=None)) == defaults
    assert {stat.S_IMODE(path.stat().st_mode) for path in (configuration, *units)} == {0o644}
    assert [unit.name for unit in units] == list(UNITS)
    for unit, command in zip(units, ("serve", "engine run", "feed", None), strict=True):
        text = unit.read_text()
        assert "@" not in text
        if command is not None:
            assert f"ExecStart={rps_command} proxy {command} --config {configuration}" in text


def test_every_key_is_there_to_be_taken_up(tmp_path: Path) -> None:
    text = re.sub(r"^#(?=\S| *[a-z_]+:)", "", commented(), flags=re.MULTILINE)
    text = text.replace("/var/lib/rps/service", "null").replace("/var/lib/rps/ca", "null")
    for engine, group in (("haproxy", "haproxy"), ("apache", "www-data")):
        before, section, after = text.partition(f"\n{engine}:\n")
        text = before + section + after.replace("  group: null", f"  group: {group}", 1)
    packaged = (files("rps_conf") / "proxy.yaml").read_text("utf-8")

    def keys(source: str) -> list[str]:
        return [line for line in source.splitlines() if line.strip() and "#" not in line[:3]]

    assert keys(text) == keys(packaged)


def test_the_domain_is_warned_of(tmp_path: Path, rps_command: Path) -> None:
    init(tmp_path)
    assert "set `domain`" in (domain_warning(tmp_path) or "")
    configuration = tmp_path / "proxy.yaml"
    text = configuration.read_text().replace("#domain: rps.localhost", "domain: rps.example.org")
    configuration.write_text(text)
    assert "cookies for example.org too" in (domain_warning(tmp_path) or "")
    configuration.write_text(text.replace("domain: rps.example.org", "domain: rps-example.org"))
    assert domain_warning(tmp_path) is None
    configuration.write_text("domian: rps.example.org\n")
    assert "unknown key `domian`" in (domain_warning(tmp_path) or "")


def test_nothing_is_overwritten(tmp_path: Path, rps_command: Path) -> None:
    mine = tmp_path / "proxy.yaml"
    mine.write_text("domain: rps.example.org\n")
    assert init(tmp_path) == [tmp_path / name for name in UNITS]
    assert mine.read_text() == "domain: rps.example.org\n"
    with pytest.raises(UsageError):
        init(tmp_path)


def test_the_account_can_read_it_whatever_the_umask(tmp_path: Path, rps_command: Path) -> None:
    before = os.umask(0o077)
    try:
        init(tmp_path / "etc")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "etc").stat().st_mode) == 0o755
