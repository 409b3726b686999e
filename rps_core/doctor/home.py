"""Checks of the home directory and of rps's directories: space, modes, sharing."""

from __future__ import annotations

import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rps_core.doctor.checkup import Checkup, Finding, Verdict, failed, passed, warned
from rps_core.errors import SchedulerError, UsageError
from rps_core.system import paths
from rps_proxy.personal import running as local

_LITTLE_SPACE = 64 << 20  # bytes; Jupyter's own files and a notebook
_LITTLE_INODES = 1000
_NEARLY = 0.95  # of a quota
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_ON_A_DISK = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "overlay"})


def home(case: Checkup) -> Iterator[Finding]:
    """Check the home directory's owner, permissions and free space."""
    place = paths.home()
    seen = place.stat()
    if seen.st_uid != os.geteuid():
        yield failed(
            f"{place} belongs to user {seen.st_uid}", "Set HOME to your own home directory."
        )
    else:
        yield from _replaceable(place, "Set HOME to a directory that you own.")
    room = os.statvfs(place)
    free, inodes = room.f_bavail * room.f_frsize, room.f_favail
    if free < _LITTLE_SPACE:
        yield warned(
            f"only {_size(free)} free on the file system of {place}", "Free some space there."
        )
    if room.f_files and inodes < _LITTLE_INODES:
        yield warned(
            f"only {inodes} inodes free on the file system of {place}", "Remove some files there."
        )
    yield from _quota(case)
    yield passed(f"{place}, {_size(free)} free")


def _quota(case: Checkup) -> Iterator[Finding]:
    """Check the user's quotas with `quota`, if it is installed.

    Above the soft limit writes succeed until the grace period ends, above the hard limit never.
    """
    try:
        # -Q: no errors of servers that do not answer; -w: one line each; -p: grace ends in Unix seconds.
        done = case.shell("quota", "-Q", "-w", "-p")
    except SchedulerError:  # not every system has it; `state` tries to write
        return
    for line in done.stdout.splitlines():
        place, *columns = line.split()[:9] or [""]
        numbers = [column.removesuffix("*") for column in columns]
        if len(numbers) == 8 and all(number.isdecimal() for number in numbers):
            blocks, inodes = (list(map(int, part)) for part in (numbers[:4], numbers[4:]))
            yield from _quota_finding(place, blocks, lambda number: _size(number << 10))
            yield from _quota_finding(place, inodes, "{} files".format)


def _quota_finding(
    place: str, numbers: list[int], shown: Callable[[int], str]
) -> Iterator[Finding]:
    """Check one quota.

    Args:
        place: the file system.
        numbers: usage, soft and hard limit (0: none), end of the grace period (0: not started).
        shown: formats a number with its unit.
    """
    used, soft, hard, grace = numbers
    most = soft or hard
    if not most or used < most * _NEARLY:
        return
    text = f"your quota on {place}: {shown(used)} of {shown(most)} used"
    hint = "Remove some of your files, or ask the cluster's support for a larger quota."
    if (hard and used >= hard) or (grace and grace <= time.time()):
        yield failed(f"{text}; writes fail", hint)
    elif grace:
        until = time.strftime("%Y-%m-%d %H:%M", time.localtime(grace))
        yield warned(f"{text}; writes will fail from {until}", hint)
    else:
        yield warned(text, hint)


def state(case: Checkup) -> Iterator[Finding]:
    """Check the session directory: private, writable, visible on compute nodes."""
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
        yield passed(f"{place} is writable, on {kind or 'a file system of unknown type'}")
        return
    medium = "in this host's memory" if kind in _IN_MEMORY else "on a local disk"
    yield warned(
        f"{place} is {medium} ({kind}): compute nodes see it only if this host exports it",
        "If jobs end at once without a log, set XDG_STATE_HOME to a directory that compute nodes see.",
    )


def safe_paths(case: Checkup) -> Iterator[Finding]:
    """Check that no other user can replace rps's files or their parent directories."""
    found = [
        (case.store.directory, "XDG_STATE_HOME"),
        (paths.config_file(), "XDG_CONFIG_HOME"),
        (paths.config_file().with_name("proxy.yaml"), "XDG_CONFIG_HOME"),
        (paths.cache_dir(), "XDG_CACHE_HOME"),
        (Path(tempfile.gettempdir()), "TMPDIR"),
    ]
    if case.loaded is None or case.loaded.settings.proxy.personal:
        found.append((local.service_directory(), local.DIRECTORY_VARIABLE))
        found.append((paths.data_dir() / "ca", "XDG_DATA_HOME"))
    unsafe = False
    for place, variable in found:
        for finding in _replaceable(place, f"Or set {variable} to a directory that you own."):
            unsafe = True
            yield finding
    if not unsafe:
        yield passed("no other user can replace the files that rps reads, writes and runs")


def _replaceable(place: Path, way_out: str) -> Iterator[Finding]:
    try:
        paths.check(place, way_out)
    except UsageError as error:
        yield failed(error.message, error.hint)


def _modes(case: Checkup) -> Iterator[Finding]:
    """Check that rps's directories are private; --fix removes others' access."""
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
                "Move it away; rps creates a new one.",
            )
        elif stat.S_ISDIR(seen.st_mode) and mode & 0o077:
            text = f"other users have access to {place} (mode {mode:04o})"
            if case.fix:
                place.chmod(mode & 0o700)
                yield Finding(Verdict.PASS, text, fixed=f"set its mode to {mode & 0o700:04o}")
            else:
                yield warned(text, f"Run `chmod {mode & 0o700:04o} {place}` or `rps doctor --fix`.")


def _readable(place: Path) -> bool:
    return os.access(place, os.R_OK | os.X_OK)


def _file_system(place: Path) -> str | None:
    """Return the type of the file system that holds a path, or None if it is unknown.

    It is the one with the longest mount point above the path.
    """
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
        real = place.resolve()
    except OSError:
        return None
    found: tuple[int, str | None] = (-1, None)
    for line in lines:
        before, _, after = line.partition(" - ")
        # proc(5): blanks and backslashes are octal escapes.
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), before.split()[4]))
        if real.is_relative_to(point) and len(point.parts) >= found[0]:
            found = (len(point.parts), after.split()[0])
    return found[1]


def _size(size: int) -> str:
    for unit, power in (("TB", 40), ("GB", 30), ("MB", 20)):
        if size >= 1 << power:
            return f"{size / (1 << power):.1f} {unit}"
    return f"{size >> 10} KB"
