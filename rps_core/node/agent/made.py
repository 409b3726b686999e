"""Have the session's environment built in the job, and copied to the node's own disk."""

import glob
import json
import os
import shutil
import time
from typing import Any, Dict, List, Optional

from rps_core.node.agent.activation import activate
from rps_core.node.agent.events import End, EndCause, Events
from rps_core.node.agent.files import missing_interpreter, native
from rps_core.node.agent.kernelspec import KernelSpec
from rps_core.node.agent.processes import Processes
from rps_core.node.agent.route import Route
from rps_core.node.agent.session import Order, Session
from rps_core.node.agent.watch import Watch
from rps_core.node.agent.words import log, plain
from rps_core.node.builder.build import Runner, build
from rps_core.node.builder.cache import Cache
from rps_core.node.builder.failure import BuildError

BUILDING = "building"  # the protocol's word for what the job does
REPORT_EVERY = 20.0  # seconds; a launcher that follows the session reports without it
END_GRACE = 1.0  # seconds for a tool to end by itself
EVENT_EVERY = 2.0  # seconds between two events of a build; the log has each line


class JobRunner(Runner):
    """Runs a build's commands below the agent, which reaps and ends all that they leave."""

    def __init__(self, processes: Processes, watch: Watch) -> None:
        self._processes = processes
        self._watch = watch

    def start(self, command: List[str], **options: Any) -> Any:
        """Start a program."""
        return self._processes.start(command, umask=0o077, **options)

    def exit_code(self, process: Any) -> Optional[int]:
        """Return how it ended; None while it runs."""
        return self._processes.exit_code(process)

    def end(self, process: Any) -> None:
        """End it and what it has started."""
        self._processes.end(process, END_GRACE)

    def pause(self, seconds: float) -> None:
        """Wait (End: the job is to end)."""
        self._watch.pause(seconds)


def prepare(session: Session, app: str, watch: Watch, events: Events, route: Route) -> None:
    """Make the environment ready, and the session use it.

    Raises:
        End: it cannot be built, or offers nothing that runs notebooks.
    """
    if session.build is not None:
        found = _built(session.build, watch, events, route)
        _use(session, found, app)
        if os.path.isdir(os.path.join(found["prefix"], "conda-meta")):
            file = os.path.join(session.path, "activated")
            activate(found["prefix"], file, watch.output_of)
    if session.copy_to is not None:
        _copy(session, session.copy_to, watch)


def remove_copy(session: Session) -> None:
    """Remove the copy from the node's own disk."""
    if session.copied is not None:
        shutil.rmtree(session.copied, ignore_errors=True)


def _built(order: Order, watch: Watch, events: Events, route: Route) -> Dict[str, Any]:
    recipe, cache = order.recipe, Cache(native(order.cache))
    last, reported = [-EVENT_EVERY], [-REPORT_EVERY]

    def say(line: str) -> None:
        log("environment: " + line)
        if time.monotonic() - reported[0] >= REPORT_EVERY:
            reported[0] = time.monotonic()
            route.report_job(BUILDING)
        if time.monotonic() - last[0] >= EVENT_EVERY:
            last[0] = time.monotonic()
            events.add("building", line=line[:200])

    try:
        os.makedirs(cache.root, 0o700, exist_ok=True)
        found = build(recipe, cache, JobRunner(watch.processes, watch), say)
    except BuildError as error:
        for line in error.lines:
            log("environment: " + line)
        reason = "Cannot build the environment %s: %s" % (recipe.label, error.reason)
        if error.lines:
            reason += ": " + error.lines[-1].strip()
        raise End(EndCause.START_FAILED, reason) from None
    except OSError as error:
        reason = "Cannot build the environment %s: %s: %s"
        raise End(
            EndCause.START_FAILED, reason % (recipe.label, error.filename, plain(error))
        ) from None
    if reported[0] >= 0:
        route.report_job(None)
    events.add("built", prefix=found["prefix"])
    log("environment: %s" % found["prefix"])
    return found


def _use(session: Session, found: Dict[str, Any], app: str) -> None:
    """Have the session served by the environment, or its kernel offered by the server that was found."""
    prefix = found["prefix"]
    jupyter = os.path.join(prefix, "bin", "jupyter")
    if os.path.exists(jupyter + "-" + app) and not missing_interpreter(jupyter):
        session.program, session.fallback = jupyter, None
        return
    session.kernel = KernelSpec(_kernel(prefix, found))


def _kernel(prefix: str, found: Dict[str, Any]) -> Dict[str, Any]:
    """Return the kernelspec of an environment: ipykernel's, or the first that it has.

    The launcher does the same for an environment that it sees: `rps_core.environment.kernel`.
    """
    bin_path, also = os.path.join(prefix, "bin"), os.path.join(prefix, "share", "jupyter")
    variable = (
        "CONDA_PREFIX" if os.path.isdir(os.path.join(prefix, "conda-meta")) else "VIRTUAL_ENV"
    )
    # jupyter_client replaces `$NAME`, so a `$` of the path is written twice (string.Template).
    place = prefix.replace("$", "$$")
    spec: Dict[str, Any] = {
        "name": "python3",
        "display_name": "%s (Python %s)" % (found["label"], found.get("python")),
        "language": "python",
        "argv": [
            os.path.join(bin_path, "python"),
            "-m",
            "ipykernel_launcher",
            "-f",
            "{connection_file}",
        ],
    }
    if not found.get("python"):
        files = sorted(glob.glob(os.path.join(glob.escape(also), "kernels", "*", "kernel.json")))
        if not files:
            raise End(EndCause.START_FAILED, "The environment %s has no kernel" % prefix)
        with open(files[0], "rb") as file:
            spec = dict(
                json.loads(file.read().decode()), name=os.path.basename(os.path.dirname(files[0]))
            )
    spec["env"] = dict(spec.get("env") or {}, PATH="%s/bin:${PATH}" % place)
    spec["env"][variable] = place
    spec["also"] = [also] if os.path.isdir(also) else []
    return spec


def _copy(session: Session, to: str, watch: Watch) -> None:
    """Have the kernel run from a copy on the node's own disk; without space for it, from where it is."""
    place = os.path.expandvars(native(to))
    kernel = session.kernel
    prefix = kernel and os.path.dirname(os.path.dirname(kernel.program))
    # A venv finds itself by pyvenv.cfg; the paths of a conda prefix are written into its files.
    if not kernel or not prefix or not os.path.isfile(os.path.join(prefix, "pyvenv.cfg")):
        log("environment: not copied: only a venv is, whose kernel another Jupyter serves")
        return
    if not os.path.isdir(place):
        log("environment: not copied: there is no directory %s on this node" % place)
        return
    private = os.path.join(place, "rps-%s" % session.name)
    copy = os.path.join(private, "environment")
    began = time.monotonic()
    try:
        os.mkdir(private, 0o700)  # the place may be /tmp: what is there already is of another user
        session.copied = private
        watch.aside(lambda: shutil.copytree(prefix, copy, symlinks=True))
    except (OSError, shutil.Error) as error:
        remove_copy(session)
        log("environment: not copied to %s: %s" % (place, plain(error)[:500]))
        return
    kernel.move(prefix, copy)
    log("environment: copied to %s in %.0f s" % (copy, time.monotonic() - began))
