"""What is left of dead sessions: records, secrets, directories, jobs. --fix removes what is certain."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from rps_core import paths, sessions
from rps_core.doctor.case import Case, Finding, Verdict, passed, warned
from rps_core.errors import RpsError, SchedulerError
from rps_core.models import Gone
from rps_core.node.agent.sockets import SOCKET_BASES, SOCKETS_NOTE
from rps_core.record import Record

_HOUR, _DAY = 3600.0, 86400.0
# As `SessionFiles.write` and `Store.probe` call them: with the process's number, and a clock's.
_HALF_WRITTEN = re.compile(r"\..+\.[0-9]+")


def leftovers(case: Case) -> Iterator[Finding]:
    """Each kind in turn; one line where there is nothing."""
    found = False
    for kind in (_secrets, _directories, _temporaries, _sockets, _records, _jobs):
        for finding in kind(case):
            found = True
            yield finding
    if not found:
        yield passed("nothing is left of sessions that are over")


def _told(case: Case, text: str, hint: str, fixed: str) -> Finding:
    """`fixed` says what was done, where it was asked for."""
    if case.fix:
        return Finding(Verdict.PASS, text, fixed=fixed)
    return warned(text, f"{hint} `rps doctor --fix` does it.".strip())


def _records(case: Case) -> Iterator[Finding]:
    """Sessions that count as living and whose job is gone, or was never noted."""
    living = [record for record in case.store.records() if record.ended is None]
    if not living:
        return
    if not case.fix:
        statuses = sessions.poll(living, case.here(), case.store, case.shell)
        for record in living:
            status = statuses[record.name]
            if isinstance(status, Gone):
                yield warned(
                    f"{record.name} counts as living, and its job is gone: {status.evidence}",
                    "`rps list` notes its end, and so does `rps doctor --fix`.",
                )
            elif record.job_id is None and time.time() - record.created > _HOUR:
                yield warned(
                    f"{record.name} has no job that is known",
                    "`rps list` looks for it, and so does `rps doctor --fix`.",
                )
        return
    for session in sessions.survey(living, case.here(), case.store, case.shell):
        if session.over:
            reason = session.reason or "its job is gone"
            yield _told(case, f"{session.record.name} was over", "", f"noted so: {reason}")


def _secrets(case: Case) -> Iterator[Finding]:
    """What opened sessions that are over: nothing any more, but it is nobody's business either."""
    for record in case.store.records():
        files = case.store.files(record.name)
        kept = [name for name in ("claim.json", "run") if (files.directory / name).exists()]
        if record.ended is None or not kept:
            continue
        if case.fix:
            files.remove_secrets()
        text = f"{record.name} has ended, and its secrets are there still ({', '.join(kept)})"
        yield _told(case, text, "", "removed")


def _directories(case: Case) -> Iterator[Finding]:
    """Directories of sessions without a record that can be read."""
    if not case.store.directory.is_dir():
        return
    for path in sorted(case.store.directory.glob("[!.]*")):
        try:
            case.store.load(path.name)
            continue
        except RpsError as error:
            told = error.message
        # It ran, or says what cannot be read: only its owner knows whether it may go. What was begun and
        # never recorded goes by itself, an hour later, whenever records are listed.
        if any((path / name).exists() for name in ("events.jsonl", "session.json")):
            yield warned(
                f"{path} has no record that can be read: {told}",
                f"If no job of yours uses it any more: rm -r {path}",
            )


def _temporaries(case: Case) -> Iterator[Finding]:
    """What was being written when its command was killed, and what `rps open` then left for a browser."""
    ours, home, config = case.store.directory, paths.home(), paths.config_file()
    pages = [paths.page_to_open(record.name) for record in case.store.records()]
    places: tuple[tuple[Path, Iterable[Path]], ...] = (
        (ours, (*ours.glob(".probe.*"), *ours.glob("*/.*.*.*"))),
        (config.parent, config.parent.glob(f".{config.name}.*.*")),
        (home, (*(page for page in pages if page.exists()), *home.glob(".rps-*.html.*.*"))),
    )
    for directory, found in places:
        old = []
        for path in found:
            if path not in pages and not _HALF_WRITTEN.fullmatch(path.name):
                continue
            with contextlib.suppress(OSError):  # it was being written, and is whole by now
                if time.time() - path.lstat().st_mtime > _HOUR:
                    old.append(path)
        if not old:
            continue
        if case.fix:
            for path in old:
                path.unlink(missing_ok=True)
        text = f"{len(old)} files in {directory} were being written by commands that were killed"
        yield _told(case, text, "", "removed")


def _jobs(case: Case) -> Iterator[Finding]:
    """Jobs that rps submitted and no session here knows: never ended by --fix, for they may be known
    elsewhere (another XDG_STATE_HOME)."""
    try:
        tagged = case.the_site().tagged_jobs(case.shell)
    except SchedulerError as error:
        yield warned(
            f"jobs without a session could not be looked for: {error.message}",
            "See the scheduler's line above.",
        )
        return
    known = {_number(record.job_id) for record in case.store.records() if record.job_id}
    for job_id in tagged or ():
        if _number(job_id) not in known:
            yield warned(
                f"job {job_id} is of rps, and no session in {case.store.directory} has it",
                "`rps list` adopts it if it is of a start that was interrupted; else end it as any "
                "job of yours, unless another installation or XDG_STATE_HOME knows it.",
            )


def _number(job_id: str) -> str:
    """Servers call themselves now by a short name and now by a long one."""
    return job_id if "@" in job_id else job_id.partition(".")[0]


def _sockets(case: Case) -> Iterator[Finding]:
    """Directories of kernels' sockets on this host that no session names, no process listens in, and
    that are older than a day."""
    named = set()
    for record in case.store.records():
        named |= _named_sockets(case, record)
    bound = Path("/proc/net/unix").read_text("utf-8", "replace")
    for base in map(Path, SOCKET_BASES):
        for path in base.glob("rps-*"):
            if not re.fullmatch(r"rps-[0-9a-f]{16}", path.name) or str(path) in named:
                continue
            try:
                seen = path.lstat()
            except OSError:
                continue
            ours = stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid()
            if ours and time.time() - seen.st_mtime > _DAY and f"{path}/" not in bound:
                if case.fix:
                    shutil.rmtree(path, ignore_errors=True)
                yield _told(
                    case, f"{path} held the sockets of kernels that are gone", "", "removed"
                )


def _named_sockets(case: Case, record: Record) -> set[str]:
    try:
        note = case.store.files(record.name).directory / "run" / SOCKETS_NOTE
        return {note.read_text("utf-8").strip()}
    except (OSError, ValueError):
        return set()
