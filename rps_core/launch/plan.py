"""Plan a session from the settings: the job and its limits, and the batch script.

These checks need no service and no scheduler.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.cluster import ClusterContext
from rps_core.config.settings import (
    OPTIONS,
    VARIABLES,
    JobSettings,
    LoadedSettings,
    PartitionLimits,
)
from rps_core.errors import UsageError
from rps_core.hooks.site import Site
from rps_core.launch import applications, policy
from rps_core.launch import default_account as remembered
from rps_core.launch import environment as environments
from rps_core.launch import notebook as notebook_plan
from rps_core.launch.choice import Choice, NoKernelError
from rps_core.log import get_logger
from rps_core.models import Allocation
from rps_core.units import (
    format_walltime,
    parse_gpu_limit,
    parse_gpus,
    parse_memory,
    parse_walltime,
)
from rps_core.values import dataclass

if TYPE_CHECKING:
    from rps_core.launch.allocation import ExistingAllocation

APPS = {"lab": "jupyterlab.sh", "notebook": "notebook.sh"}
_BATCH = Path(__file__).parents[1] / "batch"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A session ready to start: everything is decided except its name."""

    app: str
    template: Path
    directory: Path
    environment: Choice
    opens: str = ""  # path below the session's URL
    arguments: tuple[str, ...] = ()  # of the application
    bin: tuple[str, ...] = ()  # directories of the applications' programs, before the job's PATH
    container: tuple[str, ...]
    prologue: str | None
    allocation: Allocation
    idle_timeout: int | None = None  # seconds
    account_note: str | None = None
    changes: tuple[policy.Changed, ...] = ()  # by the site's policy
    inside: ExistingAllocation | None = None


def plan(
    here: ClusterContext,
    *,
    dry_run: bool = False,
    inside: ExistingAllocation | None = None,
    add_kernel: bool = False,
) -> Plan:
    """Check the settings and complete them with the default allocation.

    Args:
        here: the cluster's context.
        dry_run: check only what the batch script contains, not this host.
        inside: the user's existing allocation, if the session starts in one.
        add_kernel: add a kernel to the environment if it has none.

    Raises:
        UsageError: a setting is invalid; the message names the key's file and line.
        RequestRefusedError: the site's policy refuses the request.
    """
    loaded = here.loaded
    notebook, job = loaded.settings.notebook, loaded.settings.job
    if os.getuid() == 0 and not dry_run:
        _check_root(here)
    allocation = requested(loaded)
    _check_limits(loaded, job, allocation)
    app = applications.known(loaded)
    if notebook.template:
        template = _template(loaded, notebook.template, here.site)
        if app in APPS:
            asked, app = app, {file: name for name, file in APPS.items()}.get(template.name, app)
            keys = ("notebook.app", "notebook.template")
            if app != asked and all(loaded.is_option(key) for key in keys):
                where, of_template = map(loaded.where, keys)
                raise UsageError(
                    f"{where} {asked} and {of_template} {notebook.template} are two applications",
                    "Give only one of them.",
                )
    else:
        template = templates(here.site) / APPS.get(app, APPS["lab"])
    directory = notebook_plan.directory(loaded)
    server = applications.server_of(app)
    chosen = environment(loaded, server, directory, dry_run=dry_run, add_kernel=add_kernel)
    applications.check_arguments(loaded, app)
    chosen, programs = _checked(loaded, app, chosen, dry_run=dry_run)
    found = Plan(
        app=app,
        template=template,
        directory=directory,
        environment=chosen,
        opens=applications.opens(loaded, app),
        arguments=notebook.arguments,
        bin=programs,
        container=notebook_plan.container(loaded, chosen.image),
        prologue=notebook_plan.prologue(loaded),
        allocation=allocation,
        idle_timeout=notebook_plan.idle_timeout(loaded),
    )
    if inside:
        allocation = replace(allocation, walltime=inside.time_left)
        return replace(found, allocation=allocation, inside=inside)
    if job.account is None and loaded.settings.limits.require_account:
        raise UsageError(
            f"{here.site.cluster.name} requires an allocation to charge, and none is configured",
            "Use -A, or set `job.account` in ~/.config/rps/config.yaml.",
        )
    origin = loaded.origins.get("job.account")
    if job.account is None:
        found = _with_default_account(found, here)
    elif origin is not None and origin.layer == VARIABLES:
        found = replace(found, account_note=f"Charging {job.account} ({origin.where}).")
    allocation, changes = policy.checked(here, found.allocation, app)
    return replace(found, allocation=allocation, changes=changes)


