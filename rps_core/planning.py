"""From settings to a plan: every check that can be made before anybody is asked for anything."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from rps_core import paths, remembered
from rps_core.cluster import Here
from rps_core.errors import UsageError
from rps_core.held import HeldAllocation
from rps_core.log import get_logger
from rps_core.models import Allocation
from rps_core.quantities import format_walltime, parse_memory, parse_walltime
from rps_core.settings import JobSettings, Loaded, PartitionLimits
from rps_core.shell import Shell

APPS = {"lab": "jupyterlab.sh", "notebook": "notebook.sh"}
_BATCH = Path(__file__).parent / "batch"

Value = TypeVar("Value")

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A session that can be started: nothing in it is left to decide but its name."""

    app: str
    template: Path
    directory: Path
    jupyter: str
    container: tuple[str, ...]
    prologue: str | None
    allocation: Allocation
    idle_timeout: int | None = None  # seconds
    account_note: str | None = None
    inside: HeldAllocation | None = None


def plan(
    here: Here, shell: Shell, *, dry_run: bool = False, inside: HeldAllocation | None = None
) -> Plan:
    """Check the settings and complete them with the default allocation; where the session is to run `inside`
    an allocation that the user holds, with that.

    A dry run checks what the script shows, not the machine it is printed on.

    Raises:
        UsageError: something cannot be; names the key's file and line.
    """
    loaded = here.loaded
    notebook, job = loaded.settings.notebook, loaded.settings.job
    if os.getuid() == 0 and not dry_run:
        _check_root(here)
    if notebook.app not in APPS:
        raise UsageError(
            f"{loaded.where('notebook.app')}: there is no application `{notebook.app}`",
            f"Take one of: {', '.join(APPS)}.",
        )
    allocation = _allocation(loaded)
    scheduler = here.site.cluster.scheduler
    app = notebook.app
    if notebook.template:
        template = find_template(notebook.template, scheduler)
        app = {file: name for name, file in APPS.items()}.get(template.name, app)
    else:
        template = _BATCH / scheduler / APPS[app]
    found = Plan(
        app=app,
        template=template,
        directory=_directory(loaded),
        jupyter=_jupyter(loaded, app, dry_run=dry_run),
        container=_container(loaded),
        prologue=_prologue(loaded),
        allocation=allocation,
        idle_timeout=_idle_timeout(loaded),
    )
    if inside:
        allocation = replace(allocation, walltime=inside.time_left)
        return replace(found, allocation=allocation, inside=inside)
    if job.account is None and loaded.settings.limits.require_account:
        raise UsageError(
            f"An allocation must be named on {here.site.cluster.name}",
            "Name yours with -A, or once for all as `job.account` in ~/.config/rps/config.yaml.",
        )
    if job.account is None:
        return _with_default_account(found, here, shell)
    return found


def _with_default_account(found: Plan, here: Here, shell: Shell) -> Plan:
    cluster = here.site.cluster
    known = remembered.account(cluster)
    if known is not None:
        account, asked = known
        note = f"Charged to {account}, your default (remembered from {asked:%Y-%m-%d %H:%M})."
    else:
        answer = here.site.default_allocation(shell)
        if answer is None:
            return found
        account, note = answer, f"Charged to {answer}, your default."
        remembered.remember(cluster, account)
    return replace(found, allocation=replace(found.allocation, account=account), account_note=note)


def packaged_template(text: str) -> Path | None:
    """A packaged batch script by its name, `slurm/jupyterlab.sh`."""
    packaged = _BATCH / text
    ours = packaged.is_file() and packaged.resolve().is_relative_to(_BATCH.resolve())
    return packaged if ours else None


def find_template(text: str, scheduler: str) -> Path:
    """A packaged script by name (`slurm/jupyterlab.sh`), or the user's own by path.

    Raises:
        UsageError: there is no such script, or it is another scheduler's.
    """
    packaged = packaged_template(text)
    if packaged:
        if packaged.parent.name != scheduler:
            raise UsageError(
                f"The batch script {text} is for {packaged.parent.name}; this cluster runs {scheduler}",
                f"Take {scheduler}/{packaged.name}, or leave it out.",
            )
        return packaged
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        names = sorted(f"{scheduler}/{name}" for name in APPS.values())
        raise UsageError(
            f"There is no batch script {text}",
            f"Packaged are {' and '.join(names)}; or give the path of one of your own.",
        )
    return path


def _check_root(here: Here) -> None:
    if not here.loaded.settings.allow_root:
        raise UsageError(
            f"rps does not start sessions as root on {here.site.cluster.name}",
            "Log in as an ordinary user; a notebook runs what its visitor types.",
        )
    log.warning("running as root", why="a notebook runs what its visitor types, here as root")


