"""Recognize the user's personal service, and give the advice for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.errors import UsageError
from rps_core.state.record import Endpoint, SessionRecord, Tunnel
from rps_core.state.store import Store
from rps_core.support import PHRASE
from rps_core.system import paths
from rps_core.system.user import login_name

if TYPE_CHECKING:
    from rps_core.cluster import ClusterContext
    from rps_proxy.personal.find import Endpoint as Service
    from rps_proxy.personal.find import OnCluster

_carried = False


def is_personal(endpoint: Endpoint) -> bool:
    """Return whether an endpoint is of the user's personal service, by its CA."""
    from rps_proxy.personal.running import last

    if endpoint.ca_file is None:
        return False
    running = last(_directory(endpoint))
    named = running is not None and running.ca_file == endpoint.ca_file  # the user's proxy.yaml
    return named or Path(endpoint.ca_file).is_relative_to(paths.data_dir())


def for_new_session(here: ClusterContext) -> OnCluster | None:
    """Return how the personal service of this cluster is started; None: it is for this machine alone.

    Raises:
        UsageError: the site allows none.
    """
    proxy = here.loaded.settings.proxy
    if not proxy.tunnelled:
        return None
    from rps_proxy.personal.find import OnCluster

    limits = here.loaded.settings.limits
    if not limits.personal:
        raise UsageError(
            f"{here.site.cluster.name} allows no personal services on its login nodes "
            f"({here.loaded.where('limits.personal')}), and no Reverse Proxy Service is configured",
            "Ask the cluster's support for the domain of its service (`proxy.domain`).",
        )
    living = _sessions_here()
    if limits.personal_sessions is not None and len(living) >= limits.personal_sessions:
        raise UsageError(
            f"{here.site.cluster.name} allows {limits.personal_sessions} of a user's sessions through a "
            f"personal service on a login node ({here.loaded.where('limits.personal_sessions')}), and you "
            f"have {len(living)} here",
            "`rps list` shows them; `rps stop NAME` ends one.",
        )

    def found() -> str:
        from rps_core.proxy_client.login_address import address_for_nodes

        return proxy.listen or address_for_nodes(here)

    return OnCluster(found, lambda: living, limits.personal_idle, _carried)


def for_known_session(address: str) -> OnCluster:
    """Return how the service of a session is started again, which had this address."""
    from rps_proxy.personal.find import OnCluster

    return OnCluster(lambda: address, _sessions_here, None, _carried)


def carry_for(here: ClusterContext) -> None:
    """Let a personal service that this command starts end with it (`rps start --foreground`).

    Raises:
        UsageError: this cluster's sessions do not use one.
    """
    proxy = here.loaded.settings.proxy
    if not proxy.personal or not proxy.tunnelled:
        raise UsageError(
            f"--foreground is for a personal service on a login node, and {here.site.cluster.name} uses "
            + (f"the service of {proxy.domain}" if not proxy.personal else "this machine's"),
            "Leave it out.",
        )
    _carry()


def carry(record: SessionRecord) -> None:
    """Let this command carry a session's personal service, as `carry_for`.

    Raises:
        UsageError: the session uses none, or one on another host.
    """
    if record.tunnel is None:
        raise UsageError(
            f"--foreground is for a personal service on a login node, and {record.name} uses none",
            "Leave it out.",
        )
    if not is_on_this_host(record):
        raise UsageError(
            f"The personal service of {record.name} runs on {record.tunnel.host}",
            f"Run this command there: `ssh {record.tunnel.host}`.",
        )
    _carry()


def _carry() -> None:
    global _carried
    _carried = True


def _sessions_here() -> list[str]:
    """Return the names of the living sessions whose personal service is this login node's."""
    records = Store(paths.sessions_dir()).records()
    return [
        record.name
        for record in records
        if record.ended is None and record.tunnel is not None and is_on_this_host(record)
    ]


def killed_notice() -> str:
    """Return the words for a login node's personal service that was killed while it had sessions."""
    return (
        "Your personal service on this login node was killed, and is started again. If this host ends what "
        "users leave\nrunning when they log out (systemd-logind, KillUserProcesses=yes), keep it in a "
        "terminal: `rps start --foreground`,\nor `rps status --watch --foreground` for a session that runs. "
        f"Or ask {PHRASE}\nto let it run: `loginctl enable-linger {login_name()}`."
    )


def place_notice(found: Service) -> str:
    """Return the words for a service that ran when this command was to carry it (`--foreground`)."""
    if found.taken_over:
        return (
            "Your personal service ran in the background. It was started again in this terminal, and ends "
            "with this command."
        )
    return "Your personal service runs in another terminal, and ends with the command there."


def tunnel_here() -> Tunnel | None:
    """Return how ssh reaches the personal service of this login node; None: none has run here."""
    from rps_proxy.personal.running import BROWSER_SOCKET, last, service_directory

    directory = service_directory(on_cluster=True)
    running = last(directory)
    if running is None:
        return None
    return Tunnel(host=running.host, socket=str(directory / BROWSER_SOCKET), port=running.port)


def is_on_this_host(record: SessionRecord) -> bool:
    """Return whether a session's personal service runs on this host, or would if it were started.

    Login nodes behind one name share the home directory, and each has a service of its own.
    """
    if record.tunnel is None:
        return True
    return _short(record.tunnel.host) == _short(os.uname().nodename)


def _short(host: str) -> str:
    return host.partition(".")[0].lower()


def _directory(endpoint: Endpoint) -> Path:
    """Return the directory of this host's personal service at an endpoint, as its own file has it.

    The address alone is not enough: both a login node's and that of a machine of its own may be 127.0.0.1.
    """
    from rps_proxy.personal.running import ADDRESS, last, service_directory

    for on_cluster in (False, True):
        directory = service_directory(on_cluster=on_cluster)
        running = last(directory)
        if running and (running.address, running.port) == (endpoint.connect, endpoint.port):
            return directory
    return service_directory(on_cluster=endpoint.connect != ADDRESS)


def start_advice(endpoint: Endpoint) -> str:
    """Return what to do about the personal service of this host if it does not answer."""
    from rps_proxy.personal.running import LOG_FILE

    log = _directory(endpoint) / LOG_FILE
    return f"This is your personal service: `rps start` starts it. Its log is {log}."


def restart_advice(endpoint: Endpoint) -> str:
    """Return how to restart the personal service of this host."""
    from rps_proxy.personal.running import find

    running = find(_directory(endpoint))
    end = "" if running is None else f"End it (`kill {running.pid}`); your sessions continue. "
    return f"This is your personal service. {end}`rps start` starts it, and it writes its CA file."
