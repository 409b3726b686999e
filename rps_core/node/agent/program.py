"""Find the program that serves the session: the job's own Jupyter, else the one found before the job."""

import os
import shutil
from typing import Optional

from rps_core.node.agent.architecture import other_machine
from rps_core.node.agent.events import End, EndCause
from rps_core.node.agent.files import missing_interpreter, native, read_file
from rps_core.node.agent.words import log

PATH_BEFORE = "path-before"  # prepare.sh: the job's PATH before modules, conda and the prologue


def server_program(program: str, fallback: Optional[str], app: str, directory: str) -> str:
    """Return the path of the Jupyter that serves a session, outside of a container.

    A name is looked for on the job's PATH. The one there counts first if the job itself made it (a module,
    conda or the prologue); then the one that the launcher found; then whatever the node has.

    Args:
        program: a path, or a name.
        fallback: the path of the one that the launcher found; None: it found none, or looked for none.
        app: Jupyter's application, such as `lab`.
        directory: the session's.

    Raises:
        End: there is none that can be run.
    """
    if "/" in program or fallback is None:
        return found(program)
    on_path = _with_app(program, app, None)
    if on_path is not None and on_path != _with_app(program, app, _path_before(directory)):
        return on_path
    if _is_whole(native(fallback)):
        return native(fallback)
    if on_path is not None:
        log("%s is not on this node: using %s" % (fallback, on_path))
        return on_path
    try:
        return found(program)
    except End as end:
        raise End(end.cause, "%s, and %s cannot be run either" % (end.reason, fallback)) from None


def found(program: str) -> str:
    """Return the path of a program.

    Raises:
        End: it is not on this node, or cannot be run.
    """
    path = shutil.which(native(program))
    if path is not None:
        interpreter = missing_interpreter(path)
        if interpreter is None:
            check_architecture(path)
            return path
        gone = "`%s` cannot be run on this node: its interpreter %s is missing"
        raise End(EndCause.START_FAILED, gone % (path, interpreter))
    if "/" not in program:
        on_path = "There is no program `%s` on this node. The job's PATH is %s"
        raise End(EndCause.START_FAILED, on_path % (program, os.environ.get("PATH", "empty")))
    if os.path.isfile(native(program)):
        raise End(EndCause.START_FAILED, "`%s` is not executable on this node" % program)
    raise End(EndCause.START_FAILED, "There is no program `%s` on this node" % program)


def check_architecture(path: str) -> None:
    """Check that a program, or its interpreter, was built for this node's processor (End: it was not)."""
    other = other_machine(path)
    if other is not None:
        words = "`%s` is for %s, and this node, %s, is %s"
        here = os.uname()
        raise End(EndCause.START_FAILED, words % (path, other, here.nodename, here.machine))


def _with_app(program: str, app: str, path: Optional[str]) -> Optional[str]:
    """Return a program on the PATH (None: the present one) that can be run and has the application."""
    at = shutil.which(native(program), path=path)
    if at is None or not _is_whole(at):
        return None
    # As jupyter_core looks for its subcommands: beside itself, then on the PATH.
    name = "jupyter-" + app
    beside = shutil.which(name, path=os.path.dirname(at))
    return at if beside or shutil.which(name, path=path) else None


def _path_before(directory: str) -> str:
    """Return the PATH that the job began with; empty: the batch script has not recorded it."""
    try:
        return os.fsdecode(read_file(os.path.join(directory, PATH_BEFORE))).rstrip("\n")
    except OSError:
        return ""


def _is_whole(path: str) -> bool:
    usable = os.access(path, os.X_OK) and missing_interpreter(path) is None
    return usable and other_machine(path) is None