def _allocation(loaded: Loaded) -> Allocation:
    job = loaded.settings.job
    allocation = Allocation(
        walltime=_quantity(loaded, "job.walltime", parse_walltime, job.walltime),
        account=job.account,
        partition=job.partition,
        qos=job.qos,
        reservation=job.reservation,
        constraint=job.constraint,
        nodes=_at_least_one(loaded, "job.nodes", job.nodes),
        tasks=_at_least_one(loaded, "job.tasks", job.tasks),
        cpus=None if job.cpus is None else _at_least_one(loaded, "job.cpus", job.cpus),
        gpus=None if job.gpus is None else _at_least_one(loaded, "job.gpus", job.gpus),
        memory_mb=_quantity(loaded, "job.memory", parse_memory, job.memory) if job.memory else None,
        directives=job.directives,
    )
    _check_limits(loaded, job, allocation)
    return allocation


def _check_limits(loaded: Loaded, job: JobSettings, allocation: Allocation) -> None:
    limits = loaded.settings.limits
    partition = job.partition or ""
    most = limits.partitions.get(partition, PartitionLimits())
    place = f"partition {partition}" if partition in limits.partitions else "cluster"
    walltime = most.walltime or limits.walltime
    if walltime and allocation.walltime > (longest := parse_walltime(walltime)):
        raise UsageError(
            f"{loaded.where('job.walltime')}: a walltime of {format_walltime(allocation.walltime)} "
            f"is more than the {format_walltime(longest)} that the {place} allows",
            f"Ask for {format_walltime(longest)} or less"
            + (", or take another partition." if len(limits.partitions) > 1 else "."),
        )
    memory = parse_memory(most.memory) if most.memory else None
    for key, unit, asked, allowed in (
        ("job.cpus", "cores", (allocation.cpus or 1) * allocation.tasks, most.cpus),
        ("job.memory", "MiB", allocation.memory_mb or 0, memory),
        ("job.gpus", "GPUs", allocation.gpus or 0, most.gpus),
    ):
        if allowed == 0 and asked:
            field = key.removeprefix("job.")
            others = [n for n, one in limits.partitions.items() if getattr(one, field) != 0]
            raise UsageError(
                f"{loaded.where(key)}: {place} has no {unit}",
                f"Take a partition that has (-p): {', '.join(others)}."
                if others
                else f"Ask for no {unit}.",
            )
        if allowed is not None and asked > allowed:
            raise UsageError(
                f"{loaded.where(key)}: {asked} {unit} on a node is more than the {allowed} that "
                f"a node of {place} has",
                f"Ask for {allowed} {unit} or less"
                + (", or take another partition (-p)." if len(limits.partitions) > 1 else "."),
            )


def _idle_timeout(loaded: Loaded) -> int | None:
    """`notebook.idle_timeout` in seconds, within what the site allows."""
    text, most = loaded.settings.notebook.idle_timeout, loaded.settings.limits.idle_timeout
    key = "notebook.idle_timeout"
    parse = partial(parse_walltime, what="length of time")
    wanted = _quantity(loaded, key, parse, text) if text else None
    if most is not None:
        allowed = _quantity(loaded, "limits.idle_timeout", parse, most)
        if wanted is None or wanted > allowed:
            asked = "there is none" if wanted is None else f"{format_walltime(wanted)} is too long"
            raise UsageError(
                f"{loaded.where(key)}: a session here ends after at most {format_walltime(allowed)} "
                f"without work, and {asked}",
                f"Give it with --idle {most}.",
            )
    return None if wanted is None else int(wanted.total_seconds())


def _quantity(loaded: Loaded, key: str, parse: Callable[[str], Value], text: str) -> Value:
    try:
        return parse(text)
    except UsageError as error:
        raise UsageError(f"{loaded.where(key)}: {error.message}", error.hint) from None


def _at_least_one(loaded: Loaded, key: str, value: int) -> int:
    if value < 1:
        raise UsageError(f"{loaded.where(key)}: `{key}` must be at least 1, not {value}")
    return value


def _directory(loaded: Loaded) -> Path:
    text = loaded.settings.notebook.directory
    where = loaded.where("notebook.directory")
    try:
        directory = (Path(text).expanduser() if text else paths.home()).absolute()
        str(directory).encode()
    except UnicodeError:
        raise UsageError(f"{where}: {text!a} is not UTF-8, which Jupyter needs") from None
    except (RuntimeError, OSError) as error:  # ~nobody-of-that-name; the present directory is gone
        raise UsageError(f"{where}: {text}: {error}", "Give a path from the root.") from None
    if not directory.is_dir():
        raise UsageError(
            f"{where}: there is no directory {directory}", "Make it first, or name another with -d."
        )
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(
            f"{where}: you cannot write in {directory}, so no notebook could be saved there",
            "Name another directory with -d.",
        )
    return directory


