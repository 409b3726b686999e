"""The embedded engine in several processes, which the service starts and replaces.

Each worker has a listening socket of its own on the one port (SO_REUSEPORT), and the kernel spreads
connections evenly among them; with one socket for all, the process that wakes first would get most.
The service holds these sockets: while a worker is replaced, new connections wait for its successor, and none
is lost but those that it had accepted.

A worker has all routes before it accepts. So a change does not wait for a worker that is starting, and does
not fail because one ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from rps_core.errors import ServiceError
from rps_core.log import get_logger
from rps_proxy.control.counters import Counters
from rps_proxy.engine import EngineError, Target, Traffic
from rps_proxy.engines.workers.channel import Begin, message
from rps_proxy.engines.workers.process import WorkerProcess

DOOR_FILE = "service.sock"  # in the service's directory; workers forward what has no route
TIMEOUT = 2.0  # seconds for one change
BEAT = 1.0  # seconds between two checks of the workers
LISTEN_TIME = 30.0  # seconds
PAUSE = 1.0  # seconds before a restart, for a worker that ran for less
STOP_TIME = 5.0  # seconds; a worker waits one of them for requests under way

_log = get_logger("rps.workers")


class Workers:
    """Implement `Engine`; the processes run while it is entered as a context."""

    def __init__(
        self, begin: Begin, listeners: Sequence[socket.socket], lock: int, counters: Counters
    ) -> None:
        self._counters = counters
        self._begin = begin
        self._lock = lock
        self._workers = [WorkerProcess(number, each) for number, each in enumerate(listeners, 1)]
        self._targets: dict[str, Target] = {}
        self._listening = False
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Workers:
        """Start the workers; they do not listen yet.

        Raises:
            ServiceError: a worker does not start.
        """
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._keep(worker)) for worker in self._workers]
        self._tasks.append(loop.create_task(self._beat()))
        try:
            await asyncio.gather(*(worker.first for worker in self._workers))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the workers; kill those that do not stop in time."""
        self.close()
        try:
            await asyncio.wait(self._tasks, timeout=STOP_TIME)
        finally:
            for worker in self._workers:
                worker.kill()
        await asyncio.gather(*self._tasks)
        for worker in self._workers:
            worker.listener.close()

    async def listen(self) -> None:
        """Have all workers accept connections.

        Raises:
            ServiceError: a worker cannot listen.
        """
        self._listening = True
        request = message({"call": "listen"})
        # Not bounded as a change is: they may have thousands of routes to add first.
        answers = [worker.call(request) for worker in self._workers if worker.connected]
        if answers:
            await asyncio.wait(answers, timeout=LISTEN_TIME)
        # One that ended meanwhile is replaced by one that listens.
        if not all(each.cancelled() or (each.done() and each.result() is None) for each in answers):
            raise ServiceError(
                "A worker of the embedded engine cannot listen.",
                "See the log for the reason. `workers: 1` needs no worker processes.",
            )

    async def add(self, target: Target) -> None:
        """See `Engine`; a name that is live keeps the route that it has."""
        self._targets.setdefault(target.name, target)
        await self._call_all("change", gone=[], new=[asdict(target)])

    async def remove(self, target: Target) -> None:
        """See `Engine`."""
        self._targets.pop(target.name, None)
        await self._call_all("change", gone=[target.name], new=[])

    async def reconcile(self, targets: Mapping[str, Target]) -> None:
        """See `Engine`; only differences are sent, since all workers have the same routes."""
        gone = [name for name in self._targets if name not in targets]
        new = [asdict(target) for name, target in targets.items() if name not in self._targets]
        self._targets = dict(targets)
        await self._call_all("change", gone=gone, new=new)
        away = [worker.number for worker in self._workers if not worker.ready]
        if away:
            raise EngineError(f"worker {away[0]} is starting")

    async def certificate(self, pem: bytes) -> None:
        """See `Engine`."""
        self._begin = replace(self._begin, certificate=pem.decode())
        await self._call_all("certificate", pem=pem.decode())

    async def traffic(self) -> Traffic:
        """Return the sum of the workers' last reports, at most one beat old."""
        parts = [part for each in self._workers for part in (each.carried_before, each.carried)]
        return Traffic(
            sum(part.websockets for part in parts),
            sum(part.received for part in parts),
            sum(part.sent for part in parts),
        )

    def sweep(self) -> None:
        """Do nothing: each beat has the workers sweep."""

    def close(self) -> None:
        """Have all workers stop."""
        if not self._stopping.is_set():
            self._stopping.set()
            for worker in self._workers:
                worker.call(message({"call": "stop"}))

    async def _call_all(self, call: str, **arguments: object) -> None:
        """Send a call to all running workers and wait for their answers.

        Raises:
            EngineError: one failed, or did not answer in time.
        """
        request = message({"call": call, **arguments})
        asked = [(worker, worker.call(request)) for worker in self._workers if worker.connected]
        awaited = [answer for worker, answer in asked if worker.ready and not worker.late]
        if awaited:
            await asyncio.wait(awaited, timeout=TIMEOUT)
        faults = []
        for worker, answer in asked:
            if not answer.done() and worker.ready:
                worker.late = True
                faults.append(f"worker {worker.number} does not answer")
            elif answer.done() and not answer.cancelled() and (error := answer.result()):
                faults.append(f"worker {worker.number}: {error}")
                worker.kill()  # its routes are unknown now
        if faults:
            raise EngineError("; ".join(faults))

    async def _beat(self) -> None:
        while not self._stopping.is_set():
            await self._pause(BEAT)
            for worker in self._workers:
                worker.beat()

    async def _keep(self, worker: WorkerProcess) -> None:
        """Run this worker, restarting its process, until the engine stops."""
        while not self._stopping.is_set():
            began = time.monotonic()
            reason: object = None
            try:
                await self._run(worker)
            except OSError as error:
                reason = error.strerror
            except Exception:  # noqa: BLE001 - a defect is logged, and the worker restarted
                _log.exception("defect")
            code = await worker.end()
            if self._stopping.is_set():
                break
            self._counters.count("worker-ends")
            _log.error("worker-ended", worker=worker.number, exit_code=code, reason=reason)
            if not worker.first.done():
                worker.first.set_exception(
                    ServiceError(
                        f"Worker {worker.number} of the embedded engine does not start.",
                        "See the log for the reason. `workers: 1` needs no worker processes.",
                    )
                )
            if time.monotonic() - began < PAUSE:
                await self._pause(PAUSE)
        worker.first.cancel()

    async def _run(self, worker: WorkerProcess) -> None:
        """Run one process from start to end."""
        reader = await worker.start(self._lock)
        routes = [asdict(target) for target in self._targets.values()]
        calls = [
            {"call": "begin", **asdict(self._begin)},
            {"call": "change", "gone": [], "new": routes},
            *([{"call": "listen"}] if self._listening else []),
        ]
        answers = [worker.call(message(call)) for call in calls]
        if self._stopping.is_set():
            return
        reading = asyncio.get_running_loop().create_task(worker.read_answers(reader))
        for answer in answers:
            either: list[asyncio.Future[Any]] = [reading, answer]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() or answer.result() is not None:
                worker.kill()  # its log gives the reason
                break
        else:
            worker.ready = True
            _log.info("worker-ready", worker=worker.number)
            if not worker.first.done():
                worker.first.set_result(None)
        await reading

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
