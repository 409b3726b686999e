"""The service's side of one worker: its process and the calls to it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from asyncio.subprocess import Process
from collections import deque

from rps_core.log import get_logger
from rps_core.node.own_process import module_command
from rps_proxy.engine import Traffic
from rps_proxy.engines.workers.channel import message, receive

# Beats without an answer until a worker is killed. They are counted, not timed, since this process or the
# machine may be suspended meanwhile.
MOST_MISSED = 8
MOST_MISSED_AT_START = 30

_log = get_logger("rps.workers")

# The result of a call: None, or the text of an error. Cancelled when the worker ended.
Answer = asyncio.Future[str | None]


class WorkerProcess:
    """One worker: a process, or the one that replaced it."""

    def __init__(self, number: int, listener: socket.socket) -> None:
        self.number = number
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ready = False  # it has its routes, and listens if the engine does
        self.late = False  # it did not answer a change in time
        self.listener = listener
        self.carried = Traffic()  # by this process
        self.carried_before = Traffic()  # by the processes before
        self._process: Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._answers: deque[Answer] = deque()
        self._missed = 0

    @property
    def connected(self) -> bool:
        """Return whether a process is connected."""
        return self._writer is not None

    async def start(self, lock: int) -> asyncio.StreamReader:
        """Start a process that inherits `lock`; return the stream of its answers.

        Raises:
            OSError: it cannot be started.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = theirs.fileno(), self.listener.fileno()
            try:
                # A new interpreter: a fork would copy the locks that other threads hold.
                self._process = await asyncio.create_subprocess_exec(
                    *module_command("rps_proxy.engines.workers.worker"), *map(str, descriptors),
                    stdin=asyncio.subprocess.DEVNULL, pass_fds=(*descriptors, lock),
                )  # fmt: skip
            except BaseException:
                ours.close()
                raise
        reader, self._writer = await asyncio.open_connection(sock=ours)
        return reader

    def call(self, call: bytes) -> Answer:
        """Send a call; return the future of its answer."""
        answer: Answer = asyncio.get_running_loop().create_future()
        if self._writer is None:
            answer.cancel()
        else:
            self._answers.append(answer)
            self._writer.write(call)
        return answer

    async def read_answers(self, reader: asyncio.StreamReader) -> None:
        """Read the worker's answers until its channel closes."""
        while (answer := await receive(reader)) is not None:
            self._missed = 0
            self.late = False
            self.carried = Traffic(**answer["traffic"])
            self._answers.popleft().set_result(answer["error"])

    def beat(self) -> None:
        """Check that the worker answers; kill it after too many missed beats."""
        if not self.connected:
            return
        if not self._answers:
            self.call(message({"call": "sweep"}))
            return
        self._missed += 1
        if self._missed == (MOST_MISSED if self.ready else MOST_MISSED_AT_START):
            _log.error("worker-not-answering", worker=self.number)
            self.kill()

    def kill(self) -> None:
        """Kill the process."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def end(self) -> int | None:
        """Kill the process and return its exit code; None: there was none."""
        self.kill()
        process, writer = self._process, self._writer
        self._process = self._writer = None
        self.ready = self.late = False
        self._missed = 0
        self.carried_before.received += self.carried.received
        self.carried_before.sent += self.carried.sent
        self.carried = Traffic()
        while self._answers:
            self._answers.popleft().cancel()
        if writer is not None:
            writer.close()
        return await process.wait() if process is not None else None
