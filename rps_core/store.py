"""The records of sessions: one directory each, below `$XDG_STATE_HOME/rps/sessions/`.

The home directory may be NFS: a file is replaced whole, by rename, and nothing is locked. Two commands may
write at once, so that one of them writes what it read before the other wrote: the end of a session
therefore stands in a file of its own, which is never taken back. The launcher alone writes these two,
`session.json` and `end.json`; the agent on the node writes `events.jsonl` (docs/sessions.md).
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from rps_core.errors import NotFoundError, RpsError, UsageError
from rps_core.log import get_logger
from rps_core.record import Endpoint, Record, Secrets
from rps_core.session_files import SessionFiles, unless_stale

log = get_logger(__name__)

_SESSION_SIZE = 192 * 1024  # bytes, more than the files of a session take at its start
_HOUR = 3600.0
# The fields of a record that end.json holds.
_AT_THE_END = ("ended", "outcome", "reason", "cause")


class Store:
    """All sessions of this user."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def probe(self) -> None:
        """See that a session's files can be written here, before anything is asked of anybody.

        Raises:
            UsageError: not writable, over quota, no space.
        """
        path = self.directory / f".probe.{os.getpid()}"
        try:
            _make_private(self.directory)
            self.check_owner()
            with path.open("wb") as stream:
                # Takes the room without writing to a disk; NFS tells of a quota when the file is closed.
                os.posix_fallocate(stream.fileno(), 0, _SESSION_SIZE)
        except OSError as error:
            raise UsageError(
                f"Nothing can be written below {self.directory}: {error.strerror}",
                "Free some space or mend its permissions, or set XDG_STATE_HOME to a directory "
                "that the compute nodes see too.",
            ) from None
        finally:
            with contextlib.suppress(OSError):
                path.unlink()

    def check_owner(self) -> None:
        """See that the directory is ours, and nobody else's to write in.

        Raises:
            UsageError: it is a link, or somebody else's.
        """
        try:
            descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        except OSError as error:
            raise UsageError(
                f"{self.directory} cannot be used for sessions: {error.strerror}",
                "It must be a directory of yours, and no link.",
            ) from None
        try:
            if os.fstat(descriptor).st_uid != os.geteuid():
                raise UsageError(
                    f"{self.directory} belongs to somebody else",
                    "Set HOME, or XDG_STATE_HOME, to a directory of your own.",
                )
            os.fchmod(descriptor, 0o700)
        finally:
            os.close(descriptor)

    def files(self, name: str) -> SessionFiles:
        """The files of a session, whether or not they are there."""
        return SessionFiles(self.directory / name)

    def create(self, record: Record, secrets: Secrets) -> SessionFiles:
        """Make a session's directory with its record and secrets."""
        session = self.files(record.name)
        session.directory.mkdir(mode=0o700)
        # The claim first: a record without one could never give its name back.
        session.write("claim.json", json.dumps(asdict(secrets)))
        self.save(record)
        return session

    def save(self, record: Record) -> Record:
        """Write the record, and answer it with what another command has noted meanwhile: its job, its end."""
        with contextlib.suppress(RpsError):  # there is none yet, or it is damaged and now mended
            record = _merged(self.load(record.name), record)
        self.files(record.name).write("session.json", json.dumps(asdict(record), indent=1))
        return record

    def load(self, name: str) -> Record:
        """Read a record.

        Raises:
            NotFoundError: there is none.
            RpsError: it is not one that this version can read.
        """
        path = self.files(name).record_file
        try:
            found = json.loads(unless_stale(lambda: path.read_text("utf-8")))
            values = {**found, "endpoint": Endpoint(**found["endpoint"]), **self._end_of(name)}
            kinds = _kinds()
            record = Record(**{key: value for key, value in values.items() if key in kinds})
            for key, kind in kinds.items():
                value = getattr(record, key)
                if not isinstance(value, kind) and not (kind is float and isinstance(value, int)):
                    raise TypeError(f"`{key}` is {value!r}")
            if record.name != name:
                raise ValueError(f"it is the record of {record.name}")
            return record
        except FileNotFoundError:
            raise NotFoundError(
                f"There is no session `{name}`", "`rps list --all` shows them."
            ) from None
        except OSError as error:
            raise RpsError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RpsError(
                f"{path} is not a record of a session: {error}",
                f"If its job is over, remove {path.parent}",
            ) from None

    def _end_of(self, name: str) -> dict[str, Any]:
        """What end.json says (ValueError and its like: nothing that can be read)."""
        try:
            found = json.loads(unless_stale(lambda: self.files(name).end_file.read_text("utf-8")))
        except FileNotFoundError:
            return {}
        return {"submitting": False, **{key: found[key] for key in _AT_THE_END}}

    def records(self) -> Iterator[Record]:
        """Every record that can be read, oldest first; of the others the log tells."""
        self.check_owner()
        found = []
        for path in self.directory.glob("[!.]*"):
            try:
                found.append(self.load(path.name))
            except NotFoundError:
                self._report_unrecorded(path)
            except RpsError as error:
                log.warning("record left out", reason=error.message)
        return iter(sorted(found, key=lambda record: (record.created, record.name)))

    def _report_unrecorded(self, path: Path) -> None:
        """Removed since it was listed, or begun and never recorded; a job's files say that it ran."""
        with contextlib.suppress(OSError):
            if any(path.glob("events.jsonl")):
                log.warning("a session has lost its record", directory=str(path))
            elif time.time() - path.stat().st_mtime > _HOUR:
                shutil.rmtree(path, ignore_errors=True)

    def find(self, prefix: str | None) -> Record:
        """The session whose name begins so; without a prefix the only one that lives.

        Raises:
            NotFoundError: none.
            UsageError: more than one.
        """
        if prefix == "":
            raise UsageError(
                "An empty name names no session", "Leave it out where there is only one."
            )
        matching = [
            record
            for record in self.records()
            if (record.ended is None if prefix is None else record.is_called(prefix.lower()))
        ]
        exact = [record for record in matching if record.name == prefix]
        matching = exact or [r for r in matching if r.ended is None] or matching
        if len(matching) == 1:
            return matching[0]
        if not matching:
            hint = "`rps start` starts one; `rps list --all` shows ended ones."
            if prefix is None:
                raise NotFoundError("No session of yours is alive", hint)
            from rps_core.wording import did_you_mean

            near = did_you_mean(prefix, (one.name for one in self.records()), shortened=True)
            raise NotFoundError(f"You have no session `{prefix}`", f"{near}{hint}")
        names = ", ".join(record.name for record in matching)
        raise UsageError(f"Which session? {names}", "Give a name, or as much of it as is unique.")

    def find_last(self, prefix: str | None) -> Record:
        """As `find`; without a prefix, where none lives, the one that ended last."""
        if prefix is None:
            records = list(self.records())
            if records and all(record.ended is not None for record in records):
                return max(records, key=lambda record: record.ended or 0.0)
        return self.find(prefix)

    def end(
        self, record: Record, *, now: float, outcome: str, reason: str, cause: str | None = None
    ) -> Record:
        """Note that a session is over, and remove its secrets (first: on a full disk it makes room). The
        first end counts, where two commands find it over at once."""
        files = self.files(record.name)
        files.remove_secrets()
        ended = replace(
            record, ended=now, outcome=outcome, reason=reason, cause=cause, submitting=False
        )
        with contextlib.suppress(RpsError):
            ended = _merged(self.load(record.name), ended)
        try:
            files.write("end.json", json.dumps({key: getattr(ended, key) for key in _AT_THE_END}))
        except OSError as error:
            log.warning("end not noted", name=record.name, reason=error.strerror)
        return ended

    def remove(self, name: str) -> None:
        """Forget a session altogether."""
        shutil.rmtree(self.files(name).directory, ignore_errors=True)


