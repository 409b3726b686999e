"""The operator's commands: over the admin socket, or on the registry itself."""

from __future__ import annotations

import http.client
import json
import os
import socket
from typing import TYPE_CHECKING, Any

from rps_core.errors import NotFoundError, ServiceError, UnhealthyError, UsageError
from rps_proxy import parent_domains as parents
from rps_proxy.cli.registry_file import NEVER_STARTED, stopped_registry
from rps_proxy.control.readiness import CAUSES
from rps_proxy.http.unix_socket import short_path
from rps_proxy.tls.probe import served_certificate

if TYPE_CHECKING:
    from rps_proxy.settings.model import Settings

TIMEOUT = 30.0  # seconds for the service's answer

_SEE_LOG = "See its log: `journalctl --unit rps-proxy`."

Status = dict[str, Any]


def ask(settings: Settings, method: str, path: str, body: object = None) -> str | None:
    """Make a call on the admin socket; None: no service listens on it.

    Raises:
        ServiceError: this account may not open it, or the service refused or did not answer.
    """
    file = settings.admin_socket
    client = http.client.HTTPConnection("service", timeout=TIMEOUT)
    client.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.sock.settimeout(TIMEOUT)
    try:
        try:
            with short_path(file) as short:
                client.sock.connect(short)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return None
        client.request(method, path, None if body is None else json.dumps(body))
        response = client.getresponse()
        answer = response.read().decode()
    except PermissionError as error:
        raise ServiceError(
            f"Cannot open {file}: only the service's account may.",
            "Run this as that account, or as root.",
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise ServiceError(f"The service did not answer on {file}: {error}", _SEE_LOG) from error
    finally:
        client.close()
    if response.status != 200:
        refusal = json.loads(answer)
        code, message = str(refusal.get("error", response.status)), refusal.get("message")
        why = f": {message}" if message else ""
        raise ServiceError(f"The service refused: {code}{why}", _SEE_LOG, code=code)
    return answer


def status(settings: Settings) -> Status:
    """Return the service's state, with `running` and `warnings` added.

    If the service does not run: the registry's `sessions` and `engine_answers`.

    Raises:
        NotFoundError: there is neither a running service nor a registry.
        ServiceError: see `ask`.
    """
    warning = parents.warning(settings.domain)
    warnings = [] if warning is None else [warning]
    answer = ask(settings, "GET", "/status")
    if answer is not None:
        return {"running": True, **json.loads(answer), "warnings": warnings}
    with stopped_registry(settings) as registry:
        counts = registry.counts()
    return {
        "running": False,
        "sessions": counts,
        "engine_answers": _engine_answers(settings),
        "warnings": warnings,
    }


def _engine_answers(settings: Settings) -> bool | None:
    """Return whether the engine accepts connections; None: the engine is embedded."""
    if settings.engine_kind == "embedded":
        return None
    try:
        served_certificate(settings.listen.address, settings.listen.port, settings.domain)
    except OSError:
        return False
    return True


def status_lines(found: Status) -> list[str]:
    """Format the state for `rps proxy status`."""
    lines = [f"{phase:8}{number:8}" for phase, number in found["sessions"].items()]
    warnings = [f"warning: {each}" for each in found["warnings"]]
    if not found["running"]:
        answers = found["engine_answers"]
        if answers is not None:
            lines.append(
                f"engine   {'running: existing routes work' if answers else 'not answering'}"
            )
        return [*lines, *warnings]
    step = "in step" if found["engine_in_step"] else "not in step"
    workers = f", {found['workers']} workers" if found["workers"] > 1 else ""
    lines += [
        f"engine   {found['engine']}{workers}, {step}, {found['routes']} routes",
        f"running  for {found['uptime'] / 3600:.1f} hours, version {found['version']}",
        f"TLS      certificate valid for {found['certificate_days']} days",
    ]
    if found["draining"]:
        lines.append("draining: no new names")
    # A service of an earlier version, still running, sends no `faults`; before that, no `lacking`.
    reasons = found.get("faults", {})
    for what in found.get("lacking", ()):
        reason = reasons.get(what)
        lines.append(f"not ready: {CAUSES.get(what, what)}{f': {reason}' if reason else ''}")
    return [*lines, *warnings]


def check_ready(found: Status) -> None:
    """Check that the service is running and ready.

    Raises:
        ServiceError: it is not running.
        UnhealthyError: it is not ready.
    """
    if not found["running"]:
        raise ServiceError(
            "The service is not running.",
            "Start it: `systemctl start rps-proxy` (or `rps proxy serve`). To find why it ended: "
            "`journalctl --unit rps-proxy`. To check its configuration: `rps proxy check`.",
        )
    if found.get("lacking"):
        raise UnhealthyError(
            f"The service is not ready: {', '.join(found['lacking'])}.",
            'See the lines that begin with `not ready`, and docs/operators.md, "Health and readiness".',
        )


def sessions(settings: Settings) -> list[dict[str, Any]]:
    """Return the live sessions, newest first; from the registry if no service runs.

    Raises:
        NotFoundError, ServiceError: as for `status`.
    """
    answer = ask(settings, "GET", "/sessions")
    if answer is not None:
        found: list[dict[str, Any]] = json.loads(answer)
        return found
    from rps_proxy.registry.session import Phase
    from rps_proxy.registry.summary import described

    with stopped_registry(settings) as registry:
        living = [phase for phase in Phase if phase is not Phase.GONE]
        return [described(session, live=False) for session in registry.every(living)]


def revoke(settings: Settings, names: list[str], reason: str) -> None:
    """End sessions and close the connections on their routes.

    Raises:
        NotFoundError: no session has one of these names; the others have ended.
        ServiceError: see `ask`; or no service runs; or the engine does not answer.
        UsageError: the reason is not printable.
    """
    if not reason.isprintable():
        raise UsageError(
            "--reason contains line breaks or unprintable characters.", "Give one printable line."
        )
    answer = ask(settings, "POST", "/revoke", {"names": names, "reason": reason})
    if answer is None:
        raise ServiceError(
            "Nothing was revoked: the service is not running.",
            "Start it first: `systemctl start rps-proxy` (or `rps proxy serve`).",
        )
    done = json.loads(answer)
    if done["lingering"]:
        raise ServiceError(
            f"The engine does not answer: routes may stay until it does: {', '.join(done['lingering'])}.",
            "The sessions have ended, and the engine will remove their routes. If it hangs, restart it "
            "(`systemctl restart rps-proxy-engine`): that closes the connections of all sessions.",
            transient=True,
        )
    unknown = done["unknown"]
    if unknown:
        raise NotFoundError(
            f"There is no session {', '.join(unknown)}.", "`rps proxy sessions` lists the names."
        )


def drain(settings: Settings, *, on: bool) -> None:
    """Start or end draining, which lasts across restarts of the service.

    Raises:
        NotFoundError: the service's directory does not exist.
        ServiceError: see `ask`.
    """
    if ask(settings, "POST", "/drain", {"on": on}) is None:
        from rps_proxy.control.drain import set_draining
        from rps_proxy.private_files import own_directory

        directory = settings.service_directory
        if not directory.is_dir():
            raise NotFoundError(
                f"Could not find the service's directory {directory}.", NEVER_STARTED
            )
        # Root may do this for another account's service: only the file's existence matters, not its owner.
        if os.geteuid() != 0:
            own_directory(directory)
        set_draining(directory, on=on)