def environment(
    loaded: LoadedSettings,
    app: str,
    directory: Path,
    *,
    dry_run: bool = False,
    add_kernel: bool = False,
) -> Choice:
    """Return the environment; a dry run shows what is wrong with it as a note.

    Raises:
        UsageError: it cannot be used, or no kernel can be added to it.
    """

    def choose() -> Choice:
        return environments.Chooser(loaded, app, directory, os.environ).choose()

    try:
        return choose()
    except UsageError as error:
        if dry_run:
            return environments.unknown(error)
        if not add_kernel or not isinstance(error, NoKernelError):
            raise
        from rps_core.environment.tools import add

        add(error.prefix, "ipykernel")
        return choose()


def _checked(
    loaded: LoadedSettings, app: str, chosen: Choice, *, dry_run: bool = False
) -> tuple[Choice, tuple[str, ...]]:
    """Check what the session's Jupyter is needed for; return the choice, and the directories of programs.

    A dry run shows what is missing as a note.

    Raises:
        UsageError: it is too old for login links, or this host lacks what the application needs.
    """
    settings = loaded.settings
    notes: list[str] = []
    try:
        if settings.notebook.link == "once" or settings.limits.share is not None:
            from rps_core.launch import login_links

            note = login_links.unshareable(loaded, app, chosen)
            notes += [note] if note else []
            login_links.check(loaded, app, chosen)
        programs = applications.programs(loaded, app, chosen)
    except UsageError as error:
        if not dry_run:
            raise
        notes += [error.message, error.hint] if error.hint else [error.message]
        programs = applications.places(chosen)
    return replace(chosen, notes=(*chosen.notes, *notes)), programs


def with_built_environment(loaded: LoadedSettings, plan: Plan) -> Plan:
    """Return the plan with its environment, which was built since.

    Raises:
        UsageError: it cannot be used, or lacks what the session needs.
    """
    chosen = environment(loaded, applications.server_of(plan.app), plan.directory)
    chosen, programs = _checked(loaded, plan.app, chosen)
    return replace(plan, environment=chosen, bin=programs)


def _with_default_account(found: Plan, here: ClusterContext) -> Plan:
    cluster = here.site.cluster
    known = remembered.account(cluster)
    if known is not None:
        account, asked = known
        note = f"Charging {account}, your default allocation (cached {asked:%Y-%m-%d %H:%M})."
    else:
        answer = here.site.default_allocation(here.shell)
        if answer is None:
            return found
        account, note = answer, f"Charging {answer}, your default allocation."
        remembered.remember(cluster, account)
    return replace(found, allocation=replace(found.allocation, account=account), account_note=note)


def templates(site: Site) -> Path:
    """Return the directory of the scheduler's batch scripts."""
    return site.job_traits().templates or _BATCH


def packaged_template(text: str, site: Site) -> Path | None:
    """Return a packaged batch script by its name, such as `slurm/jupyterlab.sh`.

    None: the text is a path.

    Raises:
        UsageError: the script is for another scheduler.
    """
    scheduler, _, name = text.partition("/")
    if scheduler == site.cluster.scheduler:
        packaged = templates(site) / name
        return packaged if name == packaged.name and packaged.is_file() else None
    if scheduler in site.schedulers and name in APPS.values():
        ours = site.cluster.scheduler
        raise UsageError(
            f"the batch script {text} is for {scheduler}, but this cluster runs {ours}",
            f"Use {ours}/{name}.",
        )
    return None


def _template(loaded: LoadedSettings, text: str, site: Site) -> Path:
    """Return the batch script of `notebook.template`; an error names where it was set."""
    try:
        return find_template(text, site)
    except UsageError as error:
        key = "notebook.template"
        hint = f"{error.hint.removesuffix('.')}. Or {loaded.removal(key)}."
        raise UsageError(f"{loaded.where(key)}: {error.message}", hint) from None


