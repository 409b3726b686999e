"""Run one session on the node, from its files to its end."""

import os
import socket
import sys
import traceback
from typing import Optional, Tuple

from rps_core.node.agent.application import start_application
from rps_core.node.agent.events import End, EndCause, Events
from rps_core.node.agent.files import UnsafeFile
from rps_core.node.agent.idle_care import IdleCare
from rps_core.node.agent.jupyter import check_port_range
from rps_core.node.agent.lease import Lease
from rps_core.node.agent.made import prepare, remove_copy
from rps_core.node.agent.notebook import Notebook
from rps_core.node.agent.processes import Processes, start_ticks
from rps_core.node.agent.route import Route
from rps_core.node.agent.run_directory import RunDirectory
from rps_core.node.agent.satellite_route import SatelliteRoute
from rps_core.node.agent.session import Session
from rps_core.node.agent.time_care import TimeCare
from rps_core.node.agent.time_limit import TimeLimit
from rps_core.node.agent.wake import Wake
from rps_core.node.agent.watch import KILL_DELAY_PART, Watch
from rps_core.node.agent.words import log, plain

STOP_GRACE = 5.0  # seconds for the application to end its kernels
REST_GRACE = 1.0  # seconds for what is left then
# Ends with which the job is no failure.
_GOOD = (EndCause.SIGNAL, EndCause.REVOKED, EndCause.TIME_LIMIT, EndCause.IDLE)


class Agent:
    """One session; `run` returns the exit status, 0 for an orderly end.

    `path` is the session's directory, `app` Jupyter's application.
    """

    def __init__(self, path: str, app: str, wake: Wake) -> None:
        self.path = path
        self.app = app
        self.wake = wake
        self.events = Events(path)
        self.processes = Processes()
        self.run_directory = RunDirectory(path)
        self.route: Optional[Route] = None  # until the session's files have been read
        self.session: Optional[Session] = None
        self.notebook: Optional[Notebook] = None
        self.kill_delay = 30.0  # seconds; the scheduler's, once the session's files have been read

    def run(self) -> int:
        """Do everything, from reading the session's files to removing its secrets."""
        try:
            self.live()
        except End as end:
            return self.finish(end)
        except UnsafeFile as error:
            return self.finish(End(EndCause.START_FAILED, "%s: refused" % error))
        except OSError as error:
            where = " (%s)" % error.filename if error.filename else ""
            return self.finish(End(EndCause.START_FAILED, plain(error) + where))
        except Exception as error:  # noqa: BLE001 - after a defect too, nothing may be left behind
            traceback.print_exc()
            name = type(error).__name__
            return self.finish(
                End(EndCause.START_FAILED, "A defect in the agent: %s, see the log" % name)
            )
        raise AssertionError("a life ends by raising End")

    def live(self) -> None:
        """Start Jupyter and renew the route, until something raises End."""
        session = Session(self.path)
        self.kill_delay = session.job.kill_delay
        limit = TimeLimit(session.walltime, session.job)
        watch = Watch(self.wake, self.processes, self.events, limit)
        kind = SatelliteRoute if session.protocol == "satellite" else Lease
        route = self.route = kind(session, self.run_directory, watch, self.events)
        check_port_range(session.port_range)
        self.events.add(
            "started",
            node=socket.gethostname(),
            pid=os.getpid(),
            start_time=start_ticks(os.getpid()),
            job_id=session.job.id,
            python="%d.%d.%d" % sys.version_info[:3],
        )
        route.prepare()
        self.session = session
        prepare(session, self.app, watch, self.events, route)
        self.notebook = Notebook(session, self.app, self.run_directory, watch, self.events, route)
        api = self.notebook.start()
        start_application(session, api, watch, self.events)
        watch.cares = [TimeCare(watch, api, self.events, limit, session.shutdown_before)]
        if session.idle_timeout:
            watch.cares.append(
                IdleCare(watch, api, self.events, session.idle_timeout, session.job.launchers)
            )
        route.redeem(api.port)
        route.renew()

    def finish(self, end: End) -> int:
        """Close the route, end every process, remove the secrets, and report why."""
        log(end.reason)
        if self.route and self.route.ours and end.cause != EndCause.REVOKED:
            self.route.revoke(end.reason, end.cause)
        code: Optional[int] = None
        said = ""
        jupyter = self.notebook.jupyter if self.notebook else None
        first = jupyter.process if jupyter else None
        grace, rest = self.grace()
        survivors = self.processes.end(first, grace, self.wake.hurry, rest)
        if survivors:
            log("could not end these processes: %s" % ", ".join(map(str, survivors)))
        good = end.cause in _GOOD
        if jupyter is not None:
            code = self.processes.exit_code(jupyter.process)
            good = good or (end.cause == EndCause.APPLICATION_EXIT and code == 0)
            said = "" if good else end.log or jupyter.last_lines()
        self.remove_secrets()
        self.events.add("ended", reason=end.reason, cause=end.cause, exit_code=code, log=said)
        return 0 if good else 1

    def grace(self) -> Tuple[float, float]:
        """Return the seconds for the application to end, and for what is left then.

        What follows must be done, too, before the scheduler kills the job.
        """
        part = KILL_DELAY_PART * self.kill_delay if self.wake.asked_to_end else STOP_GRACE
        return min(STOP_GRACE, part), min(REST_GRACE, part)

    def remove_secrets(self) -> None:
        """Remove what gives access to the session, and its temporary files."""
        if self.session is not None:
            remove_copy(self.session)
        # This agent's own in any case; the note of them in the run directory may be gone.
        self.run_directory.remove_sockets()
        if self.route and self.route.ours:
            self.run_directory.remove()
            self.remove_claim()
        if self.route:
            self.route.settle()  # last: the service may be slow, and the scheduler's kill delay short

    def remove_claim(self) -> None:
        """Remove claim.json."""
        try:
            os.unlink(os.path.join(self.path, "claim.json"))
        except FileNotFoundError:  # the launcher was faster
            pass
        except OSError as error:
            log("could not remove claim.json: %s" % plain(error))
