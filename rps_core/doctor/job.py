"""Checks of the job: allocation, plan, Jupyter and Python."""

from __future__ import annotations

import platform
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rps_core.doctor.checkup import Checkup, Finding, NotChecked, failed, passed, warned
from rps_core.errors import RpsError, SchedulerError
from rps_core.installation import jupyter_advice
from rps_core.launch import default_account as remembered
from rps_core.launch import login_links
from rps_core.launch import plan as planning
from rps_core.system import paths
from rps_core.system.shell import Finished
from rps_core.units import format_walltime
from rps_core.version import __version__

_SHOWN = 8  # allocations
_JUPYTER_TIME = 25.0  # seconds: modules and Jupyter's many files may be on a network file system
_LOGIN = re.compile(r"#!.*\s(?:-[a-z]*l|--login)")
_CAME_BACK = "rps: the login shell runs commands"
# The same steps as in a batch script before the agent, then the agent's command with --version.
_TRY = """
export RPS_SESSION=$1; shift
rps_python=$1 rps_choose=$2; shift 2
. "$RPS_SESSION/prepare.sh" >&2
rps_jupyter=$("$rps_python" -I -c "$rps_choose" "$RPS_SESSION" "$@") || exit
exec "$rps_jupyter" "$1" --version
"""
_CHOOSE = """
import sys
from rps_core.node.agent.events import End
from rps_core.node.agent.program import server_program
directory, app, program, *fallback = sys.argv[1:]
try:
    print(server_program(program, *fallback or [None], app, directory))
except End as end:
    sys.exit(end.reason)
"""


def launcher(case: Checkup) -> Iterator[Finding]:
    """Report the versions of rps and its Python."""
    del case
    yield passed(f"rps {__version__}, Python {platform.python_version()} ({sys.executable})")


def allocation(case: Checkup) -> Iterator[Finding]:
    """Check the allocation to charge, and list the user's others."""
    loaded, site = case.the_settings(), case.the_site()
    try:
        every = site.allocations(case.shell)
    except SchedulerError:  # not an own finding: a failure matters only below
        every = []
    configured = loaded.settings.job.account
    if configured:
        where = loaded.where("job.account")
        if every and configured not in every:
            yield warned(
                f"{configured}, from {where}, is not one of your allocations: {_some(every)}",
                "Correct `job.account`, or ask the cluster's support whether the allocation has expired.",
            )
        else:
            yield passed(f"{configured}, from {where}{_others(every, configured)}")
        return
    if loaded.settings.limits.require_account:
        yield failed(
            f"{site.cluster.name} requires an allocation, and none is configured{_others(every, '')}",
            "Set `job.account` in ~/.config/rps/config.yaml, or use -A.",
        )
        return
    known = remembered.account(site.cluster)
    try:
        account = site.default_allocation(case.shell)
    except SchedulerError as error:
        yield warned(f"could not query your default allocation: {error.message}", error.hint)
        return
    if account is None:
        yield passed(
            "none configured or found: the scheduler uses your default, if you have one"
            + _others(every, "")
        )
        return
    remembered.remember(site.cluster, account)
    changed = f" (previously {known[0]})" if known and known[0] != account else ""
    yield passed(f"{account}, your default{changed}{_others(every, account)}")


def _others(every: Sequence[str], account: str) -> str:
    others = [name for name in every if name != account]
    return f"; your {'other ' if account else ''}allocations: {_some(others)}" if others else ""


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" and more" if len(names) > _SHOWN else "")


