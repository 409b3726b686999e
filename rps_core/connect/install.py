"""Install this version of rps on a host, over the same connection."""

from __future__ import annotations

import re
import shlex
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rps_core.connect import wheels
from rps_core.connect.answers import is_path
from rps_core.connect.remote import Remote
from rps_core.connect.wheels import Target
from rps_core.errors import ConnectError, UsageError
from rps_core.installation import DISTRIBUTION
from rps_core.log import notice
from rps_core.version import __version__

_INSTALL_WITHIN = 900.0  # seconds: a home directory on a network may be slow
_NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded|\[Errno (?:28|122)\]")
_FACTS = """
{python} -I - <<'END'
import platform, sys
print("python %d.%d" % sys.version_info[:2])
print("machine", platform.machine())
print("glibc", platform.libc_ver()[1] or "-")
END
"""
_UNPACK = """
set -e
umask 077
cd && mkdir -p .local/share/rps && cd .local/share/rps
rm -rf wheels && mkdir wheels && tar -x -f - -C wheels
"""
# Each version has a directory of its own: jobs that run use the files of the one that started them.
_INSTALL = """
(
set -e
umask 077
base=$HOME/.local/share/rps
venv=$base/rps-{version}
link=$HOME/.local/bin/rps
if [ -e "$link" ] && [ ! -L "$link" ]; then
  echo "$link is a file that rps did not make" >&2
  exit 1
fi
if ! "$venv/bin/rps" --version >/dev/null 2>&1; then
  {python} -m venv --clear "$venv" >&2
  "$venv/bin/python" -I -m pip install --quiet --disable-pip-version-check --no-input --no-index \\
    --find-links "$base/wheels" '{requirement}' >&2
fi
mkdir -p "$HOME/.local/bin"
ln -sfn "$venv/bin/rps" "$link"
rm -rf "$base/wheels"
printf 'installed %s\\n' "$link"
)
"""


def provide(remote: Remote, *, wanted: bool, confirm: Callable[[str], bool] | None) -> Remote:
    """Return rps on the host; install it if it is missing, or is another version.

    Args:
        remote: what was found there.
        wanted: install without asking.
        confirm: asks the user; None without a terminal.

    Raises:
        UsageError: there is none, and none is to be installed, or it cannot be.
        ConnectError: it could not be installed.
    """
    if remote.version == __version__:
        return remote
    if remote.command is not None and not wanted:
        notice(
            f"{remote.name} has rps {remote.version}, this computer {__version__}: `rps connect "
            f"{shlex.quote(remote.name)} --install` installs this one there."
        )
        return remote
    question = f"No rps on {remote.name}. Install {__version__} into ~/.local/share/rps there?"
    if wanted or (confirm is not None and confirm(question)):
        return _install(remote)
    raise remote.missing()


def _install(remote: Remote) -> Remote:
    python = remote.python()
    if python is None:
        raise UsageError(
            f"{remote.name} has no Python 3.11 or newer on the PATH of a login shell",
            "If it has one as an environment module, name that as `module:` in ~/.config/rps/connect.yaml. "
            "Else install one there: `conda create -n py313 python=3.13`, or `uv python install 3.13`.",
        )
    target = _target(remote, python)
    notice(f"Installing rps {__version__} on {remote.name}.")
    with tempfile.TemporaryDirectory(prefix="rps-") as name, tempfile.TemporaryFile() as archive:
        wheels.gather(Path(name), target)
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for wheel in sorted(Path(name).glob("*.whl")):
                tar.add(wheel, wheel.name)
        archive.seek(0)
        copied = remote.connection.copy(archive, _UNPACK)
    if copied.code != 0:
        raise _failed(remote, "cannot be copied")
    script = _INSTALL.format(
        version=__version__,
        python=shlex.quote(python),
        requirement=f"{DISTRIBUTION}[{wheels.EXTRA}]=={__version__}",
    )
    done = remote.connection.run(script, _INSTALL_WITHIN)
    path = next(
        (line[10:] for line in done.stdout.splitlines() if line.startswith("installed ")), ""
    )
    if done.code != 0 or not is_path(path):
        raise _failed(remote, "cannot be installed")
    notice(f"rps {__version__} is installed on {remote.name}: {path}")
    return replace(remote, command=path, version=__version__)


def _target(remote: Remote, python: str) -> Target:
    done = remote.connection.run(_FACTS.format(python=shlex.quote(python)), 60.0)
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    release, machine = found.get("python", ""), found.get("machine", "")
    glibc = re.fullmatch(r"2\.([0-9]{1,3})(?:\.[0-9]+)?", found.get("glibc", ""))
    if not (
        re.fullmatch(r"3\.[0-9]{1,2}", release)
        and re.fullmatch(r"[a-z0-9_]{2,20}", machine)
        and glibc
    ):
        raise UsageError(
            f"rps cannot be installed from here on {remote.name}: wheels need Linux with glibc",
            "Install it there from a clone (docs/installation.md).",
        )
    return Target(python=release, machine=machine, glibc=int(glibc[1]))


def _failed(remote: Remote, what: str) -> ConnectError:
    if _NO_SPACE.search(remote.connection.said):
        return ConnectError(
            f"rps {what} on {remote.name}: your home directory there has no space left (disk or quota)",
            "Remove files there (`quota -s` shows the limit): rps needs about 100 MB. Then try again.",
        )
    return ConnectError(
        f"rps {what} on {remote.name}: the messages are above",
        "Install it there from a clone (docs/installation.md).",
    )
