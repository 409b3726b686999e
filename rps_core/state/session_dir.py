"""The files of one session that the launcher reads and writes (docs/sessions.md)."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from rps_core.errors import RpsError, UsageError
from rps_core.jobs import Gone, Job, Outcome
from rps_core.log import get_logger
from rps_core.node.agent.protocol import is_number, is_secret, is_token, read_object
from rps_core.state.record import LATEST, LONGEST_WALLTIME, Secrets, SessionRecord
from rps_core.system import paths
from rps_core.system.files import replace_file

log = get_logger(__name__)

_TAIL = 32 * 1024  # bytes at the end of a log
# The fields of an event that are texts or null; others may be numbers too.
_TEXTS = frozenset({"event", "reason", "cause", "node", "job_id", "address", "log"})
# NFS: another host replaced the file between the lookup of its name and the read of its content.
_STALE_TRIES = 3

Read = TypeVar("Read")


class SessionFiles:
    """The directory of one session."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    # Made when they are used: a path costs more than the JSON of a record, and a start reads all records.
    @property
    def record_file(self) -> Path:
        """What the launcher keeps of the session."""
        return self.directory / "session.json"

    @property
    def end_file(self) -> Path:
        """The session's end; missing until then."""
        return self.directory / "end.json"

    @property
    def log_file(self) -> Path:
        """The job's output."""
        return self.directory / "job.log"

    @property
    def script(self) -> Path:
        """The batch script."""
        return self.directory / "batch.sh"

    @property
    def stop_note(self) -> Path:
        """There once `rps stop` was called."""
        return self.directory / "stop-asked"

    @property
    def links(self) -> Path:
        """The directory of the numbers of login links."""
        return self.directory / "links"

    def job(self, record: SessionRecord, name: str) -> Job | None:
        """Return the session's job for plugins; None before it is submitted.

        Args:
            record: the session's.
            name: the job's name in the scheduler (hook `rps_job_name`).
        """
        if record.job_id is None:
            return None
        joined = datetime.fromtimestamp(record.created, UTC) if record.inside else None
        return Job(
            id=record.job_id,
            tag=record.tag,
            session_dir=self.directory,
            name=name,
            joined=joined,
        )

    def write(
        self, name: str, content: str | bytes, mode: int = 0o600, *, lasting: bool = True
    ) -> Path:
        """Replace a file atomically.

        `lasting`: its content is on disk before its name. A file that only the job reads need not survive a
        crash of this host, which may end the job too.
        """
        path = self.directory / name
        # A path need not be UTF-8.
        replace_file(path, os.fsencode(content), mode, durable=lasting)
        return path

    def secrets(self) -> Secrets | None:
        """Return the secrets; None after the session's end, which removes them.

        Raises:
            RpsError: another user could have read or written them, or they are damaged.
        """
        path = self.directory / "claim.json"
        try:
            descriptor = unless_stale(lambda: os.open(path, os.O_RDONLY | os.O_NOFOLLOW))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RpsError(
                f"Cannot read {path}: {error.strerror}", "Fix its permissions, or try again."
            ) from None
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
            if not (is_secret(secrets.claim) and is_token(secrets.token)):
                raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError):
            # Not the error's own text: it may quote the file.
            raise RpsError(f"{path} is damaged", "`rps stop` ends the session.") from None
        return secrets

    def remove_secrets(self) -> None:
        """Remove the secrets and sockets of a session that has ended."""
        from rps_core.node.agent.sockets import remove_sockets_directory

        with contextlib.suppress(UsageError):  # without a home directory there was none
            # An `rps open` that was killed has left it.
            paths.page_to_open(self.directory.name).unlink(missing_ok=True)
        try:
            directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink("claim.json", dir_fd=directory)
            remove_sockets_directory(str(self.directory / "run"))
            import shutil

            # An answer that was not read holds the notebook's key.
            for name in ("run", "calls", "links"):
                shutil.rmtree(name, ignore_errors=True, dir_fd=directory)
        finally:
            os.close(directory)

    def events(self) -> list[dict[str, Any]]:
        """Return the agent's events, the oldest first.

        An incomplete line, and a value whose type is not the agent's, is left out.
        """
        try:
            events = self.directory / "events.jsonl"
            text = unless_stale(lambda: events.read_text("utf-8", "replace"))
        except FileNotFoundError:
            return []
        except OSError as error:
            log.warning("cannot read events", session=self.directory.name, reason=error.strerror)
            return []
        found = []
        for line in text.splitlines():
            with contextlib.suppress(ValueError):
                event = read_object(line.encode())
                if is_number(event.get("time"), 0, LATEST):
                    found.append({key: value for key, value in event.items() if _fits(key, value)})
        return found

    def end_by_its_agent(self, denial: str) -> Gone | None:
        """Return the end that the agent recorded; None: it recorded none.

        For a job that the scheduler no longer knows, which `denial` says.
        """
        events = reversed(self.events())
        ended = next((event for event in events if event.get("event") == "ended"), None)
        if ended is None:
            return None
        code = ended.get("exit_code")
        return Gone(
            outcome=Outcome.ENDED,
            evidence=f"{denial}, and its agent reported its end: {ended.get('reason')}",
            exit_code=code if isinstance(code, int) else None,
        )

    def walltime(self) -> float | None:
        """Return the job's walltime in seconds; None: launch.json does not give it."""
        try:
            found = json.loads((self.directory / "launch.json").read_bytes())["walltime"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return found if is_number(found, 0, LONGEST_WALLTIME) else None

    def applications(self) -> dict[str, Any]:
        """Return the applications of launch.json by name; empty for an older session's."""
        try:
            found = json.loads((self.directory / "launch.json").read_bytes()).get("apps")
        except (OSError, ValueError, AttributeError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def last_lines(self) -> list[str] | None:
        """Return the last lines of the job's output; None: there is no file of it.

        Torque and PBS may deliver a part of it separately, when the job ends: `spool.log`.
        """
        lines: list[str] | None = None
        for name in ("spool.log", self.log_file.name):
            with contextlib.suppress(OSError), (self.directory / name).open("rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, size - _TAIL))
                text = stream.read().decode("utf-8", "replace")
                lines = [*(lines or ()), *text.splitlines()]
        return lines

    def script_began(self) -> bool:
        """Return whether the batch script came to rps's first step.

        That is batch/prepare.sh, or run-agent.sh in a script without it.
        """
        return (self.directory / "script-began").exists()

    def noted_job_id(self) -> str | None:
        """Return the job id that the job has recorded; None: there is none.

        For a launcher that was killed before it could record the id.
        """
        with contextlib.suppress(OSError):
            text = (self.directory / "job-id").read_text("utf-8", "replace").strip()
            if text:
                return text
        started = (e.get("job_id") for e in self.events() if e.get("event") == "started")
        return next((str(job_id) for job_id in started if job_id), None)


def unless_stale(read: Callable[[], Read]) -> Read:
    """Return the result of `read`, with retries after NFS's error ESTALE."""
    for _ in range(_STALE_TRIES):
        try:
            return read()
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
    return read()


def _fits(key: str, value: object) -> bool:
    """Return whether a field of an event has the type that the agent writes."""
    if key in _TEXTS:
        return isinstance(value, str | None)
    if key == "missing":  # of the event `applications`: programs by application
        return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
    return isinstance(value, str | int | float | None)
