"""Checks for remains of ended sessions: records, secrets, directories, jobs.

--fix removes those that are certainly unused.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from rps_core.doctor.checkup import Checkup, Finding, Verdict, passed, warned
from rps_core.errors import RpsError, SchedulerError
from rps_core.jobs import Gone
from rps_core.node.agent.sockets import SOCKET_BASES, SOCKETS_NAME, SOCKETS_NOTE, is_abandoned
from rps_core.sessions import status as sessions
from rps_core.state.record import SessionRecord
from rps_core.system import paths

_HOUR, _DAY = 3600.0, 86400.0
# The names that `SessionFiles.write` and `Store.probe` use: with the process id and a clock's value.
_HALF_WRITTEN = re.compile(r"\..+\.[0-9]+\.[0-9]+|\.probe\.[0-9]+")


def leftovers(case: Checkup) -> Iterator[Finding]:
    """Check each kind of remains."""
    found = False
    for kind in (_secrets, _directories, _temporaries, _sockets, _records, _jobs):
        for finding in kind(case):
            found = True
            yield finding
    if not found:
        yield passed("no remains of ended sessions")


def _fixable(case: Checkup, text: str, fixed: str) -> Finding:
    """Return a problem that --fix solves; `fixed`: what it did."""
    if case.fix:
        return Finding(Verdict.PASS, text, fixed=fixed)
    return warned(text, "Run `rps doctor --fix`.")


def _records(case: Checkup) -> Iterator[Finding]:
    """Check for sessions recorded as running whose job is gone or unknown."""
    living = [record for record in case.store.records() if record.ended is None]
    if not living:
        return
    if not case.fix:
        statuses = sessions.poll(living, case.here(), case.store)
        for record in living:
            status = statuses[record.name]
            if isinstance(status, Gone):
                yield warned(
                    f"{record.name} is recorded as running, but its job is gone: {status.evidence}",
                    "`rps list` or `rps doctor --fix` records its end.",
                )
            elif record.job_id is None and time.time() - record.created > _HOUR:
                yield warned(
                    f"{record.name} has no known job",
                    "`rps list` or `rps doctor --fix` searches for it.",
                )
        return
    for session in sessions.survey(living, case.here(), case.store):
        if session.over:
            reason = session.reason or "its job is gone"
            yield _fixable(case, f"{session.record.name} has ended", f"recorded its end: {reason}")


def _secrets(case: Checkup) -> Iterator[Finding]:
    """Check for secrets of ended sessions, which give no access any more."""
    for record in case.store.records():
        files = case.store.files(record.name)
        kept = [name for name in ("claim.json", "run") if (files.directory / name).exists()]
        if record.ended is None or not kept:
            continue
        if case.fix:
            files.remove_secrets()
        text = f"{record.name} has ended, but its secrets remain ({', '.join(kept)})"
        yield _fixable(case, text, "removed")


def _directories(case: Checkup) -> Iterator[Finding]:
    """Check for session directories without a readable record."""
    if not case.store.directory.is_dir():
        return
    sessions_ = case.store.names()
    for path in sorted(case.store.directory.glob("[!.]*")):
        if path.name not in sessions_:
            yield warned(
                f"{path} is not a session's directory",
                "rps ignores it. Move it away if it does not belong there.",
            )
            continue
        try:
            case.store.load(path.name)
            continue
        except RpsError as error:
            reason = error.message
        # Only the user knows whether a session that ran, or whose record is unreadable, may be removed.
        # `Store.records` removes a directory without a record after an hour.
        if any((path / name).exists() for name in ("events.jsonl", "session.json")):
            yield warned(
                f"{path} has no readable record: {reason}",
                f"If none of your jobs uses it: `rm -r {path}`.",
            )


def _temporaries(case: Checkup) -> Iterator[Finding]:
    """Check for unfinished files of killed commands, `rps open` among them."""
    ours, home, config = case.store.directory, paths.home(), paths.config_file()
    cache = paths.cache_dir()
    pages = [paths.page_to_open(record.name) for record in case.store.records()]
    places: tuple[tuple[Path, Iterable[Path]], ...] = (
        (ours, (*ours.glob(".probe.*"), *_below(case, ".*.*.*"))),
        (cache, cache.glob(".*.*.*")),
        (config.parent, config.parent.glob(f".{config.name}.*.*")),
        (home, (*(page for page in pages if page.exists()), *home.glob(".rps-*.html.*.*"))),
    )
    for directory, found in places:
        old = []
        for path in found:
            if path not in pages and not _HALF_WRITTEN.fullmatch(path.name):
                continue
            with contextlib.suppress(OSError):  # renamed in the meantime: its writer has finished
                if time.time() - path.lstat().st_mtime > _HOUR:
                    old.append(path)
        if not old:
            continue
        if case.fix:
            for path in old:
                path.unlink(missing_ok=True)
        files = "1 unfinished file" if len(old) == 1 else f"{len(old)} unfinished files"
        text = f"{files} of killed commands in {directory}"
        yield _fixable(case, text, "removed")


def _below(case: Checkup, pattern: str) -> Iterator[Path]:
    for name in case.store.names():
        yield from (case.store.directory / name).glob(pattern)


def _jobs(case: Checkup) -> Iterator[Finding]:
    """Check for rps jobs without a session here.

    --fix does not cancel them: they may belong to another installation or XDG_STATE_HOME.
    """
    try:
        tagged = case.the_site().list_jobs(case.shell)
    except SchedulerError as error:
        yield warned(
            f"could not search for jobs without a session: {error.message}",
            "See the check `scheduler` above.",
        )
        return
    known = {_number(record.job_id) for record in case.store.records() if record.job_id}
    for job_id in tagged or ():
        if _number(job_id) not in known:
            yield warned(
                f"job {job_id} was submitted by rps, but has no session in {case.store.directory}",
                "`rps list` finds it if its start was interrupted. Otherwise cancel it, unless it belongs "
                "to another installation or XDG_STATE_HOME.",
            )


def _number(job_id: str) -> str:
    """Return a job's id without its server's name, which may be short or qualified."""
    return job_id if "@" in job_id else job_id.partition(".")[0]


def _sockets(case: Checkup) -> Iterator[Finding]:
    """Check for kernel sockets whose agent was killed, or that are unused for a day."""
    named = set()
    for record in case.store.records():
        named |= _named_sockets(case, record)
    bound = Path("/proc/net/unix").read_text("utf-8", "replace")
    for base in map(Path, SOCKET_BASES):
        for path in base.glob("rps-*"):
            if not re.fullmatch(SOCKETS_NAME, path.name) or str(path) in named:
                continue
            try:
                seen = path.lstat()
            except OSError:
                continue
            ours = stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid()
            unused = time.time() - seen.st_mtime > _DAY and f"{path}/" not in bound
            if ours and (unused or is_abandoned(str(path))):
                if case.fix:
                    shutil.rmtree(path, ignore_errors=True)
                yield _fixable(case, f"{path} holds sockets of ended kernels", "removed")


def _named_sockets(case: Checkup, record: SessionRecord) -> set[str]:
    try:
        note = case.store.files(record.name).directory / "run" / SOCKETS_NOTE
        return {note.read_text("utf-8").strip()}
    except (OSError, ValueError):
        return set()
