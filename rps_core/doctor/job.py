"""What a job would be: its plan, the allocation that pays, Jupyter and Python."""

from __future__ import annotations

import platform
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rps_core import planning, remembered
from rps_core.doctor.case import Case, Finding, NotChecked, failed, passed, warned
from rps_core.errors import RpsError, SchedulerError
from rps_core.quantities import format_walltime
from rps_core.shell import Finished
from rps_core.version import __version__

_SHOWN = 8  # allocations
_JUPYTER_TIME = 25.0  # seconds: modules and Jupyter's many files, from a network's disk
# What a batch script does before it starts the agent, and then what the agent starts, with --version.
_TRY = """
export RPS_SESSION=$1; shift
. "$RPS_SESSION/prepare.sh" >&2
exec "$@"
"""


def launcher(case: Case) -> Iterator[Finding]:
    """rps itself, and the Python that runs it."""
    del case
    yield passed(f"rps {__version__}, Python {platform.python_version()} ({sys.executable})")


def allocation(case: Case) -> Iterator[Finding]:
    """Who pays, and who else could."""
    loaded, site = case.the_settings(), case.the_site()
    try:
        every = site.allocations(case.shell)
    except SchedulerError:  # no line of its own: who pays is known otherwise, or told below
        every = []
    configured = loaded.settings.job.account
    if configured:
        where = loaded.where("job.account")
        if every and configured not in every:
            yield warned(
                f"{configured}, from {where}, is not among yours: {_some(every)}",
                "Mend `job.account`, or ask the cluster's support whether it has ended.",
            )
        else:
            yield passed(f"{configured}, from {where}{_others(every, configured)}")
        return
    if loaded.settings.limits.require_account:
        yield failed(
            f"an allocation must be named on {site.cluster.name}{_others(every, '')}",
            "Set `job.account` in ~/.config/rps/config.yaml, or give -A.",
        )
        return
    known = remembered.account(site.cluster)
    try:
        account = site.default_allocation(case.shell)
    except SchedulerError as error:
        yield warned(f"your default could not be asked for: {error.message}", error.hint)
        return
    if account is None:
        yield passed(
            "none is configured or known: the scheduler takes your default, if it has one"
            + _others(every, "")
        )
        return
    remembered.remember(site.cluster, account)
    changed = (
        f" (until now rps took {known[0]}, as it was)" if known and known[0] != account else ""
    )
    yield passed(f"{account}, your default{changed}{_others(every, account)}")


def _others(every: Sequence[str], account: str) -> str:
    others = [name for name in every if name != account]
    return f"; yours {'too ' if account else ''}are {_some(others)}" if others else ""


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" and more" if len(names) > _SHOWN else "")


def plan(case: Case) -> Iterator[Finding]:
    """All else that `rps start` checks before it asks anybody."""

    def nobody(*argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        del stdin, timeout
        raise SchedulerError(f"{argv[0]} was asked above")

    try:
        found = planning.plan(case.here(), nobody)
    except RpsError as error:
        yield failed(error.message, error.hint or "`rps config --origins` shows every setting.")
        return
    case.plan = found
    time = format_walltime(found.allocation.walltime)
    where = found.allocation.partition or "the scheduler's default"
    yield passed(f"{found.app} for {time}, partition or queue: {where}; in {found.directory}")


def jupyter(case: Case) -> Iterator[Finding]:
    """The program, in the environment that a job makes: modules, conda and prologue are really taken."""
    loaded = case.the_settings()
    notebook = loaded.settings.notebook
    if notebook.image:
        yield passed(f"inside the image {notebook.image}, which is not looked into from here")
        return
    made = [f"the module {name}" for name in notebook.modules]
    made += [f"the conda environment {notebook.conda_env}"] if notebook.conda_env else []
    made += [f"the prologue {notebook.prologue}"] if notebook.prologue else []
    place = f"with {' and '.join(made)}" if made else "on the PATH"
    if case.plan is None:
        raise NotChecked("there is no plan")
    try:
        done = _version(case, case.plan)
    except SchedulerError as error:
        yield failed(error.message, error.hint)
        return
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    told = lines[-1].strip() if lines else "it says nothing"
    command = f"`{case.plan.jupyter} {case.plan.app} --version`"
    if done.code == 0:
        yield passed(f"{command} {place}: {told}")
    elif made:  # a login node need not have what the nodes have
        yield warned(
            f"{command} {place} fails on this host: {told}",
            "If the nodes have more than this host, that is all right: `rps start --wait` shows it. "
            f"Else: {notebook.install_hint}",
        )
    else:
        yield failed(f"{command} fails: {told}", notebook.install_hint)


def _version(case: Case, plan: planning.Plan) -> Finished:
    """The application, asked for its version as a job would start it.

    Raises:
        SchedulerError: it takes too long.
    """
    notebook = case.the_settings().settings.notebook
    with tempfile.TemporaryDirectory(prefix="rps-doctor-") as name:
        session = Path(name)
        prepare = Path(planning.__file__).parent / "batch" / "prepare.sh"
        (session / "prepare.sh").write_text(prepare.read_text("utf-8"))
        (session / "modules").write_text("".join(f"{one}\n" for one in notebook.modules))
        (session / "conda-env").write_text(f"{notebook.conda_env}\n" if notebook.conda_env else "")
        if plan.prologue:
            (session / "prologue.sh").write_text(plan.prologue)
        argv = ["bash", "-l", "-c", _TRY, "rps-doctor", name, plan.jupyter, plan.app, "--version"]
        try:
            return case.run(*argv, timeout=min(_JUPYTER_TIME, case.left()))
        except SchedulerError as error:
            told = f"`{shlex.join([plan.jupyter, plan.app, '--version'])}` gave no answer"
            raise SchedulerError(
                f"{told} within {_JUPYTER_TIME:.0f} s",
                "A file system that hangs, or an environment that takes so long to load?",
            ) from error
