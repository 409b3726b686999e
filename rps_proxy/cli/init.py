"""`rps proxy init`: write a first configuration and systemd units."""

from __future__ import annotations

import shutil
import sys
from importlib.resources import files
from pathlib import Path

from rps_core.errors import ServiceError, UsageError
from rps_core.system import paths
from rps_core.system.files import write_new
from rps_proxy import parent_domains as parents
from rps_proxy.settings.loading import load

CONFIGURATION = "proxy.yaml"
UNITS = (
    "rps-proxy.service",
    "rps-proxy-engine.service",
    "rps-proxy-feed.service",
    "rps-proxy-feed.timer",
)

_HEAD = """\
# Configuration of the Reverse Proxy Service, written by `rps proxy init`. A line that begins with `#` shows a
# key with its default: to set it, remove the `#` of the line and of its section. Times are in seconds unless
# the comment names another unit.
"""
# Keys whose default does not fit a service with its own account; see StateDirectory in the unit.
_OURS = {
    "directory: null": "directory: /var/lib/rps/service",
    "tls:": "tls:",
    "  ca_directory: null": "  ca_directory: /var/lib/rps/ca",
    # The units run an engine as the service's account.
    "haproxy:": "haproxy:",
    "  group: haproxy": "  group: null",
    "apache:": "apache:",
    "  group: www-data": "  group: null",
}
# In every unit. Not MemoryDenyWriteExecute, because HAProxy compiles regular expressions at run time, and not
# RestrictSUIDSGID, because the directory that service and engine share has the setgid bit.
_HARDENING = """\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
SystemCallArchitectures=native"""


def init(directory: Path) -> list[Path]:
    """Write the configuration and the units; return the files written.

    Existing files are kept.

    Raises:
        UsageError: all files exist.
        ServiceError: a file cannot be written.
    """
    directory = directory.absolute()
    configuration = directory / CONFIGURATION
    command = _command()
    texts = {configuration: commented()}
    for name in UNITS:
        unit = (files("rps_proxy") / "systemd" / name).read_text("utf-8")
        unit = unit.replace("@COMMAND@", command).replace("@CONFIGURATION@", str(configuration))
        texts[directory / name] = unit.replace("@HARDENING@", _HARDENING)
    written = []
    try:
        if not directory.exists():
            paths.make_directory(directory, 0o755)
            directory.chmod(0o755)  # whatever root's umask is, as below
        for path, text in texts.items():
            try:
                write_new(path, text.encode(), 0o644)
            except FileExistsError:
                continue
            path.chmod(0o644)  # read by the service's account; they contain no secret
            written.append(path)
    except OSError as error:
        raise ServiceError(
            f"Could not write {error.filename}: {error.strerror}.",
            "Run this as root, or give another directory.",
        ) from error
    if not written:
        raise UsageError(
            f"Wrote nothing: {directory} has all files already.",
            "Move or remove the files that you want written again.",
        )
    return written


def domain_warning(directory: Path) -> str | None:
    """Return a warning about the configured domain, or None."""
    try:
        domain = load(directory / CONFIGURATION).domain
    except UsageError as error:  # in a file that existed before
        return f"{error.message}. Correct it, and run `rps proxy check`."
    if domain.endswith(".localhost"):  # the default, or another name that no other host can reach
        return (
            "set `domain`, best to a registrable domain for this service alone, such as rps-example.org: a "
            "session's scripts can set cookies for its parent domains (docs/operators.md, Before)"
        )
    return parents.warning(domain)


def commented() -> str:
    """Return the packaged defaults, each key commented out except those of `_OURS`."""
    text = (files("rps_conf") / CONFIGURATION).read_text("utf-8")
    body = text.partition("\n\n")[2]  # without the file's own introduction
    lines = [
        _OURS[line] if line in _OURS else f"#{line}" if line and not _is_comment(line) else line
        for line in body.splitlines()
    ]
    return "\n".join([_HEAD, *lines, ""])


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _command() -> str:
    """Return the absolute path of this `rps`, which may not be on systemd's PATH."""
    found = shutil.which(sys.argv[0]) or shutil.which("rps")
    if found is None:
        raise UsageError("Could not find `rps`: it is not on the PATH.", "Run it by its full path.")
    return str(Path(found).absolute())
