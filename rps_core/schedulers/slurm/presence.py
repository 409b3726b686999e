"""Detect Slurm on this host: by `scontrol ping`, else by its configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rps_core.plugin import Host, Presence, SchedulerError, Shell, hookimpl

# `scontrol ping` needs no MUNGE, and reports a controller that is down at once, while `sinfo` tries for 9 s.
# `timeout` keeps the output of a command that hangs. Without a slurm.conf Slurm asks the DNS: a name
# server that does not answer would take 10 s (resolv.conf(5)) and look like a controller that hangs.
_PING: tuple[str, ...] = (
    *("env", "RES_OPTIONS=timeout:1 attempts:1"),
    *("timeout", "--kill-after=1", "5", "scontrol", "ping"),
)
# %o is the address that Slurm's daemons use, NodeAddr.
_NODES = ("sinfo", "--noheader", "--Node", "--responding", "--format=%o")
_TIMED_OUT = (124, 137)  # by TERM, and by KILL
# "Slurmctld(primary) at mgr is UP"; before 20.02 "Slurmctld(primary/backup) at mgr/(NULL) are UP/DOWN".
_STATE = r"(?m)^Slurmctld\(\S+\) at (\S+) (?:is|are) (\S+)$"
_NO_SOURCE = "Could not establish a configuration source"
_NO_RECORD = "DNS SRV lookup failed"
_NO_FILE = r"(cannot stat|unable to status) file"
# Where Debian, Red Hat and Slurm itself put it; and where a configuration from the controller is kept.
_PLACES = ("/etc/slurm/slurm.conf", "/etc/slurm-llnl/slurm.conf", "/run/slurm/conf/slurm.conf")
_HOSTS = r"(?im)^\s*(SlurmctldHost|ControlMachine|BackupController|NodeName)\s*=\s*([^\s(#]+)"


@hookimpl(trylast=True)
def rps_cluster_name(shell: Shell) -> str | None:
    """Return Slurm's `ClusterName`; None: the controller does not answer."""
    try:
        return _configured(shell).get("ClusterName")
    except SchedulerError:
        return None


@hookimpl(trylast=True)
def rps_cluster_identity(shell: Shell) -> str | None:
    """Return the cluster's name and its first controller, `hpc@hpc-mgr`.

    Many clusters keep the default name. The first controller is the same while a backup is in charge.
    """
    found = _configured(shell)
    # ControlMachine before Slurm 18.08; the address stands in brackets.
    controller = found.get("SlurmctldHost[0]") or found.get("ControlMachine")
    name = found.get("ClusterName")
    return f"{name}@{controller.partition('(')[0]}" if name and controller else None


@hookimpl(trylast=True)
def rps_cluster_hosts(shell: Shell) -> Sequence[str]:
    """Return the addresses of the nodes that answer, and the controllers' names."""
    done = shell(*_NODES, timeout=10)
    nodes = [line.strip() for line in done.stdout.splitlines() if len(line.split()) == 1]
    try:
        found = _configured(shell)
    except SchedulerError:
        found = {}
    # The address stands in brackets; before 18.08 it is a key of its own.
    controllers = [
        controller.partition("(")[2].rstrip(")") or controller
        for key, controller in found.items()
        if key.startswith("SlurmctldHost[") or key == "ControlAddr"
    ]
    return [host for host in dict.fromkeys([*nodes, *controllers]) if host.isprintable()]


def _configured(shell: Shell) -> dict[str, str]:
    """Return the values of one word in the controller's configuration.

    Raises:
        SchedulerError: it does not answer; the message is scontrol's.
    """
    done = shell("scontrol", "show", "config", timeout=5)
    found = dict(re.findall(r"^(\S+)\s*=\s*(\S+)$", done.stdout, re.MULTILINE))
    if not found:
        message = done.stderr.strip() or f"`scontrol show config` ended with {done.code}"
        raise SchedulerError(message, transient=True)
    return found


@hookimpl(trylast=True)
def rps_scheduler_presence(
    host: Host, environment: Mapping[str, str], shell: Shell
) -> Presence | None:
    """Ask the controller; without an answer, read the configuration's host names.

    Without `sbatch` the configuration alone can show that Slurm's module is not loaded.
    """
    program = host.commands.get("sbatch")
    if program is None:
        sign = _sign(host, environment, None, "", {})
        return (
            Presence(answers=False, seen="`sbatch` is not on the PATH", sign=sign) if sign else None
        )
    there = f"`sbatch` is there ({program})"
    try:
        done = shell(*_PING, timeout=8.0)
    except SchedulerError as error:
        code, text = _TIMED_OUT[0] if error.transient else 1, error.message
    else:
        code, text = done.code, f"{done.stdout}\n{done.stderr}"
    states = {
        controller: state
        for controllers, each in re.findall(_STATE, text)
        for controller, state in zip(controllers.split("/"), each.split("/"), strict=False)
    }
    if "UP" in states.values():
        return Presence(answers=True, seen=f"{there}, and Slurm's controller answers")
    if not text.strip():
        text = "`scontrol ping` hangs" if code in _TIMED_OUT else "`scontrol ping` prints nothing"
    sign = _sign(host, environment, program, text, states)
    if sign is None and code in _TIMED_OUT and not re.search(_NO_FILE, text):
        sign = "`scontrol ping` waits for an answer of a controller"
    return Presence(
        answers=False, seen=f"{there}, but Slurm does not answer: {_word(text)}", sign=sign
    )


def _sign(
    host: Host,
    environment: Mapping[str, str],
    program: str | None,
    text: str,
    states: Mapping[str, str],
) -> str | None:
    """Return what shows that Slurm is set up here; None: nothing does."""
    elsewhere = [name for name in states if name != "(NULL)" and not _is_this(host, name)]
    if elsewhere:
        return f"Slurm's controller is {' or '.join(elsewhere)}"
    for path, found in _configurations(environment, program):
        for key, name in re.findall(_HOSTS, found):
            if name.upper() != "DEFAULT" and not _is_this(host, name):
                return f"{path} says {key}={name}"
    for variable in ("SLURM_CONF_SERVER", "SLURM_CONF"):
        if environment.get(variable) and not states:
            return f"{variable} is {environment[variable]}"
    if _NO_SOURCE in text and _NO_RECORD not in text:
        return "the DNS names a controller of Slurm (_slurmctld._tcp), which does not answer"
    return None


def _configurations(
    environment: Mapping[str, str], program: str | None
) -> Iterator[tuple[Path, str]]:
    """Yield the readable files that Slurm may have read, with their texts."""
    chosen = environment.get("SLURM_CONF")
    beside: tuple[Path, ...] = ()
    if program is not None:
        prefix = Path(program).resolve().parent.parent
        beside = (prefix / "etc" / "slurm.conf", prefix / "etc" / "slurm" / "slurm.conf")
    for path in (Path(chosen),) if chosen else (*map(Path, _PLACES), *beside):
        try:
            yield path, path.read_text("utf-8", "replace")
        except OSError:
            continue


def _is_this(host: Host, name: str) -> bool:
    short = name.lower().partition(".")[0]
    return short in {host.hostname.lower(), "localhost"} or name.startswith("127.")


def _word(text: str) -> str:
    """Return the line that names the controller that is down, else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    states = [line for line in lines if re.match(_STATE, line)]
    return "; ".join(states) or lines[-1]
