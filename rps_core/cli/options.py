"""The options of the commands. Those of jobs and notebooks set configuration keys."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click

from rps_core.errors import UsageError
from rps_core.help import COMMON, OPTIONS, Option
from rps_core.help import Command as SectionedCommand

Command = TypeVar("Command", bound=Callable[..., Any])

# By section of `--help`: flags, key, metavar, help. The defaults are those of rps_conf/defaults.yaml.
_SETTINGS = {
    "Job": (
        ("-t --time", "job.walltime", "TIME",
         "Walltime limit: minutes, HH:MM:SS or D-HH:MM:SS (default: 30 minutes)."),
        ("-p --partition", "job.partition", "NAME", "Partition or queue (default: the scheduler's)."),
        ("-A --account", "job.account", "NAME",
         "Allocation to charge (default: yours in the scheduler's accounting)."),
        ("--nodes", "job.nodes", "N", "Number of nodes; the notebook runs on the first (default: 1)."),
        ("-c --cpus", "job.cpus", "N", "Cores per task (default: the scheduler's)."),
        ("-g --gpus", "job.gpus", "GPUS", "GPUs per node: 2, a100 or a100:2 (default: none)."),
        ("-m --memory", "job.memory", "SIZE",
         "Memory per node: 2G, 2048M; a plain number means GB (default: the scheduler's)."),
        ("--qos", "job.qos", "NAME", "Quality of service (default: the scheduler's)."),
        ("--reservation", "job.reservation", "NAME", "Reservation to use (default: none)."),
        ("--constraint", "job.constraint", "FEATURES", "Required node features (default: none)."),
        ("--extra", "job.directives", "OPTION",
         "Additional option for the scheduler; repeatable (default: none)."),
    ),
    "Notebook": (
        ("-s --app", "notebook.app", "APP",
         "Application: lab, notebook, vscode, streamlit, command …, or one of `apps` (default: lab)."),
        ("-d --directory", "notebook.directory", "DIR",
         "Top directory of the notebook (default: your home directory)."),
        ("-b --batch", "notebook.template", "FILE",
         "Batch script: a packaged one, such as slurm/notebook.sh, or your own (default: packaged)."),
        ("--prologue", "notebook.prologue", "FILE",
         "Shell file that the job reads before the notebook starts (default: none)."),
    ),
    "Environment": (
        ("--venv", "notebook.venv", "DIR",
         "Environment of the notebook: a venv, a conda or a pixi environment (default: the project's)."),
        ("--modules", "notebook.modules", "NAME",
         "Environment modules to load; repeatable, or separated by commas (default: none)."),
        ("--conda-env", "notebook.conda_env", "NAME", "Conda environment, by name or path (default: none)."),
        ("--jupyter", "notebook.jupyter", "FILE",
         "Jupyter's program; `rps` for rps's own, `site` for the site's (default: the environment's)."),
        ("--env", "notebook.env", "FILE",
         "Build the environment from this file, once for its content: environment.yml, requirements.txt, "
         "pyproject.toml, uv.lock or pixi.lock (default: none)."),
        ("--with", "notebook.packages", "NAME",
         "Build an environment with these packages; repeatable, or separated by commas (default: none)."),
    ),
    "Container": (
        ("--image", "notebook.image", "FILE", "Container image to run the notebook in (default: none)."),
        ("--bind", "notebook.bind", "PATH",
         "Additional path visible in the container; repeatable (default: none)."),
    ),
    "Session": (
        ("--idle", "notebook.idle_timeout", "TIME",
         "End the session after TIME of inactivity (default: never)."),
    ),
}  # fmt: skip
_REPEATABLE = ("job.directives", "notebook.modules", "notebook.packages", "notebook.bind")
_NV = "notebook.nv"
_ARGUMENTS = "rps_core.cli.options.arguments"  # in click's `Context.meta`
# What the shell completes after an option: a kind of `completion.KINDS`, or one that `completed` knows.
_COMPLETED = {
    "job.account": "account",
    "job.partition": "partition",
    "notebook.app": "app",
    "notebook.bind": "dir",
    "notebook.conda_env": "conda",
    "notebook.directory": "dir",
    "notebook.env": "file",
    "notebook.image": "file",
    "notebook.prologue": "file",
    "notebook.jupyter": "file",
    "notebook.template": "file",
    "notebook.venv": "dir",
}


def completed(what: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """Return click's completion function for values of one kind; "" completes nothing."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
        from rps_core.cli import completion

        del parameter
        if what in completion.KINDS:
            return completion.cached(what, context, incomplete)
        if what in ("living", "ended", "any"):
            return completion.sessions(incomplete, what)
        if what in ("dir", "file"):
            return completion.files(incomplete, what)
        if what == "conda":
            return completion.conda_environments(incomplete)
        if what == "host":
            return completion.hosts(incomplete)
        return completion.applications(context, incomplete) if what == "app" else []

    return complete


def settings(command: Command) -> Command:
    """Add the options of `rps start` that set keys; `chosen` collects them."""
    added = [
        click.option(
            *flags.split(), _name(key), cls=Option, section=section, metavar=placeholder, help=text,
            multiple=key in _REPEATABLE, shell_complete=completed(_COMPLETED.get(key, "")),
        )
        for section, options in _SETTINGS.items()
        for flags, key, placeholder, text in options
    ]  # fmt: skip
    added.append(
        click.option("--nv", _name(_NV), cls=Option, section="Container", is_flag=True, default=None,
                     help="Make the node's NVIDIA driver available in the container.")
    )  # fmt: skip
    for option in reversed(added):
        command = option(command)
    return command


