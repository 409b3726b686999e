"""What the shell completes: names of sessions, profiles, partitions, allocations and clusters.

A key was pressed, and somebody waits: only the records' directory and a small file of the cache are read,
and nothing is imported for it. What the scheduler and the configuration say is asked in the background
where that file is old, for the next time (`rps completion --refresh`).
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rps_core import paths
from rps_core.errors import RpsError

if TYPE_CHECKING:
    from pathlib import Path

    import click
    from click.shell_completion import CompletionItem

Completer = Callable[["click.Context", "click.Parameter", str], "list[str]"]

KINDS = ("account", "cluster", "partition", "profile")
FRESH = 3600.0  # seconds
_AT_MOST_EVERY = 60.0  # seconds between two questions in the background
_WORD = re.compile(r"[A-Za-z0-9_@.+/-]+")  # what no shell reads as anything but itself
_SIGNATURE = "configuration"


def cached(kind: str, context: click.Context, incomplete: str) -> list[str]:
    """Values of one kind that begin so."""
    wanted = cluster_wanted(context.params.get("cluster"))
    return _told(lambda: _cached(kind, wanted), incomplete)


def sessions(incomplete: str, *, ended: bool) -> list[str]:
    """Names of sessions that begin so: the living, which have their secrets yet; with `ended` all."""
    return _told(lambda: _sessions(ended=ended), incomplete)


def conda_environments(incomplete: str) -> list[str]:
    """Names of the environments that conda has made (a path a line)."""
    return _told(_conda_environments, incomplete)


def cluster_wanted(option: str | None) -> str | None:
    """The cluster that was asked for by name; None for this host's own."""
    return option or os.environ.get("RPS_CLUSTER") or None


def prepare() -> None:
    """Where nothing is known yet on this host, ask in the background, for the first Tab to come."""
    wanted = cluster_wanted(None)
    with suppress(OSError, RpsError):
        if not known(wanted):
            _ask_in_the_background(_file(wanted), wanted)


def known(wanted: str | None) -> bool:
    """Values were noted for this cluster, be they old."""
    return _file(wanted).exists()


def remember(wanted: str | None, found: dict[str, list[str]], *, old: bool = False) -> None:
    """Note values by kind, beside the state that the configuration is in; with `old`, to be asked anew when
    they are offered."""
    from rps_core import cache

    lines = [f"{_SIGNATURE}\t{_configuration()}"]
    lines += [f"{kind}\t{value}" for kind in KINDS for value in found.get(kind, ())]
    cache.replace(_file(wanted), "".join(f"{line}\n" for line in lines))
    if old:
        with suppress(OSError):  # it is gone again, or was not written
            os.utime(_file(wanted), (0, 0))


def _told(ask: Callable[[], Iterable[str]], incomplete: str) -> list[str]:
    try:
        return [word for word in ask() if word.startswith(incomplete) and _WORD.fullmatch(word)]
    except (OSError, RpsError):
        return []  # there is no place for an error in the middle of somebody's command line


def _sessions(*, ended: bool) -> list[str]:
    directory = str(paths.sessions_dir())
    names = sorted(name for name in os.listdir(directory) if not name.startswith("."))  # noqa: PTH208
    living = [name for name in names if os.path.exists(f"{directory}/{name}/claim.json")]  # noqa: PTH110
    return [*living, *(name for name in names if name not in living)] if ended else living


def _conda_environments() -> list[str]:
    text = (paths.home() / ".conda" / "environments.txt").read_text("utf-8", "replace")
    return sorted({os.path.basename(line.strip()) for line in text.splitlines()})  # noqa: PTH119


def _cached(kind: str, wanted: str | None) -> list[str]:
    found: list[str] = []
    signature = ""
    path = _file(wanted)
    try:
        age = time.time() - path.stat().st_mtime
        for line in path.read_text("utf-8").splitlines():
            key, _, value = line.partition("\t")
            if key == kind:
                found.append(value)
            elif key == _SIGNATURE:
                signature = value
    except (OSError, ValueError):
        age = FRESH
    if not 0 <= age < FRESH or signature != _configuration():
        _ask_in_the_background(path, wanted)
    return found


def _configuration() -> str:
    """Changes with either file of the configuration, where profiles are."""
    states = []
    for path in (paths.system_config_file(), paths.config_file()):
        try:
            state = path.stat()
            states.append(f"{state.st_mtime_ns}:{state.st_size}")
        except OSError:
            states.append("none")
    return " ".join(states)


def _file(wanted: str | None) -> Path:
    """One for each host: what it sees depends on where it is, and the home directory serves several."""
    name = re.sub(r"[^A-Za-z0-9_-]", "-", wanted or f"at-{os.uname().nodename}")
    return paths.cache_dir() / f"completion-{name}"


def _ask_in_the_background(path: Path, wanted: str | None) -> None:
    """Start the refreshing command and do not wait. Once in a minute: a scheduler may be slow to answer."""
    asked = path.with_name(f"{path.name}.asked")
    try:
        if 0 <= time.time() - asked.stat().st_mtime < _AT_MOST_EVERY:
            return
    except OSError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    asked.touch(mode=0o600)
    command = [sys.executable, "-P", "-m", "rps_core.cli", "completion", "--refresh"]
    command += ["--cluster", wanted] if wanted else []
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("COMP_") and not name.endswith("_COMPLETE")
    }
    # A shell waits for whoever holds its pipe, and a terminal that closes ends its own processes.
    silent: list[Any] = [
        (os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)
    ]
    os.posix_spawn(sys.executable, command, environment, file_actions=silent, setsid=True)


def files(incomplete: str, kind: str) -> list[CompletionItem]:
    """What makes the shell complete paths by itself; `kind` is file or dir."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type=kind)]
