"""The admin socket: calls of the operator's commands and of Prometheus.

HTTP over a Unix socket that only the service's account can open (mode 0600), unreachable from the network. No
answer contains a secret: the registry holds none.
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
from rps_core.node.agent.protocol import LONGEST_FEED
from rps_core.version import __version__
from rps_proxy.api.jobs import Feed
from rps_proxy.http.body import content, json_object
from rps_proxy.http.unix_socket import private_socket
from rps_proxy.refusals import BusyError, Refusal, RefusedError
from rps_proxy.registry.names import is_name
from rps_proxy.registry.session import Phase
from rps_proxy.registry.summary import described

if TYPE_CHECKING:
    from rps_proxy.control.readiness import Readiness
    from rps_proxy.control.service import Service
    from rps_proxy.tls.front import Front

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
                return await self._metrics()
            if (request.method, request.path) == ("GET", "/ready"):
                return _json(*await self._readiness.answer())
            call = self._calls.get((request.method, request.path))
            if call is None:
                return _json({"error": Refusal.NO_SUCH_CALL}, 404)
            seconds = self._service.settings.advanced.call_time
            return _json(await call(json_object(await content(request, LONGEST_FEED, seconds))))
        except RefusedError as refusal:
            return _json({"error": refusal.code}, 400)
        except BusyError as error:
            return _json({"error": Refusal.BUSY, "message": str(error)}, 503)
        except ConnectionError:
            raise  # the client disconnected
        except Exception:  # noqa: BLE001 - a defect fails its own request only, and is logged
            _log.exception("defect")
            return _json({"error": "defect"}, 500)

    async def _metrics(self) -> web.Response:
        from rps_proxy.control.exposition import CONTENT_TYPE, exposition

        text = exposition(
            self._service,
            self._front.in_use.expires.timestamp(),
            await self._readiness.found(),
            await self._service.routes.traffic(),
        )
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    async def _status(self, _body: dict[str, Any]) -> object:
        service = self._service
        left = self._front.in_use.expires - datetime.now(UTC)
        faults = await self._readiness.faults(now=True)
        lacking = {what: fault for what, fault in faults.items() if fault is not None}
        return {
            "version": __version__,
            "domain": service.settings.domain,
            "uptime": round(time.monotonic() - service.started, 1),
            "sessions": service.registry.counts(),
            "engine": service.settings.engine_kind,
            "workers": service.settings.worker_count,
            "engine_in_step": "engine" not in lacking,
            "routes": len(service.routes),
            "draining": service.draining,
            "lacking": list(lacking),
            "faults": lacking,
            "certificate_days": round(left.total_seconds() / 86400, 1),
        }

    async def _sessions(self, _body: dict[str, Any]) -> object:
        living = [phase for phase in Phase if phase is not Phase.GONE]
        return [
            described(session, live=self._service.routes.is_live(session.name))
            for session in self._service.registry.every(living)
        ]

    async def _revoke(self, body: dict[str, Any]) -> object:
        names, reason = body.get("names"), body.get("reason")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise RefusedError(Refusal.BAD_REQUEST)
        if not isinstance(reason, str) or not reason.isprintable():
            raise RefusedError(Refusal.BAD_REQUEST)
        find = self._service.registry.find
        known = [name for name in names if is_name(name) and find(name) is not None]
        # Concurrently: an engine that hangs would delay each in turn.
        await asyncio.gather(
            *(self._service.revoke(name, reason, "operator", notice=reason) for name in known)
        )
        return {
            "revoked": known,
            "unknown": [name for name in names if name not in set(known)],
            "lingering": [name for name in known if self._service.routes.lingers(name)],
        }

    async def _drain(self, body: dict[str, Any]) -> object:
        on = body.get("on")
        if not isinstance(on, bool):
            raise RefusedError(Refusal.BAD_REQUEST)
        self._service.drain(on=on)
        return {"draining": on}

    async def _unfinished_jobs(self, body: dict[str, Any]) -> object:
        return self._feed.unfinished(body.get("cluster"))

    async def _job_states(self, body: dict[str, Any]) -> object:
        return await self._feed.note(body.get("cluster"), body.get("jobs"), body.get("foreign"))


def admin_socket(path: Path) -> contextlib.AbstractContextManager[socket.socket]:
    """Bind the admin socket; see `private_socket`."""
    return private_socket(
        path, "Give it a directory that its account may write to (`admin.socket`)."
    )


def _json(value: object, status: int = 200) -> web.Response:
    return web.json_response(value, status=status)
