"""Detect Torque or PBS on this host: by `qstat -q`, else by the configured server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rps_core.plugin import Host, Presence, SchedulerError, Shell, hookimpl
from rps_core.schedulers.pbs.product import product_of_qstat

# The queues, which are few. Not `-B`: Slurm's wrapper needs a name with it. `timeout` keeps the output of a
# command that hangs: qstat waits for a frozen server without a limit.
_QUEUES: tuple[str, ...] = ("timeout", "--kill-after=1", "5", "qstat", "-q")
_TIMED_OUT = (124, 137)  # by TERM, and by KILL
# The table's head, from all three. Slurm's wrapper prints it and exits with 153.
_TABLE = re.compile(r"^Queue +Memory +CPU Time +Walltime ", re.MULTILINE)
_SERVER = re.compile(r"cannot connect to server ([^\s(]+)")  # `(null)`: it knows none
# TORQUE_HOME's, Debian's, and that of an early PBS Pro.
_SERVER_NAMES = (
    "/var/spool/torque/server_name",
    "/etc/torque/server_name",
    "/var/spool/pbs/server_name",
)
_PBS_CONF = "/etc/pbs.conf"


@hookimpl(trylast=True)
def rps_cluster_identity(shell: Shell) -> str | None:
    """Return the server's name, of Torque and of PBS; of several the first by name.

    Their order may differ from answer to answer.
    """
    done = shell("qstat", "-B", "-f", timeout=5)
    found: list[str] = re.findall(
        r"^Server: *(\S+)\s*$", done.stdout.replace("\n\t", ""), re.MULTILINE
    )
    if not found:
        message = done.stderr.strip() or f"`qstat -B -f` ended with {done.code}"
        raise SchedulerError(message, transient=True)
    return min(found)


@hookimpl(trylast=True)
def rps_cluster_hosts(shell: Shell) -> Sequence[str]:
    """Return the nodes by name, which is a node's address for the server, and the server."""
    done = shell("pbsnodes", "-a", timeout=10)
    # A node's attributes are indented.
    nodes = [line for line in done.stdout.splitlines() if line.split() == [line]]
    try:
        servers = [rps_cluster_identity(shell) or ""]
    except SchedulerError:
        servers = []
    return [host for host in [*nodes, *servers] if host and host.isprintable()]


@hookimpl(trylast=True)
def rps_cluster_name(shell: Shell) -> str | None:
    """Return the server's name: there is no other; None: it does not answer."""
    try:
        return rps_cluster_identity(shell)
    except SchedulerError:
        return None


@hookimpl(trylast=True)
def rps_scheduler_presence(
    host: Host, environment: Mapping[str, str], shell: Shell
) -> Presence | None:
    """Ask Torque, or Slurm's wrapper if there is no `sbatch`, which counts for both.

    Without `qsub` a configured server, of Torque or PBS, shows that their module is not loaded.
    """
    if "qsub" not in host.commands:
        sign = next(_signs(host, environment, ""), None)
        return (
            Presence(answers=False, seen="`qsub` is not on the PATH", sign=sign) if sign else None
        )
    product = product_of_qstat(shell)
    if product == "pbs" or (product is None and "sbatch" in host.commands):
        return None
    return presence(host, environment, shell, "Torque")


def presence(host: Host, environment: Mapping[str, str], shell: Shell, title: str) -> Presence:
    """Ask for the queues; without an answer, look for a server on another host."""
    there = f"`qsub` is there ({host.commands['qsub']})"
    try:
        done = shell(*_QUEUES, timeout=8.0)
    except SchedulerError as error:
        code, text = _TIMED_OUT[0] if error.transient else 1, error.message
    else:
        if _TABLE.search(done.stdout):
            return Presence(answers=True, seen=f"{there}, and {title} answers `qstat -q`")
        code, text = done.code, f"{done.stdout}\n{done.stderr}"
    if not text.strip():
        text = "`qstat -q` hangs" if code in _TIMED_OUT else "`qstat -q` prints nothing"
    sign = next(_signs(host, environment, text), None)
    if sign is None and code in _TIMED_OUT:
        sign = "`qstat -q` waits for an answer"
    word = [line.strip() for line in text.splitlines() if line.strip()][-1]
    return Presence(
        answers=False, seen=f"{there}, but {title} does not answer `qstat -q`: {word}", sign=sign
    )


def _signs(host: Host, environment: Mapping[str, str], text: str) -> Iterator[str]:
    """Yield what names a server on another host."""
    for where, name in (
        *(("qstat's message", name) for name in _SERVER.findall(text)),
        *_configured(environment),
    ):
        short = name.lower().partition(":")[0].partition(".")[0]
        if short not in {host.hostname.lower(), "localhost", "127"}:
            yield f"{where} names the server {name}"


def _configured(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the servers that are configured, and where."""
    for variable in ("PBS_DEFAULT", "PBS_SERVER"):
        if environment.get(variable):
            yield variable, environment[variable]
    settings = environment.get("PBS_CONF_FILE") or _PBS_CONF
    for name in re.findall(r"^PBS_(?:SERVER|PRIMARY)=(\S+)", _text(settings), re.MULTILINE):
        yield settings, name
    for place in _SERVER_NAMES:
        for name in _text(place).replace(",", " ").split():
            yield place, name


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""
