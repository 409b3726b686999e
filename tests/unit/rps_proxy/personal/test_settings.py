"""The configuration of a personal service: which keys the user's file may set."""

from __future__ import annotations

import os
from pathlib import Path

from rps_proxy.personal.settings import load


def test_a_personal_service_stays_on_this_machine(tmp_path: Path) -> None:
    file = Path(os.environ["XDG_CONFIG_HOME"]) / "rps" / "proxy.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(
        "domain: evil.example\nlisten: {address: '::', port: 9000}\n"
        "networks: {redeem: [0.0.0.0/0], issue_key_file: null}\nidle_exit: 60\n"
    )
    settings = load(tmp_path / "d")
    assert (settings.domain, settings.listen.address) == ("rps.localhost", "127.0.0.1")
    assert (settings.listen.port, settings.idle_exit) == (9000, 60)
    assert settings.networks.redeem == ("127.0.0.0/8",)
    assert settings.networks.issue_key_file == str(tmp_path / "d" / "issue.key")
    assert settings.service_directory == tmp_path / "d"
    assert settings.worker_count == 1


def test_on_a_cluster_it_takes_calls_from_any_host_with_its_key(tmp_path: Path) -> None:
    settings = load(tmp_path, "10.1.0.7", on_cluster=True, idle=60.0)
    assert (settings.listen.address, settings.idle_exit) == ("10.1.0.7", 60)
    assert set(settings.networks.redeem) == {"0.0.0.0/0", "::/0", "10.1.0.7", "127.0.0.0/8"}
    assert settings.networks.issue_key_file == str(tmp_path / "issue.key")
    assert not settings.satellite.calls


def test_the_sites_bound_is_no_longer_than_the_users_own(tmp_path: Path) -> None:
    assert load(tmp_path, on_cluster=True, idle=7200.0).idle_exit == 900
    file = Path(os.environ["XDG_CONFIG_HOME"]) / "rps" / "proxy.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("idle_exit: 0\n")  # never
    assert load(tmp_path, on_cluster=True, idle=60.0).idle_exit == 60
