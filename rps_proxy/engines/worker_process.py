"""One worker of the embedded engine, as the service has it: its process, and what they say to each other."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from asyncio.subprocess import Process
from collections import deque

from rps_core.log import get_logger
from rps_proxy.channel import message, receive
from rps_proxy.engines import Traffic

# After so many beats without any answer a worker is killed. They are counted, not timed: who was away
# may have been this process, or the whole machine.
MOST_MISSED = 8
MOST_MISSED_AT_START = 30

_log = get_logger("rps.workers")

# What came of a call: None, or the text of an error. It is cancelled where the worker ended.
Answer = asyncio.Future[str | None]


class WorkerProcess:
    """One of them, in one process after the other."""

    def __init__(self, number: int, listener: socket.socket) -> None:
        self.number = number
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ready = False  # it has its routes, and listens if it is to
        self.late = False  # it did not answer a change in time
        self.listener = listener
        self.carried = Traffic()  # by this process
        self.carried_before = Traffic()  # by those before it
        self._process: Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._answers: deque[Answer] = deque()
        self._missed = 0

    @property
    def connected(self) -> bool:
        """Whether it can be told something."""
        return self._writer is not None

    async def start(self, lock: int) -> asyncio.StreamReader:
        """A new process, which holds `lock` as we do; where its answers come from.

        Raises:
            OSError: there can be none.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = theirs.fileno(), self.listener.fileno()
            try:
                # A fresh interpreter: a fork would take along what our threads hold.
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-P", "-m", "rps_proxy.worker", *map(str, descriptors),
                    stdin=asyncio.subprocess.DEVNULL, pass_fds=(*descriptors, lock),
                )  # fmt: skip
            except BaseException:
                ours.close()
                raise
        reader, self._writer = await asyncio.open_connection(sock=ours)
        return reader

    def tell(self, call: bytes) -> Answer:
        """Send it a call."""
        answer: Answer = asyncio.get_running_loop().create_future()
        if self._writer is None:
            answer.cancel()
        else:
            self._answers.append(answer)
            self._writer.write(call)
        return answer

    async def hear(self, reader: asyncio.StreamReader) -> None:
        """Take its answers, until it ends."""
        while (said := await receive(reader)) is not None:
            self._missed = 0
            self.late = False
            self.carried = Traffic(**said["traffic"])
            self._answers.popleft().set_result(said["error"])

    def beat(self) -> None:
        """See that it answers; one that does not is killed."""
        if not self.connected:
            return
        if not self._answers:
            self.tell(message({"call": "sweep"}))
            return
        self._missed += 1
        if self._missed == (MOST_MISSED if self.ready else MOST_MISSED_AT_START):
            _log.error("worker-not-answering", worker=self.number)
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def end(self) -> int | None:
        """Make sure that it has ended; its exit code, or None where there was no process."""
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
