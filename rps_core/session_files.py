"""The files of one session, as the launcher writes and reads them (docs/sessions.md)."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from rps_core import paths
from rps_core.errors import RpsError, UsageError
from rps_core.log import get_logger
from rps_core.models import Job
from rps_core.record import Record, Secrets

log = get_logger(__name__)

_TAIL = 32 * 1024  # bytes of a log in which its end is told
# NFS: another host replaced a file between our look at its name and at its content.
_STALE_TRIES = 3

Read = TypeVar("Read")


class SessionFiles:
    """The directory of one session."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.record_file = directory / "session.json"
        self.end_file = directory / "end.json"
        self.log_file = directory / "job.log"
        self.script = directory / "batch.sh"
        self.stop_note = directory / "stop-asked"

    def job(self, record: Record) -> Job | None:
        """The session's job as plugins see it; None before it is submitted."""
        if record.job_id is None:
            return None
        return Job(id=record.job_id, tag=record.tag, session_dir=self.directory)

    def write(
        self, name: str, content: str | bytes, mode: int = 0o600, *, lasting: bool = True
    ) -> Path:
        """Replace a file whole. Where it is `lasting` it is on disk before its name is; what only the job
        reads need not outlive this machine's crash, which may cost the job.
        """
        path = self.directory / name
        temporary = self.directory / f".{name}.{os.getpid()}.{time.monotonic_ns()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(temporary, flags, mode)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(os.fsencode(content))  # a path need not be UTF-8
                stream.flush()
                if lasting:
                    os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        return path

    def secrets(self) -> Secrets | None:
        """The secrets, while the session has any: whoever ends it removes them.

        Raises:
            RpsError: somebody else could have read or planted them.
        """
        path = self.directory / "claim.json"
        try:
            descriptor = unless_stale(lambda: os.open(path, os.O_RDONLY | os.O_NOFOLLOW))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RpsError(f"{path} cannot be read: {error.strerror}") from None
        with os.fdopen(descriptor, encoding="utf-8") as stream:
            status = os.fstat(stream.fileno())
            if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
                raise RpsError(
                    f"{path} is not private to you (owner {status.st_uid}, "
                    f"mode {stat.S_IMODE(status.st_mode):04o})",
                    "Stop the session with `rps stop`: its secrets may be known to others.",
                )
            text = stream.read()
        try:
            found = json.loads(text)
            secrets = Secrets(claim=found["claim"], token=found["token"])
            if not (_is_word(secrets.claim) and _is_word(secrets.token)):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            # Not the error's own text: it may quote the file.
            raise RpsError(f"{path} is damaged", "`rps stop` ends the session.") from None
        return secrets

    def remove_secrets(self) -> None:
        """Remove what nobody needs once the session has ended."""
        from rps_core.node.agent.sockets import remove_sockets_directory

        (self.directory / "claim.json").unlink(missing_ok=True)
        with contextlib.suppress(UsageError):  # without a home directory there was none
            # Of an `rps open` that was killed.
            paths.page_to_open(self.directory.name).unlink(missing_ok=True)
        remove_sockets_directory(str(self.directory / "run"))
        shutil.rmtree(self.directory / "run", ignore_errors=True)

    def events(self) -> list[dict[str, Any]]:
        """What the agent wrote, oldest first; a line that is still being written is left out."""
        try:
            events = self.directory / "events.jsonl"
            text = unless_stale(lambda: events.read_text("utf-8", "replace"))
        except FileNotFoundError:
            return []
        except OSError as error:
            log.warning("events not read", session=self.directory.name, reason=error.strerror)
            return []
        found = []
        for line in text.splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                event = json.loads(line)
                if isinstance(event, dict) and isinstance(event.get("time"), int | float):
                    found.append(event)
        return found

    def last_lines(self) -> list[str]:
        """The end of all that the job wrote: of `job.log`, and of what Torque and PBS deliver at the end."""
        lines: list[str] = []
        for name in ("spool.log", self.log_file.name):
            with contextlib.suppress(OSError), (self.directory / name).open("rb") as stream:
                stream.seek(0, os.SEEK_END)
                stream.seek(max(0, stream.tell() - _TAIL))
                lines += stream.read().decode("utf-8", "replace").splitlines()
        return lines

    def noted_job_id(self) -> str | None:
        """The job's id as the job itself noted it, for a launcher that was killed before it could."""
        with contextlib.suppress(OSError):
            text = (self.directory / "job-id").read_text("utf-8", "replace").strip()
            if text:
                return text
        started = (e.get("job_id") for e in self.events() if e.get("event") == "started")
        return next((str(job_id) for job_id in started if job_id), None)


def unless_stale(read: Callable[[], Read]) -> Read:
    """What `read` answers; asked again where NFS had handed out a file that was replaced just then."""
    for _ in range(_STALE_TRIES):
        try:
            return read()
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
    return read()


def _is_word(text: object) -> bool:
    return isinstance(text, str) and text.isascii() and text.isprintable() and " " not in text