def _jupyter(loaded: Loaded, app: str, *, dry_run: bool) -> str:
    """The program's absolute path: a job does not always get the PATH of the shell it came from.

    Where the job makes an environment of its own (modules, conda, a prologue, a container), only the
    job can find it there.
    """
    notebook = loaded.settings.notebook
    if notebook.conda_env and not dry_run:
        _check_conda(loaded, notebook.conda_env, app)
    named = notebook.jupyter
    if named is not None and named.startswith("~"):
        named = str(Path(named).expanduser())
    if dry_run or notebook.modules or notebook.conda_env or notebook.prologue or notebook.image:
        return named or "jupyter"
    program = f"jupyter-{app}"
    beside = Path(sys.executable).parent
    jupyter = shutil.which(named or "jupyter")
    if jupyter is None and named is None:
        jupyter = shutil.which("jupyter", path=str(beside))
    if jupyter is None and named is not None:
        raise _not_a_program(loaded, named)
    if jupyter is None:
        raise UsageError("There is no `jupyter` on the PATH", notebook.install_hint)
    if not (shutil.which(program, path=str(Path(jupyter).parent)) or shutil.which(program)):
        raise UsageError(
            f"{jupyter} has no `{program}` beside it, so it cannot start {app}",
            notebook.install_hint,
        )
    return str(Path(jupyter).absolute())


def _not_a_program(loaded: Loaded, named: str) -> UsageError:
    """What is wrong with the program that `notebook.jupyter` names."""
    where = loaded.where("notebook.jupyter")
    if "/" not in named:
        hint = loaded.settings.notebook.install_hint
        return UsageError(f"{where}: there is no `{named}` on the PATH", hint)
    path = Path(named)
    hint = (
        "`notebook.jupyter` is the path of Jupyter's own program (…/bin/jupyter); left out, rps takes the "
        "`jupyter` on the PATH."
    )
    if path.is_dir():
        return UsageError(f"{where}: {path} is a directory, not a program", hint)
    if path.exists():
        return UsageError(f"{where}: you may not run {path}: it is not executable", hint)
    return UsageError(f"{where}: there is no program {path}", hint)


def _check_conda(loaded: Loaded, environment: str, app: str) -> None:
    """See that an environment that can be found from here has the application.

    conda lists the environments it made in `~/.conda/environments.txt`, a path a line. One that is not
    there may still be known on the node, after a module was loaded.
    """
    if "/" in environment:
        places = [Path(environment).expanduser()]
        if not places[0].is_dir():
            raise UsageError(
                f"{loaded.where('notebook.conda_env')}: there is no environment {environment}"
            )
    else:
        listed = paths.home() / ".conda" / "environments.txt"
        lines = listed.read_text("utf-8").splitlines() if listed.is_file() else []
        places = [Path(line) for line in lines if Path(line).name == environment]
    places = [place for place in places if place.is_dir()]
    if places and not any((place / "bin" / f"jupyter-{app}").exists() for place in places):
        raise UsageError(
            f"{loaded.where('notebook.conda_env')}: the environment {environment} has no "
            f"`jupyter-{app}`",
            loaded.settings.notebook.install_hint,
        )


def _container(loaded: Loaded) -> tuple[str, ...]:
    """The options and the image for `apptainer exec`."""
    notebook = loaded.settings.notebook
    if not notebook.image:
        if notebook.bind or notebook.nv:
            key = "notebook.bind" if notebook.bind else "notebook.nv"
            raise UsageError(
                f"{loaded.where(key)}: `{key}` means nothing without an image",
                "Name one with --image.",
            )
        return ()
    image = notebook.image
    if "://" not in image:  # docker://… and the like are fetched by the container's runner
        path = Path(image).expanduser().absolute()
        if not path.exists():
            raise UsageError(f"{loaded.where('notebook.image')}: there is no image {path}")
        image = str(path)
    options = ["--nv"] if notebook.nv else []
    for place in notebook.bind:
        options += ["--bind", place]
    return (*options, image)


def _prologue(loaded: Loaded) -> str | None:
    text = loaded.settings.notebook.prologue
    if not text:
        return None
    path = Path(text).expanduser()
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
        raise UsageError(
            f"{loaded.where('notebook.prologue')}: the prologue {path} cannot be read: {reason}"
        ) from None
