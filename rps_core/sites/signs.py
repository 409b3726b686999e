"""Signs of a cluster: what hosts that submit jobs have, and laptops have not.

For schedulers without a plugin, and for those whose module is not loaded; a scheduler's plugin looks for its
own configuration (`rps_scheduler_presence`). Every sign is documented by its scheduler:

- LSF: profile.lsf and cshrc.lsf set LSF_ENVDIR, the directory of lsf.conf (IBM, "LSF_ENVDIR"); /etc/lsf.conf
  without it.
- OAR: /etc/oar/oar.conf (oarsub(1)).
- HTCondor: CONDOR_CONFIG, or /etc/condor/condor_config (manual, "Introduction to Configuration").
- Flux: FLUX_URI in an instance; a system instance has /etc/flux/system/conf.d and the socket /run/flux/local
  (Flux Administrator's Guide). Not `flux` on the PATH: the command of FluxCD has that name.
- Grid Engine: SGE_ROOT, which settings.sh sets (sge_conf(5)); Debian's package has /etc/default/gridengine.
- Cobalt: /etc/cobalt.conf (cobalt.conf(5)).

MUNGE is no sign: Debian's slurm-client installs it with a key, on a laptop as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

# Commands that submit or list jobs, and that no other product has.
_COMMANDS = {
    "bsub": "LSF",
    "oarsub": "OAR",
    "condor_submit": "HTCondor",
    "qconf": "Grid Engine",
    "cqsub": "Cobalt",
    "llsubmit": "LoadLeveler",
    "msub": "Moab",
    "pjsub": "Fujitsu's Technical Computing Suite",
}
_VARIABLES = {
    "LSF_ENVDIR": "LSF",
    "CONDOR_CONFIG": "HTCondor",
    "FLUX_URI": "Flux",
    "SGE_ROOT": "Grid Engine",
    "COBALT_JOBID": "Cobalt",
}
_FILES = {
    "/etc/lsf.conf": "LSF",
    "/etc/oar/oar.conf": "OAR",
    "/etc/condor/condor_config": "HTCondor",
    "/etc/flux/system/conf.d": "Flux",
    "/run/flux/local": "Flux",
    "/etc/default/gridengine": "Grid Engine",
    "/etc/cobalt.conf": "Cobalt",
}
# Names of modules that put a scheduler's commands on the PATH.
_MODULES = frozenset(
    {"slurm", "torque", "pbs", "pbspro", "openpbs", "lsf", "sge", "uge", "gridengine"}
)


def signs(
    commands: Mapping[str, str], environment: Mapping[str, str], root: Path = Path("/")
) -> list[str]:
    """Return the signs that this host belongs to a cluster, a phrase each.

    Args:
        commands: the paths of programs by name.
        environment: the environment variables.
        root: the directory that stands for `/`.
    """
    return [*_of_schedulers(commands, environment, root), *_of_modules(environment)]


def _of_schedulers(
    commands: Mapping[str, str], environment: Mapping[str, str], root: Path
) -> Iterator[str]:
    for name, scheduler in _COMMANDS.items():
        if name in commands:
            yield f"`{name}` of {scheduler} is there ({commands[name]})"
    for name, scheduler in _VARIABLES.items():
        if environment.get(name):
            yield f"{name}, of {scheduler}, is {environment[name]}"
    for path, scheduler in _FILES.items():
        if root.joinpath(path.lstrip("/")).exists():
            yield f"{path}, of {scheduler}, is there"


def _of_modules(environment: Mapping[str, str]) -> Iterator[str]:
    """Return the modules named like a scheduler, without `.lua`."""
    for directory in filter(None, environment.get("MODULEPATH", "").split(":")):
        try:
            entries = os.listdir(directory)  # noqa: PTH208 - names are all that is wanted
        except OSError:
            continue
        for entry in sorted(entries):
            name = entry.removesuffix(".lua")
            if name in _MODULES:
                yield f"the module `{name}` can be loaded (in {directory})"
