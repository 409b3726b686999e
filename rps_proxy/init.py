"""`rps proxy init`: the files that an administrator begins with."""

from __future__ import annotations

import shutil
import sys
from importlib.resources import files
from pathlib import Path

from rps_core.errors import ServiceError, UsageError

CONFIGURATION = "proxy.yaml"
UNITS = (
    "rps-proxy.service",
    "rps-proxy-engine.service",
    "rps-proxy-feed.service",
    "rps-proxy-feed.timer",
)

_HEAD = """\
# The Reverse Proxy Service at this site, as `rps proxy init` wrote it. Lines without `#` are in force;
# the others show each key with its default: take the `#` away to change one, and that of its section.
# Times are in seconds unless the key says otherwise.
"""
# What has no good default for a service of an account of its own; see StateDirectory in the unit.
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
# Of every unit. Left out are MemoryDenyWriteExecute, since HAProxy compiles its regular expressions as it
# runs, and RestrictSUIDSGID, since the directory in which service and engine meet hands its group on.
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
    """Write the configuration and the units into `directory`; the files that were written.

    A file that is there stays as it is.

    Raises:
        UsageError: all of them are there.
        ServiceError: they cannot be written.
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
            directory.mkdir(parents=True)
            directory.chmod(0o755)  # as below, whatever root's umask is
        for path, text in texts.items():
            try:
                with path.open("x", encoding="utf-8") as file:
                    file.write(text)
            except FileExistsError:
                continue
            path.chmod(0o644)  # the service's account is another; there is no secret in them
            written.append(path)
    except OSError as error:
        raise ServiceError(
            f"{error.filename} cannot be written: {error.strerror}",
            "Run this as root, or name another directory.",
        ) from error
    if not written:
        raise UsageError(
            f"{directory} has its files already.", "Move away what is to be made anew."
        )
    return written


def commented() -> str:
    """The packaged defaults with every key commented out, but for those of `_OURS`."""
    text = (files("rps_conf") / CONFIGURATION).read_text("utf-8")
    body = text.partition("\n\n")[2]  # without what it says of itself
    lines = [
        _OURS[line] if line in _OURS else f"#{line}" if line and not _is_comment(line) else line
        for line in body.splitlines()
    ]
    return "\n".join([_HEAD, *lines, ""])


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _command() -> str:
    """This very `rps`, which may not be on systemd's path."""
    found = shutil.which(sys.argv[0]) or shutil.which("rps")
    if found is None:
        raise UsageError("The command `rps` is not on the PATH.", "Run it by its path.")
    return str(Path(found).absolute())