def latest(records: Iterable[Record]) -> dict[str, Record]:
    """The last session of each cluster whose job the scheduler took."""
    found: dict[str, Record] = {}
    for record in sorted(records, key=lambda record: record.created):
        if record.job_id is not None:
            found[record.cluster] = record
    return found


def prune(store: Store, keep_days: float) -> None:
    """Forget sessions that ended long ago, but for the last of each cluster: `rps start --last`."""
    limit = time.time() - keep_days * 86400
    records = list(store.records())
    kept = {record.name for record in latest(records).values()}
    for record in records:
        if record.name not in kept and record.ended is not None and record.ended < limit:
            store.remove(record.name)


def _make_private(directory: Path) -> None:
    """Make a directory, each missing parent too, for its owner alone whatever the umask is."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):  # two commands at once
            path.mkdir(mode=0o700)


def _merged(known: Record, record: Record) -> Record:
    """`record`, with nothing undone that is `known`: neither its job nor its end."""
    if record.job_id is None and known.job_id is not None:
        record = replace(record, job_id=known.job_id, submitting=False)
    if known.ended is not None:
        end = {key: getattr(known, key) for key in _AT_THE_END}
        record = replace(record, submitting=False, **end)
    return record


@functools.cache
def _kinds() -> dict[str, Any]:
    """Of each field the types that `isinstance` takes."""
    hints = get_type_hints(Record)
    return {key: dict if get_origin(kind) is dict else kind for key, kind in hints.items()}
