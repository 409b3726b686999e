"""Which personal service a session or a cluster has, and what a site allows."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from rps_core import cluster, installation
from rps_core.config.settings import Overrides
from rps_core.errors import UsageError
from rps_core.launch.environment import Chooser
from rps_core.proxy_client import personal
from rps_core.state.record import Endpoint, Tunnel
from rps_core.state.store import Store
from rps_core.system import paths
from rps_proxy.personal import running
from tests.stands.record import RECORD

HOST = os.uname().nodename.partition(".")[0]


def tunnel(host: str) -> Tunnel:
    return Tunnel(host=host, socket="/var/tmp/rps-1/cluster/browser.sock", port=8443)


def in_the_store(name: str, host: str) -> None:
    store = Store(paths.sessions_dir())
    paths.make_directory(store.directory)
    store.files(name).directory.mkdir()
    endpoint = replace(RECORD.endpoint, host="manage.rps.localhost")
    url = f"http://{name}.rps.localhost:8443/"
    store.save(
        replace(
            RECORD, name=name, url=url, endpoint=endpoint, own_service=True, tunnel=tunnel(host)
        )
    )


@pytest.mark.parametrize(
    ("user", "own"),
    [
        ("", True),  # `generic` has no domain
        ("proxy: {domain: rps.example.org}", False),
        ("proxy: {domain: rps.example.org, own: on}", True),
        ("proxy: {domain: rps.example.org}\nsites: {generic: {proxy: personal}}", True),
        ("proxy: personal", True),
    ],
)
def test_the_service_is_the_users_own_where_there_is_no_other(user: str, own: bool) -> None:
    file = paths.config_file()
    file.parent.mkdir(parents=True)
    file.write_text(user)
    assert cluster.find("generic").loaded.settings.proxy.personal == own


def test_a_word_that_is_none_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="`proxy` must be a mapping"):
        cluster.find("generic", Overrides(assignments=("proxy=mine",)))


def test_a_session_lives_on_the_login_node_of_its_record() -> None:
    assert personal.is_on_this_host(RECORD)
    for host, here in (
        (f"{HOST}.cluster.example.org", True),
        (HOST.upper(), True),
        (f"x{HOST}", False),
        ("another.cluster.example.org", False),
    ):
        assert personal.is_on_this_host(replace(RECORD, tunnel=tunnel(host))) == here, host


def test_the_site_bounds_the_sessions_of_this_login_node() -> None:
    def start(**options: object) -> None:
        given = {f"limits.{key}": value for key, value in options.items()}
        found = personal.for_new_session(cluster.find("generic", Overrides(options=given)))
        assert found is not None
        assert found.idle == options.get("personal_idle")

    in_the_store("one-two-three", HOST)
    in_the_store("four-five-six", "another.cluster.example.org")
    start(personal_sessions=2, personal_idle=60.0)
    with pytest.raises(UsageError, match=r"generic allows 1 of .*, and you have 1 here"):
        start(personal_sessions=1)
    with pytest.raises(UsageError, match="generic allows no personal services"):
        start(personal=False)


def test_a_service_for_this_machine_alone_has_no_tunnel() -> None:
    given = Overrides(options={"proxy.listen": "127.0.0.1", "limits.personal": False})
    assert personal.for_new_session(cluster.find("generic", given)) is None


def test_only_a_personal_service_of_this_host_is_carried() -> None:
    served = cluster.find("generic", Overrides(options={"proxy.domain": "rps.example.org"}))
    with pytest.raises(UsageError, match=r"generic uses the service of rps\.example\.org"):
        personal.carry_for(served)
    with pytest.raises(UsageError, match="local uses this machine's"):
        personal.carry_for(cluster.find("local"))
    with pytest.raises(UsageError, match="one-two-three uses none"):
        personal.carry(RECORD)
    with pytest.raises(UsageError, match=r"runs on login2\.example\.org"):
        personal.carry(replace(RECORD, tunnel=tunnel("login2.example.org")))


def test_a_login_nodes_service_on_the_loopback_is_not_that_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the scheduler names no host, both listen on 127.0.0.1; each has a log of its own."""
    monkeypatch.setenv(running.DIRECTORY_VARIABLE, str(tmp_path))
    for port, on_cluster in ((8443, False), (8444, True)):
        directory = running.service_directory(on_cluster=on_cluster)
        directory.mkdir(mode=0o700, exist_ok=True)
        service = running.Running(pid=1, start_time=0, port=port, ca_file="/ca.pem", version="1")
        (directory / running.RUNNING_FILE).touch(mode=0o600)
        (directory / running.RUNNING_FILE).write_bytes(service.to_json())
        endpoint = Endpoint(
            host="manage.rps.localhost", port=port, connect="127.0.0.1", ca_file="/ca.pem"
        )
        assert str(directory / running.LOG_FILE) in personal.start_advice(endpoint)
        assert personal.is_personal(endpoint)


@pytest.mark.parametrize("domain", ["null", "rps.example.org"])
def test_advice_on_jupyter_has_the_service_where_sessions_need_it(
    domain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster without a service too, the extra that has Jupyter has the personal service."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    asked: list[bool] = []

    def advice(*given: bool) -> str:
        asked.append(given[-1])
        return ""

    monkeypatch.setattr(installation, "jupyter_advice", advice)
    loaded = cluster.find("generic", Overrides(assignments=(f"proxy.domain={domain}",))).loaded
    with pytest.raises(UsageError, match="Jupyter not found"):
        Chooser(loaded, "lab", tmp_path, {"PATH": ""}).choose()
    assert asked == [domain == "null"]
