"""Group commit: concurrent writes to SQLite share one fsync.

One thread commits the writes that were queued during its last commit; each caller gets its result afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from rps_proxy.refusals import BusyError, RefusedError

MOST_IN_ONE_COMMIT = 256

Result = TypeVar("Result")


@dataclass(slots=True)
class _Write:
    """A queued change, and the future of its result after the commit."""

    change: Callable[[sqlite3.Connection], Any]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any]
    result: Any = None
    refusal: Exception | None = None


class GroupCommit:
    """The only writer of a database, on its own connection in autocommit mode."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="registry", daemon=True)
        self._thread.start()

    def write(self, change: Callable[[sqlite3.Connection], Result]) -> asyncio.Future[Result]:
        """Run `change` within a transaction; return its result once it is on disk.

        Changes run in the order of these calls, awaited or not, except those cancelled before their turn.
        `change` runs in the writer's thread. It must refuse before it writes: the transaction contains other
        changes.

        Raises:
            RefusedError: `change` raised it.
            BusyError: nothing was written.
        """
        loop = asyncio.get_running_loop()
        write = _Write(change, loop, loop.create_future())
        self._queue.put(write)
        return write.done

    def close(self) -> None:
        """Commit what is under way and close the connection."""
        self._queue.put(None)
        self._thread.join()
        self._db.close()

    def _run(self) -> None:
        while True:
            writes = [self._queue.get()]
            while len(writes) < MOST_IN_ONE_COMMIT and not self._queue.empty():
                writes.append(self._queue.get())
            batch = [write for write in writes if write is not None]
            if batch:
                self._commit(batch)
            if len(batch) < len(writes):
                return

    def _commit(self, batch: list[_Write]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for write in batch:
                if write.done.cancelled():
                    continue  # after a hung disk it would issue names that no client gets
                try:
                    write.result = write.change(self._db)
                except RefusedError as refusal:
                    write.refusal = refusal
            self._db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - without this thread no call gets an answer
            with contextlib.suppress(sqlite3.Error):  # the next BEGIN then raises it
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            for write in batch:
                write.refusal = BusyError(str(error)) if isinstance(error, sqlite3.Error) else error
        batch[0].loop.call_soon_threadsafe(_answer, batch)


def _answer(batch: list[_Write]) -> None:
    for write in batch:
        if write.done.done():  # its caller is gone; the change stays committed
            continue
        if write.refusal is None:
            write.done.set_result(write.result)
        else:
            write.done.set_exception(write.refusal)