def plan(case: Checkup) -> Iterator[Finding]:
    """Check everything else that `rps start` checks before it calls the scheduler."""

    def no_program(*argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        del stdin, timeout
        raise SchedulerError(f"{argv[0]} was called by an earlier check")

    try:
        found = planning.plan(replace(case.here(), shell=no_program))
    except RpsError as error:
        yield failed(
            error.message,
            error.hint or "`rps config --origins` shows every setting and its source.",
        )
        return
    case.plan = found
    time = format_walltime(found.allocation.walltime)
    where = found.allocation.partition or "the scheduler's default"
    yield passed(f"{found.app} for {time} in {found.directory}, partition or queue: {where}")
    loaded, chosen = case.the_settings(), found.environment
    unshareable = login_links.unshareable(loaded, found.app, chosen)
    if unshareable:
        yield warned(unshareable, login_links.advice(loaded, found.app, chosen))


def login_shell(case: Checkup) -> Iterator[Finding]:
    """Check that a login shell, with which jobs begin, comes back from its files."""
    if case.plan is not None and not _LOGIN.match(_first_line(case.plan.template)):
        yield passed("not needed: the batch script starts none")
        return
    files = "~/.bash_profile, ~/.bash_login or ~/.profile"
    try:
        done = case.shell("bash", "-l", "-c", f"echo '{_CAME_BACK}'")
    except SchedulerError as error:
        yield failed(
            f"a login shell does not come back: {error.message}",
            f"Jobs begin with one. Find what waits in {files}.",
        )
        return
    if _CAME_BACK in done.stdout.splitlines():
        yield passed("`bash -l` comes back from your startup files")
        return
    said = (done.stderr.strip() or done.stdout.strip()).splitlines()
    words = f": {said[-1]}" if said else ""
    yield failed(
        "a login shell ends, or becomes another program, before it runs a command "
        f"(exit code {done.code}){words}",
        f"Jobs begin with one and end there. In {files}, run `exec` and `exit` only in interactive shells: "
        "[[ $- == *i* ]] && exec zsh",
    )


def _first_line(template: Path) -> str:
    with template.open(errors="replace") as stream:
        return stream.readline(256)


def jupyter(case: Checkup) -> Iterator[Finding]:
    """Run Jupyter with a job's modules, conda environment and prologue loaded."""
    loaded = case.the_settings()
    notebook = loaded.settings.notebook
    if notebook.image:
        yield passed(f"in the image {notebook.image}, which is not checked here")
        return
    made = [f"the module {name}" for name in notebook.modules]
    made += [f"the conda environment {notebook.conda_env}"] if notebook.conda_env else []
    made += [f"the prologue {notebook.prologue}"] if notebook.prologue else []
    place = f"with {' and '.join(made)}" if made else "on the PATH"
    if case.plan is None:
        raise NotChecked("the plan is not valid")
    try:
        done = _version(case, case.plan)
    except SchedulerError as error:
        yield failed(error.message, error.hint)
        return
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    output = lines[-1].strip() if lines else "no output"
    command = f"`{case.plan.environment.jupyter} {case.plan.app} --version`"
    advice = jupyter_advice(notebook.install_hint, case.plan.app)
    if done.code == 0:
        yield passed(f"{command} {place}: {output}")
    elif made:  # a login node may lack the modules of the compute nodes
        yield warned(
            f"{command} {place} fails on this host: {output}",
            "Ignore this if only the compute nodes have it; `rps start --wait` tests it there. "
            f"Otherwise: {advice}",
        )
    else:
        yield failed(f"{command} fails: {output}", advice)


def _version(case: Checkup, plan: planning.Plan) -> Finished:
    """Run the application with --version, as a job would start it.

    Raises:
        SchedulerError: it takes too long.
    """
    chosen = plan.environment
    # Another user who can write there could replace the scripts that run from it.
    paths.check(Path(tempfile.gettempdir()), "Or set TMPDIR to another directory.")
    with tempfile.TemporaryDirectory(prefix="rps-doctor-") as name:
        session = Path(name)
        prepare = Path(planning.__file__).parents[1] / "batch" / "prepare.sh"
        (session / "prepare.sh").write_text(prepare.read_text("utf-8"))
        (session / "modules").write_text("".join(f"{one}\n" for one in chosen.modules))
        (session / "conda-env").write_text(f"{chosen.conda_env}\n" if chosen.conda_env else "")
        (session / "conda-variables").write_text(chosen.conda_variables())
        if plan.prologue:
            (session / "prologue.sh").write_text(plan.prologue)
        argv = ["bash", "-l", "-c", _TRY, "rps-doctor", name, sys.executable, _CHOOSE]
        argv += [plan.app, chosen.jupyter]
        argv += [chosen.fallback] if chosen.fallback else []
        try:
            return case.run(*argv, timeout=min(_JUPYTER_TIME, case.left()))
        except SchedulerError as error:
            command = shlex.join([chosen.jupyter, plan.app, "--version"])
            raise SchedulerError(
                f"`{command}` did not finish within {_JUPYTER_TIME:.0f} s",
                "Check for a hanging file system, or an environment that takes long to load.",
            ) from error
