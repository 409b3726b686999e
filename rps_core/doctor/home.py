"""The home directory, and ours in it: room, modes, and whether the nodes see it."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rps_core import paths
from rps_core.doctor.case import Case, Finding, Verdict, failed, passed, warned
from rps_core.errors import SchedulerError, UsageError

_LITTLE_SPACE = 64 << 20  # bytes; Jupyter's own files and a notebook
_LITTLE_INODES = 1000
_NEARLY = 0.95  # of a quota
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_ON_A_DISK = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "overlay"})


def home(case: Case) -> Iterator[Finding]:
    """Whose it is, who may write in it, and how much room there is."""
    place = paths.home()
    seen = place.stat()
    mode = stat.S_IMODE(seen.st_mode)
    if seen.st_uid != os.geteuid():
        yield failed(
            f"{place} belongs to user {seen.st_uid}", "Set HOME to your own home directory."
        )
    if mode & stat.S_IWOTH:
        yield failed(
            f"everybody can write in {place} (mode {mode:04o}), and so put files of theirs in place "
            "of yours",
            f"chmod go-w {place}",
        )
    elif mode & stat.S_IWGRP:
        yield warned(
            f"the group {seen.st_gid} can write in {place}",
            f"If it is not a group of your own: chmod g-w {place}",
        )
    room = os.statvfs(place)
    free, inodes = room.f_bavail * room.f_frsize, room.f_favail
    if free < _LITTLE_SPACE:
        yield warned(
            f"{_size(free)} are left on the file system of {place}", "Free some space there."
        )
    if room.f_files and inodes < _LITTLE_INODES:
        yield warned(
            f"{inodes} more files can be made on the file system of {place}", "Remove some there."
        )
    yield from _quota(case)
    yield passed(f"{place}, {_size(free)} free")


def _quota(case: Case) -> Iterator[Finding]:
    """How the user stands with the quotas of local file systems and NFS, where there is a `quota` to ask.
    Beyond the soft limit one may write until the time of grace is over, beyond the hard one not at all."""
    try:
        # -Q: no word of servers that do not answer; -w: one line each; -p: the end of grace in Unix seconds.
        done = case.shell("quota", "-Q", "-w", "-p")
    except SchedulerError:  # not every system has it; what can be written is tried below
        return
    for line in done.stdout.splitlines():
        place, *columns = line.split()[:9] or [""]
        numbers = [column.removesuffix("*") for column in columns]
        if len(numbers) == 8 and all(number.isdecimal() for number in numbers):
            blocks, inodes = (list(map(int, part)) for part in (numbers[:4], numbers[4:]))
            yield from _standing(place, blocks, lambda number: _size(number << 10))
            yield from _standing(place, inodes, "{} files".format)


def _standing(place: str, numbers: list[int], told: Callable[[int], str]) -> Iterator[Finding]:
    """What is used, the soft and the hard limit (0: none), and when grace ends (0: there is none yet)."""
    used, soft, hard, grace = numbers
    most = soft or hard
    if not most or used < most * _NEARLY:
        return
    text = f"of your quota on {place}, {told(used)} of {told(most)} are used"
    hint = "Remove some files of yours, or ask the cluster's support for more room."
    if (hard and used >= hard) or (grace and grace <= time.time()):
        yield failed(f"{text}: nothing more can be written there", hint)
    elif grace:
        until = time.strftime("%Y-%m-%d %H:%M", time.localtime(grace))
        yield warned(f"{text}: from {until} on nothing can be written there", hint)
    else:
        yield warned(text, hint)


def state(case: Case) -> Iterator[Finding]:
    """The directory of the sessions' files: ours alone, writable, and on a file system the nodes see."""
    place = case.store.directory
    yield from _modes(case)
    try:
        case.store.probe()
    except UsageError as error:
        yield failed(error.message, error.hint)
        return
    kind = _file_system(place)
    is_shared_by_itself = case.site is not None and case.site.cluster.scheduler == "local"
    if is_shared_by_itself or kind not in _IN_MEMORY | _ON_A_DISK:
        yield passed(f"{place} can be written, on {kind or 'a file system of unknown kind'}")
        return
    sure = "is in this host's memory" if kind in _IN_MEMORY else f"is on a disk ({kind})"
    yield warned(
        f"{place} {sure}: the nodes see it only if this host shares it with them",
        "If jobs end at once without a log, set XDG_STATE_HOME to a directory that the nodes see.",
    )


def _modes(case: Case) -> Iterator[Finding]:
    """Directories of ours that others may enter or write in: --fix closes them."""
    sessions = case.store.directory
    ours = [sessions, paths.cache_dir()]
    ours += (
        [path for path in sessions.glob("[!.]*") if path.is_dir()] if _readable(sessions) else []
    )
    for place in ours:
        try:
            seen = place.lstat()
        except FileNotFoundError:
            continue
        mode = stat.S_IMODE(seen.st_mode)
        if seen.st_uid != os.geteuid():
            yield failed(
                f"{place} belongs to user {seen.st_uid}",
                "Move it away; rps makes one of your own.",
            )
        elif stat.S_ISDIR(seen.st_mode) and mode & 0o077:
            text = f"others can enter {place} (mode {mode:04o})"
            if case.fix:
                place.chmod(mode & 0o700)
                yield Finding(Verdict.PASS, text, fixed=f"its mode is {mode & 0o700:04o} now")
            else:
                yield warned(text, f"chmod {mode & 0o700:04o} {place}, or `rps doctor --fix`")


def _readable(place: Path) -> bool:
    return os.access(place, os.R_OK | os.X_OK)


def _file_system(place: Path) -> str | None:
    """The kind of the file system that a path is on, as the kernel calls it; the longest mount point
    above it is its own. None where the kernel does not tell."""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
        real = place.resolve()
    except OSError:
        return None
    found: tuple[int, str | None] = (-1, None)
    for line in lines:
        before, _, after = line.partition(" - ")
        # Blanks and the like stand there as octal numbers.
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), before.split()[4]))
        if real.is_relative_to(point) and len(point.parts) >= found[0]:
            found = (len(point.parts), after.split()[0])
    return found[1]


def _size(size: int) -> str:
    for unit, power in (("TB", 40), ("GB", 30), ("MB", 20)):
        if size >= 1 << power:
            return f"{size / (1 << power):.1f} {unit}"
    return f"{size >> 10} KB"
