"""The store of sessions: a directory each, in `$XDG_STATE_HOME/rps/sessions/`.

The home directory may be NFS: files are replaced by rename, and nothing is locked. Two commands may write at
once, so one of them may write back values from before the other's change. The end of a session is therefore
in a file of its own, which is never withdrawn. Only the launcher writes `session.json` and `end.json`; the
agent on the node writes `events.jsonl` (docs/sessions.md).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rps_core.errors import NotFoundError, RpsError, ServiceError, UsageError
from rps_core.log import get_logger
from rps_core.node.agent.protocol import is_session_name
from rps_core.state import record as codec
from rps_core.state.record import END_FIELDS, Secrets, SessionRecord
from rps_core.state.session_dir import SessionFiles, unless_stale
from rps_core.system import paths
from rps_core.system.files import remove_unfinished

log = get_logger(__name__)

_SESSION_SIZE = 192 * 1024  # bytes, more than the files of a new session need
_HOUR = 3600.0
_ANOTHER_PLACE = (
    "Or set XDG_STATE_HOME to your own directory that the compute nodes see too: other users could "
    "otherwise change what your jobs run."
)
# The files that `create` writes before the record.
_BEFORE_THE_RECORD = r"claim\.json|\.(claim|session)\.json\.[0-9]+\.[0-9]+"


class Store:
    """All sessions of this user."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._checked = False

    def probe(self) -> None:
        """Check that a session's files can be written, before the service is called.

        Raises:
            UsageError: no write permission, no space, or over quota.
        """
        path = self.directory / f".probe.{os.getpid()}"
        paths.check_private(self.directory, _ANOTHER_PLACE)
        try:
            paths.make_directory(self.directory)
            paths.check_private(self.directory, _ANOTHER_PLACE)
            remove_unfinished(self.directory / "probe")
            with path.open("wb") as stream:
                # Allocates the space without writing data; NFS reports an exceeded quota on close.
                os.posix_fallocate(stream.fileno(), 0, _SESSION_SIZE)
        except OSError as error:
            raise UsageError(
                f"Cannot write to {self.directory}: {error.strerror}",
                "Free some space or fix its permissions, or set XDG_STATE_HOME to a directory "
                "that the compute nodes see too.",
            ) from None
        finally:
            with contextlib.suppress(OSError):
                path.unlink()

    def files(self, name: str) -> SessionFiles:
        """Return a session's files, which need not exist.

        Every path of a session is made here: a name from a service or a record may contain anything.

        Raises:
            NotFoundError: the name is not a valid session name.
        """
        if not is_session_name(name):
            raise NotFoundError(
                f"{name!r} is not a valid session name", "`rps list --all` shows them."
            )
        return SessionFiles(self.directory / name)

    def names(self) -> list[str]:
        """Return the names of the sessions' directories; links are left out."""
        try:
            with os.scandir(self.directory) as entries:
                return sorted(
                    entry.name
                    for entry in entries
                    if is_session_name(entry.name) and entry.is_dir(follow_symlinks=False)
                )
        except FileNotFoundError:
            return []

    def create(self, record: SessionRecord, secrets: Secrets) -> SessionFiles:
        """Make a session's directory with its record and secrets, or nothing.

        Raises:
            ServiceError: a session of this name exists; it is not changed.
        """
        session = self.files(record.name)
        try:
            session.directory.mkdir(mode=0o700)
        except FileExistsError:
            raise ServiceError(
                f"The service issued the name {record.name}, which another session here has",
                "Try again; if it happens again, inform the cluster's support.",
            ) from None
        try:
            # The claim first: the name of a record without one could never be revoked.
            session.write("claim.json", json.dumps(asdict(secrets)))
            self.save(record)
        except BaseException:
            self.remove(record.name)
            raise
        return session

    def save(self, record: SessionRecord) -> SessionRecord:
        """Write the record; return it with the job and end that other commands recorded."""
        with contextlib.suppress(RpsError):  # there is none yet, or it is damaged and replaced now
            record = codec.merged(self.load(record.name), record)
        self.files(record.name).write("session.json", json.dumps(asdict(record), indent=1))
        return record

    def load(self, name: str) -> SessionRecord:
        """Read a record.

        Raises:
            NotFoundError: there is none.
            RpsError: this version cannot read it.
            UsageError: other users can write to its directory.
        """
        files = self.files(name)
        path = files.record_file
        self._check_owner()
        paths.check_closed(files.directory, "If its job has ended, remove it.")
        try:
            found = json.loads(unless_stale(lambda: path.read_text("utf-8")))
            record = codec.from_values({**found, **_end_of(files)})
            if record.name != name:
                raise ValueError(f"it is the record of {record.name}")
            return record
        except FileNotFoundError:
            raise NotFoundError(
                f"There is no session `{name}`", "`rps list --all` shows them."
            ) from None
        except OSError as error:
            raise RpsError(
                f"Cannot read {path}: {error.strerror}", "Fix its permissions, or try again."
            ) from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise RpsError(
                f"{path} is not a session record: {error}",
                f"If its job has ended, remove {path.parent}.",
            ) from None

    def _check_owner(self) -> None:
        """Check once that the directory and the way to it are the user's alone."""
        if not self._checked:
            paths.check_private(self.directory, _ANOTHER_PLACE)
            self._checked = True

    def records(self) -> Iterator[SessionRecord]:
        """Yield every readable record, the oldest first; the others are logged."""
        self._check_owner()
        found = []
        for name in self.names():
            try:
                found.append(self.load(name))
            except NotFoundError:
                self._report_unrecorded(name)
            except RpsError as error:
                log.warning("record ignored", reason=error.message)
        return iter(sorted(found, key=lambda record: (record.created, record.name)))

    def _report_unrecorded(self, name: str) -> None:
        """Log a directory without a record, or remove it.

        Another command may have removed it since it was listed. One that a start left behind is removed after
        an hour, unless its files show that a job ran.
        """
        path = self.directory / name
        with contextlib.suppress(OSError):
            if (
                time.time() - path.lstat().st_mtime <= _HOUR
                and not (path / "events.jsonl").exists()
            ):
                return
            if not self._removed_unrecorded(name):
                log.warning("session without a record", directory=str(path))

    def _removed_unrecorded(self, name: str) -> bool:
        """Remove a directory that holds only what a start writes before the record."""
        with _opened(self.directory) as store, _opened(name, store) as directory:
            left = os.listdir(directory)  # noqa: PTH208 - by its descriptor
            if not all(re.fullmatch(_BEFORE_THE_RECORD, file) for file in left):
                return False
            for file in left:
                os.unlink(file, dir_fd=directory)
            os.rmdir(name, dir_fd=store)
        return True

    def end(
        self,
        record: SessionRecord,
        *,
        now: float,
        outcome: str,
        reason: str,
        cause: str | None = None,
    ) -> SessionRecord:
        """Record the end of a session and remove its secrets.

        The secrets first: this frees space on a full disk. If two commands record an end, the first counts.
        """
        files = self.files(record.name)
        files.remove_secrets()
        ended = replace(
            record, ended=now, outcome=outcome, reason=reason, cause=cause, submitting=False
        )
        with contextlib.suppress(RpsError):
            ended = codec.merged(self.load(record.name), ended)
        try:
            files.write("end.json", json.dumps({key: getattr(ended, key) for key in END_FIELDS}))
        except OSError as error:
            log.warning("end not recorded", name=record.name, reason=error.strerror)
        return ended

    def remove(self, name: str) -> None:
        """Remove a session's directory, which must not be a link."""
        import shutil

        self.files(name)
        with contextlib.suppress(FileNotFoundError), _opened(self.directory) as store:
            shutil.rmtree(name, ignore_errors=True, dir_fd=store)


def _end_of(files: SessionFiles) -> dict[str, Any]:
    """Return the fields of end.json; the errors are those of a damaged record."""
    try:
        found = json.loads(unless_stale(lambda: files.end_file.read_text("utf-8")))
    except FileNotFoundError:
        return {}
    return {"submitting": False, **{key: found[key] for key in END_FIELDS}}


def latest(records: Iterable[SessionRecord]) -> dict[str, SessionRecord]:
    """Return the last session of each cluster whose job was submitted."""
    found: dict[str, SessionRecord] = {}
    for record in sorted(records, key=lambda record: record.created):
        if record.job_id is not None:
            found[record.cluster] = record
    return found


def prune(store: Store, keep_days: float, records: Sequence[SessionRecord]) -> None:
    """Remove those sessions of `records` that ended more than `keep_days` ago.

    The last of each cluster is kept, for `rps start --last`.
    """
    limit = time.time() - keep_days * 86400
    kept = {record.name for record in latest(records).values()}
    for record in records:
        if record.name not in kept and record.ended is not None and record.ended < limit:
            store.remove(record.name)


@contextlib.contextmanager
def _opened(directory: Path | str, below: int | None = None) -> Iterator[int]:
    """Open a directory that is not a link."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=below)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