def find_template(text: str, site: Site) -> Path:
    """Return a batch script: packaged by name (`slurm/jupyterlab.sh`), or by path.

    Raises:
        UsageError: the script does not exist, or is for another scheduler.
    """
    packaged = packaged_template(text, site)
    if packaged:
        return packaged
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        names = sorted(f"{site.cluster.scheduler}/{name}" for name in APPS.values())
        raise UsageError(
            f"batch script not found: {text}",
            f"Use {' or '.join(names)}, or the path of your own script.",
        )
    return path


def _check_root(here: ClusterContext) -> None:
    if not here.loaded.settings.allow_root:
        raise UsageError(
            f"rps does not start sessions as root on {here.site.cluster.name}",
            "Log in as an ordinary user: a notebook runs any command.",
        )
    log.warning("running as root", why="the notebook can run any command as root")


def requested(loaded: LoadedSettings) -> Allocation:
    """Return the allocation that the settings request, whatever the limits are."""
    job = loaded.settings.job
    gpus, gpu_type = parse_gpus(job.gpus) if job.gpus else (None, None)
    return Allocation(
        walltime=parse_walltime(job.walltime),
        account=job.account,
        partition=job.partition,
        qos=job.qos,
        reservation=job.reservation,
        constraint=job.constraint,
        nodes=job.nodes,
        tasks=job.tasks,
        cpus=job.cpus,
        gpus=gpus,
        gpu_type=gpu_type,
        memory_mb=parse_memory(job.memory) if job.memory else None,
        directives=job.directives,
        given=frozenset(
            key.removeprefix("job.")
            for key, origin in loaded.origins.items()
            if key.startswith("job.") and origin.layer == OPTIONS
        ),
    )


def _check_limits(loaded: LoadedSettings, job: JobSettings, allocation: Allocation) -> None:
    limits = loaded.settings.limits
    partition = job.partition or ""
    most = limits.partitions.get(partition, PartitionLimits())
    place = f"partition {partition}" if partition in limits.partitions else "cluster"
    walltime = most.walltime or limits.walltime
    if walltime and allocation.walltime > (longest := parse_walltime(walltime)):
        raise UsageError(
            f"{loaded.where('job.walltime')}: the walltime {format_walltime(allocation.walltime)} "
            f"exceeds the limit {format_walltime(longest)} of the {place}",
            f"Request at most {format_walltime(longest)} (-t)"
            + (", or use another partition (-p)." if len(limits.partitions) > 1 else "."),
        )
    memory = parse_memory(most.memory) if most.memory else None
    kind = allocation.gpu_type
    for key, unit, asked, allowed in (
        ("job.cpus", "cores", (allocation.cpus or 1) * allocation.tasks, most.cpus),
        ("job.memory", "MiB", allocation.memory_mb or 0, memory),
        (
            "job.gpus",
            f"GPUs of type {kind}" if kind else "GPUs",
            allocation.gpus or 0,
            _gpus(most, kind),
        ),
    ):
        if allowed == 0 and asked:
            others = [n for n, one in limits.partitions.items() if _has(one, key, kind)]
            raise UsageError(
                f"{loaded.where(key)}: {place} has no {unit}",
                f"Use a partition with {unit} (-p): {', '.join(others)}."
                if others
                else f"Request no {unit}.",
            )
        if allowed is not None and asked > allowed:
            raise UsageError(
                f"{loaded.where(key)}: {asked} {unit} per node requested, but a node of {place} has "
                f"{allowed}",
                f"Request at most {allowed} {unit}"
                + (", or use another partition (-p)." if len(limits.partitions) > 1 else "."),
            )


def _gpus(limits: PartitionLimits, kind: str | None) -> int | None:
    """Return the most GPUs of a type (None: of any) on a node; None: no limit."""
    if limits.gpus is None:
        return None
    most = parse_gpu_limit(limits.gpus)
    if None in most:
        return most[None]
    # A node may have several types, so that all of them together are the most.
    return sum(most.values()) if kind is None else most.get(kind, 0)


def _has(limits: PartitionLimits, key: str, kind: str | None) -> bool:
    """Return whether a partition may have what a dotted key of the job requests."""
    if key == "job.gpus":
        return _gpus(limits, kind) != 0
    return bool(getattr(limits, key.removeprefix("job.")) != 0)
