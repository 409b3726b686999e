"""The options of the commands, and what the common ones lead to; those of `rps start` each set one key of
the configuration."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rps_core.cluster import Here
    from rps_core.settings import Given
    from rps_core.store import Store

Command = TypeVar("Command", bound=Callable[..., Any])

# Flags, key, placeholder, help. A placeholder that ends in … may be given more than once.
_SETTINGS = (
    ("-s --app", "notebook.app", "APP", "What to start: lab or notebook."),
    ("-d --directory", "notebook.directory", "DIR", "The notebook's top directory."),
    ("-t --time", "job.walltime", "TIME", "Minutes, HH:MM:SS or D-HH:MM:SS."),
    ("--idle", "notebook.idle_timeout", "TIME", "End the session after so long without work."),
    ("-p --partition", "job.partition", "NAME", "The partition or queue."),
    ("-A --account", "job.account", "NAME", "The allocation to charge."),
    ("-g --gpus", "job.gpus", "N", "GPUs for each node."),
    ("-c --cpus", "job.cpus", "N", "Cores for each task."),
    ("-m --memory", "job.memory", "SIZE", "Memory for each node: 2G, 2048M; a plain 2 means GB."),
    ("--nodes", "job.nodes", "N", "Nodes; the notebook runs on the first."),
    ("--qos", "job.qos", "NAME", "The quality of service."),
    ("--reservation", "job.reservation", "NAME", "A reservation."),
    ("--constraint", "job.constraint", "FEATURES", "Features that the node must have."),
    ("--extra", "job.directives", "OPTION…", "One more option for the scheduler."),
    ("--modules", "notebook.modules", "NAME…", "Modules to load first; also with commas."),
    ("--conda-env", "notebook.conda_env", "ENV", "A conda environment to activate."),
    ("--prologue", "notebook.prologue", "FILE", "A shell file to read before the notebook starts."),
    ("--image", "notebook.image", "IMAGE", "A container image to run the notebook in."),
    ("--bind", "notebook.bind", "PATH…", "A directory that the container sees too."),
    ("-b --batch", "notebook.template", "SCRIPT", "slurm/notebook.sh and the like, or your own."),
)
_NV = "notebook.nv"
_IN_A_JOB = ("SLURM_JOB_ID", "PBS_JOBID")
# What the shell completes after an option: a kind of `completion.KINDS`, or a rule of its own.
_COMPLETED = {
    "job.account": "account",
    "job.partition": "partition",
    "notebook.app": "app",
    "notebook.bind": "dir",
    "notebook.conda_env": "conda",
    "notebook.directory": "dir",
    "notebook.image": "file",
    "notebook.prologue": "file",
    "notebook.template": "file",
}


def completed(what: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """What click asks when a value of this kind is to be completed; "" completes nothing."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
        from rps_core import completion

        del parameter
        if what in completion.KINDS:
            return completion.cached(what, context, incomplete)
        if what in ("living", "any"):
            return completion.sessions(incomplete, ended=what == "any")
        if what in ("dir", "file"):
            return completion.files(incomplete, what)
        if what == "conda":
            return completion.conda_environments(incomplete)
        return [app for app in ("lab", "notebook") if what == "app" and app.startswith(incomplete)]

    return complete


def settings(command: Command) -> Command:
    """The options of `rps start` that set keys; collected by `chosen`."""
    command = click.option("--nv", _name(_NV), is_flag=True, default=None,
                           help="Give the container the NVIDIA driver.")(command)  # fmt: skip
    for flags, key, placeholder, text in reversed(_SETTINGS):
        option = click.option(
            *flags.split(), _name(key), metavar=placeholder, multiple=placeholder.endswith("…"), help=text,
            shell_complete=completed(_COMPLETED.get(key, "")),
        )  # fmt: skip
        command = option(command)
    return command


def chosen(options: dict[str, Any]) -> dict[str, object]:
    """Take the values that were given out of `options`, by key."""
    found: dict[str, object] = {}
    for key in [*(key for _, key, _, _ in _SETTINGS), _NV]:
        value = options.pop(_name(key))
        if key == "notebook.modules":
            value = [name for text in value for name in text.replace(",", " ").split()]
        if value is not None and value not in ((), []):
            found[key] = list(value) if isinstance(value, tuple) else value
    return found


def common(command: Command) -> Command:
    """The options that every command of the launcher takes."""
    for option in (
        click.option("--cluster", metavar="NAME", help="The cluster, in place of detecting it.",
                     shell_complete=completed("cluster")),
        click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True,
                     help="Set a configuration key; may be repeated."),
        click.option("-v", "--verbose", count=True, help="Say what is done; -vv in detail."),
        click.option("--log-format", type=click.Choice(["text", "json"]), default="text",
                     help="The form of log lines, on stderr."),
    ):  # fmt: skip
        command = option(command)
    return command


as_json = click.option("--json", "as_json", is_flag=True, help="Print data as JSON.")

optional_name = click.argument("name", required=False, shell_complete=completed("living"))
# Of a session that may have ended.
any_name = click.argument("name", required=False, shell_complete=completed("any"))


def configure_log(options: dict[str, Any]) -> None:
    """As the common options say."""
    import gc

    from rps_core import log

    # A command makes little garbage: by default Python looks for it 60 times during our imports alone.
    gc.set_threshold(100_000)

    log.configure(verbosity=options["verbose"], log_format=options["log_format"])


def store(options: dict[str, Any]) -> Store:
    """The sessions of this user."""
    from rps_core import paths
    from rps_core.store import Store

    configure_log(options)
    return Store(paths.sessions_dir())


def in_a_job() -> bool:
    """Whether this shell says that it is a job's."""
    return not os.environ.keys().isdisjoint(_IN_A_JOB)


def find(
    options: dict[str, Any], given: Given | None = None, *, inside: bool | None = None
) -> tuple[Here, Store]:
    """The cluster we are on, with what was given to the command (`given`: more than `--set`) on top of its
    configuration, and the sessions. `inside`: whether a compute node will do (`Plugins.detect`); None: in the
    shell of a job, where sessions are looked after and ended too.

    Raises:
        DetectionError, UsageError: see `cluster.find`.
    """
    from rps_core import cluster
    from rps_core.settings import Given

    sessions = store(options)
    if inside is None:
        inside = in_a_job()
    given = given or Given(assignments=options["assignments"])
    return cluster.find(options["cluster"], given, inside=inside), sessions


def _name(key: str) -> str:
    return key.replace(".", "__")