def chosen(options: dict[str, Any]) -> dict[str, object]:
    """Remove the options of `settings`; return the given ones by configuration key."""
    found: dict[str, object] = {}
    keys = [key for entries in _SETTINGS.values() for _, key, _, _ in entries]
    for key in [*keys, _NV]:
        value = options.pop(_name(key))
        if key == "notebook.modules":
            value = [name for text in value for name in text.replace(",", " ").split()]
        if value is not None and value not in ((), []):
            found[key] = list(value) if isinstance(value, tuple) else value
    context = click.get_current_context(silent=True)
    arguments = arguments_of(context) if context else None
    if arguments is not None:
        found["notebook.arguments"] = arguments
    return found


def flags(settings: Iterable[str]) -> dict[str, str]:
    """Return the options that set these configuration keys, as error messages name them."""
    named = {key: flag.split()[-1] for rows in _SETTINGS.values() for flag, key, _, _ in rows}
    return {key: named[key] for key in settings if key in named} | {_NV: "--nv"}


def arguments_of(context: click.Context) -> list[str] | None:
    """Return what stood after `--`, for a command that is `WithArguments`; None: there was no `--`."""
    found: list[str] | None = context.meta.get(_ARGUMENTS)
    return found


class WithArguments(SectionedCommand):
    """A command that takes the application's arguments after `--`, whatever they look like."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what is behind the first `--` for `arguments_of`; click calls this."""
        if "--" in args:
            at = args.index("--")
            ctx.meta[_ARGUMENTS] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show it in the usage line; click calls this."""
        return [*super().collect_usage_pieces(ctx), "[-- ARGUMENT...]"]


def as_words(options: dict[str, Any]) -> list[str]:
    """Remove the options of `settings`; return the given ones as words of a command line."""
    words: list[str] = []
    entries = [(flags, key) for listed in _SETTINGS.values() for flags, key, _, _ in listed]
    for flags, key in entries:
        value = options.pop(_name(key))
        flag = flags.split()[-1]
        given = value if isinstance(value, tuple) else () if value is None else (value,)
        words += [f"{flag}={each}" for each in given]
    return words + (["--nv"] if options.pop(_name(_NV)) else [])


def common(command: Callable[..., None]) -> Callable[..., None]:
    """Add the common options; pass the command the `Application` that they make."""

    @functools.wraps(command)
    def run(
        *, cluster: str | None, assignments: tuple[str, ...], verbose: int, log_format: str, **options: Any
    ) -> None:  # fmt: skip
        configure_log(verbose, log_format)
        from rps_core.sessions.application import Application

        context = click.get_current_context()
        context.obj = Application(cluster, assignments)
        command(context.obj, **options)

    for option in reversed((
        click.option("--cluster", cls=Option, section=COMMON, metavar="NAME",
                     help="Cluster to use (default: detected).", shell_complete=completed("cluster")),
        click.option("--set", "assignments", cls=Option, section=COMMON, metavar="KEY=VALUE", multiple=True,
                     help="Configuration key to set; repeatable (default: none)."),
        click.option("-v", "--verbose", cls=Option, section=COMMON, count=True,
                     help="Log each step on stderr; -vv in detail (default: warnings only)."),
        click.option("--log-format", cls=Option, section=COMMON, type=click.Choice(["text", "json"]),
                     default="text", help="Format of the log lines on stderr (default: text)."),
    )):  # fmt: skip
        run = option(run)
    return run


def json_option(section: str) -> Callable[[Command], Command]:
    """Return the option `--json`, for one section of `--help`."""
    return click.option("--json", "as_json", cls=Option, section=section, is_flag=True,
                        help="Print JSON (default: text).")  # fmt: skip


as_json = json_option(OPTIONS)


optional_name = click.argument("name", required=False, shell_complete=completed("living"))
# Of a session that may have ended.
any_name = click.argument("name", required=False, shell_complete=completed("any"))


def refuse_beside(first: str, others: Mapping[str, object]) -> None:
    """Refuse options that would have no effect.

    Args:
        first: the option beside which they have none.
        others: their values, by option; None and False: it was not given.

    Raises:
        UsageError: one was given.
    """
    for flag, value in others.items():
        if value is not None and value is not False:
            raise UsageError(f"{first} and {flag} cannot be combined", "Give only one of them.")


def refuse_before_subcommand(context: click.Context) -> None:
    """Refuse a group's own options before the name of one of its commands, which does not see them.

    Raises:
        UsageError: one stands there.
    """
    command = f"{context.command_path} {context.invoked_subcommand}"
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is click.core.ParameterSource.COMMANDLINE:
            raise UsageError(
                f"{parameter.opts[-1]} stands before the command `{command}`, which does not see it",
                f"Put it after the command: `{command} --help` lists the options.",
            )


def configure_log(verbose: int, log_format: str) -> None:
    """Configure the log by the common options."""
    from rps_core import log

    level = log.LEVELS[min(verbose, len(log.LEVELS) - 1)]
    log.configure(level=level, log_format=log_format)


def in_a_job() -> bool:
    """Return whether this shell runs in a job of an installed scheduler."""
    from rps_core.hooks.manager import Plugins

    return Plugins.load().in_a_job(os.environ)


def _name(key: str) -> str:
    return key.replace(".", "__")
