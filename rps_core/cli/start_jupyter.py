"""`start-jupyter`: the command that rps replaces, with its options and time.

The deployed script's options are those of its last version (`getopts "h?:d:A:g:s:p:b:t:i:fIq"`). In earlier
versions `-i` had no argument and printed details of the job, and the time was an argument of its own.
"""

from __future__ import annotations

import re
from typing import Any

import click

from rps_core.cli.commands.start import start
from rps_core.cli.main import leave, run
from rps_core.cli.options import completed
from rps_core.errors import UsageError
from rps_core.help import OUTPUT, Command, Option

# The options that set what `sbatch SCRIPT` takes from the script's own directives.
_DIRECTIVES = ("job__walltime", "job__account", "job__partition", "job__gpus")
_TIME = re.compile(r"\d[\d:-]*")
# The deployed script's batch scripts, for which rps has its own.
_BATCH = re.compile(
    r"(?:\./)?(?:(slurm|torque|slurm_expanse)/|batch/batch_)(notebook|jupyterlab)\.sh"
)
_CALL_OF_THEIRS = "redeemtoken.cgi"


def _start(*, minutes: str | None, image: str | None, force: bool, **options: Any) -> None:
    """Start a notebook and print its URL, like `rps start`.

    TIME is the walltime limit, like --time; it may stand anywhere among the options.
    """
    if image is not None and (not image or _TIME.fullmatch(image)):  # an earlier version's -i
        options["info"] = True
        if image:
            minutes = _the_same("TIME", minutes, "TIME", image)
    elif image is not None:
        key = "notebook__image"
        options[key] = _the_same("-i", image, "--image", options[key])
    if minutes is not None:
        options["job__walltime"] = _the_same("TIME", minutes, "--time", options["job__walltime"])
    if force:
        options.update(dict.fromkeys(_DIRECTIVES))
    if options["notebook__app"] == "jupyterlab":
        options["notebook__app"] = "lab"
    if options["notebook__template"] is not None:
        options["notebook__template"] = _batch_script(options["notebook__template"])
    elif options["notebook__app"] is None:
        options["notebook__app"] = "notebook"  # the deployed script's default
    if start.callback is not None:
        start.callback(profile=None, **options)


def _the_same(name: str, value: str | None, other_name: str, other: str | None) -> str | None:
    """Return the value of two options for one setting."""
    if None not in (value, other) and value != other:
        raise UsageError(
            f"{name} and {other_name} differ: {value} and {other}", "Give only one of them."
        )
    return other if value is None else value


def _batch_script(text: str) -> str:
    """Return rps's batch script in place of one that comes with the deployed script.

    Raises:
        UsageError: it is the user's copy of another of them.
    """
    from pathlib import Path

    path = Path(text).expanduser()
    try:
        theirs = _CALL_OF_THEIRS in path.read_text("utf-8", "replace")
    except OSError:  # no such file, or one that the plan reports
        theirs = False
    known = _BATCH.fullmatch(text)
    if known and (theirs or not path.is_file()):
        scheduler = "torque" if known[1] == "torque" else "slurm"
        return f"{scheduler}/{known[2]}.sh"
    if theirs:
        raise UsageError(
            f"The batch script {text} is for the service that rps replaces: it calls {_CALL_OF_THEIRS}",
            "Leave -b out: -s jupyterlab selects the application, -i IMAGE a container image, --extra adds "
            "options for the scheduler.",
        )
    return text


def _parameters() -> list[click.Parameter]:
    """Return the options of `rps start`, with the deployed script's letters."""
    ours = [option for option in start.params if not isinstance(option, click.Argument)]
    at = next(n for n, option in enumerate(ours) if option.name == "info")
    ours[at : at + 1] = [
        Option(["-I", "--info"], section=OUTPUT, is_flag=True,
               help="Print details of the job on stderr; also -i without IMAGE."),
        Option(["-i", "image"], section="Container", metavar="IMAGE", is_flag=False, flag_value="",
               help="Container image, like --image (default: none).",
               shell_complete=completed("file")),
        Option(["-f", "force"], section="Job", is_flag=True,
               help="Ignore -t, -p, -A and -g: the batch script's own directives apply."),
    ]  # fmt: skip
    at = next(n for n, option in enumerate(ours) if option.name == "notebook__app")
    ours[at] = Option(["-s", "--app", "notebook__app"], section="Notebook", metavar="APP",
                      help="Application: notebook, lab or jupyterlab (default: notebook).",
                      shell_complete=completed("app"))  # fmt: skip
    return [*ours, click.Argument(["minutes"], required=False, metavar="[TIME]")]


command = Command(
    "start-jupyter",
    params=_parameters(),
    callback=_start,
    help=_start.__doc__,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run `start-jupyter`: the entry point."""
    run(command)
    leave()
