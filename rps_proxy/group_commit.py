"""Writes to SQLite that share their fsync.

One thread commits whatever has gathered since its last commit. Callers that come together wait for
one fsync, not for one each, and every one of them is answered only after it.
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

MOST_IN_ONE_COMMIT = 256

Result = TypeVar("Result")


class RefusedError(Exception):
    """The registry's rules forbid this step; `code` is the word for it in docs/protocol.md."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class BusyError(Exception):
    """Nothing was written, or read: the disk is full or broken, or the database cannot be reached."""


@dataclass(slots=True)
class _Write:
    """A change on its way, and the future that hears of it after the commit."""

    change: Callable[[sqlite3.Connection], Any]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any]
    result: Any = None
    refusal: Exception | None = None


class GroupCommit:
    """The one writer of a database; it owns the connection, which must be in autocommit mode."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="registry", daemon=True)
        self._thread.start()

    def write(self, change: Callable[[sqlite3.Connection], Result]) -> asyncio.Future[Result]:
        """Run `change` within a transaction; its result, once that is on disk.

        Changes are carried out in the order of these calls, awaited or not; one that is cancelled before its
        turn is left out. `change` runs in the writer's thread. It must refuse before it writes: the changes
        of others are in the same transaction.

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
                    continue  # its caller has gone; a disk that hung would else give names to nobody
                try:
                    write.result = write.change(self._db)
                except RefusedError as refusal:
                    write.refusal = refusal
            self._db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - if this thread ended, nobody were answered again
            with contextlib.suppress(sqlite3.Error):  # the next BEGIN then says it
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            for write in batch:
                write.refusal = BusyError(str(error)) if isinstance(error, sqlite3.Error) else error
        batch[0].loop.call_soon_threadsafe(_answer, batch)


def _answer(batch: list[_Write]) -> None:
    for write in batch:
        if write.done.done():  # the caller went away; what was committed stays
            continue
        if write.refusal is None:
            write.done.set_result(write.result)
        else:
            write.done.set_exception(write.refusal)
