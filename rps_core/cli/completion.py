"""Shell completion of sessions, profiles, applications, partitions, allocations and clusters.

Completion must be fast: it reads only the sessions' directory and a small cache file, and imports little.
If the cache is old, `rps completion --refresh` queries the scheduler and the configuration in the background.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rps_core.errors import RpsError
from rps_core.node.agent.protocol import is_session_name
from rps_core.node.own_process import module_command
from rps_core.system import paths

if TYPE_CHECKING:
    from pathlib import Path

    import click
    from click.shell_completion import CompletionItem

Completer = Callable[["click.Context", "click.Parameter", str], "list[str]"]

KINDS = ("account", "application", "cluster", "partition", "profile")
FRESH = 3600.0  # seconds
_AT_MOST_EVERY = 60.0  # seconds between two background queries
_WORD = re.compile(r"[A-Za-z0-9_@.+/-]+")  # without characters that are special in a shell
_SIGNATURE = "configuration"


def cached(kind: str, context: click.Context, incomplete: str) -> list[str]:
    """Return the values of one kind that begin with `incomplete`."""
    wanted = cluster_wanted(context.params.get("cluster"))
    return _matching(lambda: _cached(kind, wanted), incomplete)


def applications(context: click.Context, incomplete: str) -> list[str]:
    """Return applications that begin with `incomplete`: the packaged ones, and those of the configuration."""
    from rps_core.config.packaged_apps import PACKAGED

    packaged = [app for app in ("lab", "notebook", *PACKAGED) if app.startswith(incomplete)]
    return [*packaged, *cached("application", context, incomplete)]


def sessions(incomplete: str, which: str) -> list[str]:
    """Return names and labels of sessions that begin with `incomplete`.

    `which`: living, ended or any.
    """
    return _matching(lambda: _sessions(which), incomplete)


def conda_environments(incomplete: str) -> list[str]:
    """Return names of conda environments that begin with `incomplete`."""
    return _matching(_conda_environments, incomplete)


def hosts(incomplete: str) -> list[str]:
    """Return hosts of `rps connect` that begin with `incomplete`."""
    from rps_core.connect.names import names

    return _matching(lambda: names(incomplete), incomplete)


def cluster_wanted(option: str | None) -> str | None:
    """Return the cluster named by the user, or None to detect it."""
    return option or os.environ.get("RPS_CLUSTER") or None


def prepare() -> None:
    """Fill an empty cache in the background, before the first completion."""
    wanted = cluster_wanted(None)
    with suppress(OSError, RpsError):
        if not known(wanted):
            _ask_in_the_background(_file(wanted), wanted)


def known(wanted: str | None) -> bool:
    """Return whether the cache has values for this cluster, old ones included."""
    return _file(wanted).exists()


def remember(wanted: str | None, found: dict[str, list[str]], *, old: bool = False) -> None:
    """Cache values by kind, with the configuration's state.

    Args:
        wanted: the cluster named by the user, or None.
        found: the values by kind.
        old: mark them as old, so that the next completion refreshes them.
    """
    from rps_core.system import cache

    lines = [f"{_SIGNATURE}\t{_configuration()}"]
    lines += [f"{kind}\t{value}" for kind in KINDS for value in found.get(kind, ())]
    cache.replace(_file(wanted), "".join(f"{line}\n" for line in lines))
    if old:
        with suppress(OSError):  # removed in the meantime, or not written
            os.utime(_file(wanted), (0, 0))


def _matching(ask: Callable[[], Iterable[str]], incomplete: str) -> list[str]:
    try:
        return [word for word in ask() if word.startswith(incomplete) and _WORD.fullmatch(word)]
    except (OSError, RpsError):
        return []  # completion must not print errors into the command line


def _sessions(which: str) -> list[str]:
    directory = str(paths.sessions_dir())
    names = sorted(name for name in os.listdir(directory) if is_session_name(name))  # noqa: PTH208
    living = [name for name in names if os.path.exists(f"{directory}/{name}/claim.json")]  # noqa: PTH110
    ended = [name for name in names if name not in living]
    shown = {"living": living, "ended": ended, "any": [*living, *ended]}[which]
    return [*shown, *_labels(directory, shown)]


def _labels(directory: str, names: Iterable[str]) -> list[str]:
    """Return the sessions' labels, read without JSON's parser, which takes longer to load."""
    found = []
    for name in names:
        with suppress(OSError), open(f"{directory}/{name}/session.json", "rb") as record:  # noqa: PTH123
            found += re.findall(rb'^ "label": "([!-~]+?)",?$', record.read(), re.MULTILINE)
    return sorted({label.decode("ascii") for label in found})


def _conda_environments() -> list[str]:
    text = (paths.home() / ".conda" / "environments.txt").read_text("utf-8", "replace")
    return sorted({os.path.basename(line.strip()) for line in text.splitlines()})  # noqa: PTH119


def _cached(kind: str, wanted: str | None) -> list[str]:
    from rps_core.system import cache

    found: list[str] = []
    signature = ""
    path = _file(wanted)
    try:
        age = time.time() - path.stat().st_mtime
        for line in cache.read(path).splitlines():
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
    """Return a signature of the configuration files, which define the profiles."""
    states = []
    for path in (paths.system_config_file(), paths.config_file()):
        try:
            state = path.stat()
            states.append(f"{state.st_mtime_ns}:{state.st_size}")
        except OSError:
            states.append("none")
    return " ".join(states)


def _file(wanted: str | None) -> Path:
    """Return the cache file of this host: several hosts may share the home directory."""
    name = re.sub(r"[^A-Za-z0-9_-]", "-", wanted or f"at-{os.uname().nodename}")
    return paths.cache_dir() / f"completion-{name}"


def _ask_in_the_background(path: Path, wanted: str | None) -> None:
    """Start the refresh without waiting; at most once a minute."""
    asked = path.with_name(f"{path.name}.asked")
    try:
        if 0 <= time.time() - asked.stat().st_mtime < _AT_MOST_EVERY:
            return
    except OSError:
        paths.make_directory(path.parent)
    asked.touch(mode=0o600)
    command = module_command("rps_core.cli.main", with_plugins=True)
    command += ["completion", "--refresh"]
    command += ["--cluster", wanted] if wanted else []
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("COMP_") and not name.endswith("_COMPLETE")
    }
    # The shell waits until its pipe is closed; a closing terminal would end processes of its session.
    silent: list[Any] = [
        (os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)
    ]
    os.posix_spawn(sys.executable, command, environment, file_actions=silent, setsid=True)


def files(incomplete: str, kind: str) -> list[CompletionItem]:
    """Let the shell complete paths; `kind` is file or dir."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type=kind)]
