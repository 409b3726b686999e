"""The admin socket: what the operator's commands and Prometheus ask of the running service.

HTTP over a Unix socket of the service's account alone (mode 0600): who can open it may do all of this,
and nothing on the network can. Never a secret in an answer: there are none in the registry.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from rps_core.log import get_logger
from rps_core.version import __version__
from rps_proxy.bodies import content, json_object
from rps_proxy.group_commit import BusyError, RefusedError
from rps_proxy.jobs import LONGEST_FEED, Feed
from rps_proxy.metrics import CONTENT_TYPE, exposition
from rps_proxy.names import is_name
from rps_proxy.operate import SOCKET_FILE, described
from rps_proxy.session import Phase
from rps_proxy.unix_socket import private_socket

if TYPE_CHECKING:
    from rps_proxy.readiness import Readiness
    from rps_proxy.service import Service
    from rps_proxy.tls import Front

_log = get_logger("rps.admin")


class Admin:
    """Answers on the admin socket for one `Service`."""

    def __init__(self, service: Service, front: Front, readiness: Readiness) -> None:
        self._service = service
        self._readiness = readiness
        self._front = front
        self._feed = Feed(service)
        self._calls: dict[tuple[str, str], Callable[[dict[str, Any]], Awaitable[object]]] = {
            ("GET", "/status"): self._status,
            ("GET", "/sessions"): self._sessions,
            ("POST", "/revoke"): self._revoke,
            ("POST", "/drain"): self._drain,
            ("POST", "/unfinished-jobs"): self._unfinished_jobs,
            ("POST", "/job-states"): self._job_states,
        }

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer one request; the web.Server's handler."""
        try:
            if (request.method, request.path) == ("GET", "/metrics"):
                text = exposition(
                    self._service,
                    self._front.expires.timestamp(),
                    await self._readiness.found(),
                    await self._service.traffic(),
                )
                return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})
            if (request.method, request.path) == ("GET", "/ready"):
                return _json(*await self._readiness.answer())
            call = self._calls.get((request.method, request.path))
            if call is None:
                return _json({"error": "no-such-call"}, 404)
            return _json(await call(json_object(await content(request, LONGEST_FEED))))
        except RefusedError as refusal:
            return _json({"error": refusal.code}, 400)
        except BusyError as error:
            return _json({"error": "busy", "message": str(error)}, 503)
        except ConnectionError:
            raise  # the client went away
        except Exception:  # noqa: BLE001 - a defect must cost its own request alone, and be seen
            _log.exception("defect")
            return _json({"error": "defect"}, 500)

    async def _status(self, _body: dict[str, Any]) -> object:
        service = self._service
        left = self._front.expires - datetime.now(UTC)
        return {
            "version": __version__,
            "domain": service.settings.domain,
            "uptime": round(time.monotonic() - service.started, 1),
            "sessions": service.registry.counts(),
            "engine": service.settings.engine_kind,
            "workers": service.settings.worker_count,
            "engine_in_step": service.in_step,
            "routes": service.routes,
            "draining": service.draining,
            "lacking": await self._readiness.lacking(),
            "certificate_days": round(left.total_seconds() / 86400, 1),
        }

    async def _sessions(self, _body: dict[str, Any]) -> object:
        living = [phase for phase in Phase if phase is not Phase.GONE]
        return [
            described(session, live=self._service.is_live(session.name))
            for session in self._service.registry.every(living)
        ]

    async def _revoke(self, body: dict[str, Any]) -> object:
        names, reason = body.get("names"), body.get("reason")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise RefusedError("bad-request")
        if not isinstance(reason, str) or not reason.isprintable():
            raise RefusedError("bad-request")
        find = self._service.registry.find
        known = [name for name in names if is_name(name) and find(name) is not None]
        # Together: one after the other, an engine that hangs would hold up each of them.
        await asyncio.gather(
            *(self._service.revoke(name, reason, "operator", reason) for name in known)
        )
        return {
            "revoked": known,
            "unknown": [name for name in names if name not in set(known)],
            "lingering": [name for name in known if self._service.lingers(name)],
        }

    async def _drain(self, body: dict[str, Any]) -> object:
        on = body.get("on")
        if not isinstance(on, bool):
            raise RefusedError("bad-request")
        self._service.drain(on=on)
        return {"draining": on}

    async def _unfinished_jobs(self, body: dict[str, Any]) -> object:
        return self._feed.unfinished(body.get("cluster"))

    async def _job_states(self, body: dict[str, Any]) -> object:
        return await self._feed.note(body.get("cluster"), body.get("jobs"), body.get("foreign"))


def admin_socket(
    configured: str | None, directory: Path
) -> contextlib.AbstractContextManager[socket.socket]:
    """The socket, bound; see `private_socket`."""
    path = Path(configured).expanduser() if configured is not None else directory / SOCKET_FILE
    return private_socket(
        path, "Give it a directory that its account may write to (`admin.socket`)."
    )


def _json(value: object, status: int = 200) -> web.Response:
    return web.json_response(value, status=status)
