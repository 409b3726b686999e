"""One session's life on the node, from its files to its end."""

import os
import socket
import sys
import traceback
from typing import Optional

from rps_core.node.agent.events import End, Events
from rps_core.node.agent.files import UnsafeFile
from rps_core.node.agent.idle_care import IdleCare
from rps_core.node.agent.jupyter import check_port_range
from rps_core.node.agent.lease import Lease
from rps_core.node.agent.notebook import Notebook
from rps_core.node.agent.processes import Processes, start_ticks
from rps_core.node.agent.route import Route
from rps_core.node.agent.run_directory import RunDirectory
from rps_core.node.agent.satellite_route import SatelliteRoute
from rps_core.node.agent.session import Session
from rps_core.node.agent.time_care import TimeCare
from rps_core.node.agent.time_limit import TimeLimit
from rps_core.node.agent.wake import Wake
from rps_core.node.agent.watch import Watch
from rps_core.node.agent.words import log, plain

STOP_GRACE = 5.0  # seconds for the application to end its kernels


class Agent:
    """One session. `run` answers the exit status: 0 for an end as it should be.

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
        self.notebook: Optional[Notebook] = None

    def run(self) -> int:
        """Everything, from reading the session's files to removing its secrets."""
        try:
            self.live()
        except End as end:
            return self.finish(end)
        except UnsafeFile as error:
            return self.finish(End("start-failed", "%s: refused" % error))
        except OSError as error:
            where = " (%s)" % error.filename if error.filename else ""
            return self.finish(End("start-failed", plain(error) + where))
        except Exception as error:  # noqa: BLE001 - after a defect too, nothing may be left behind
            traceback.print_exc()
            name = type(error).__name__
            return self.finish(End("start-failed", "A defect in the agent: %s, see the log" % name))
        raise AssertionError("a life ends by raising End")

    def live(self) -> None:
        """From the session's files to the renewals of its route, until something raises End."""
        session = Session(self.path)
        limit = TimeLimit(session.walltime)
        watch = Watch(self.wake, self.processes, self.events, limit)
        kind = SatelliteRoute if session.protocol == "satellite" else Lease
        route = self.route = kind(session, self.run_directory, watch, self.events)
        check_port_range(session.port_range)
        self.events.add(
            "started",
            node=socket.gethostname(),
            pid=os.getpid(),
            start_time=start_ticks(os.getpid()),
            job_id=session.job_id,
            python="%d.%d.%d" % sys.version_info[:3],
        )
        route.prepare()
        self.notebook = Notebook(session, self.app, self.run_directory, watch, self.events, route)
        api = self.notebook.start()
        watch.cares = [TimeCare(watch, api, self.events, limit, session.shutdown_before)]
        if session.idle_timeout:
            watch.cares.append(IdleCare(watch, api, self.events, session.idle_timeout))
        route.redeem(api.port)
        route.renew()

    def finish(self, end: End) -> int:
        """Take the route down, end every process, remove the secrets, and say why."""
        log(end.reason)
        if self.route and self.route.ours and end.cause != "revoked":
            self.route.revoke(end.reason, end.cause)
        code: Optional[int] = None
        said = ""
        jupyter = self.notebook.jupyter if self.notebook else None
        first = jupyter.process if jupyter else None
        survivors = self.processes.end(first, STOP_GRACE, self.wake.hurry)
        if survivors:
            log("these processes could not be ended: %s" % ", ".join(map(str, survivors)))
        good = end.cause in ("signal", "revoked", "time-limit", "idle")
        if jupyter is not None:
            code = self.processes.exit_code(jupyter.process)
            good = good or (end.cause == "application-exit" and code == 0)
            said = "" if good else jupyter.last_lines()
        self.remove_secrets()
        self.events.add("ended", reason=end.reason, cause=end.cause, exit_code=code, log=said)
        return 0 if good else 1

    def remove_secrets(self) -> None:
        """What could open the session, or what it left behind, is of no use to anybody now."""
        if self.route:
            self.route.settle()
        # Ours in any case, and the run directory may tell of them no more.
        self.run_directory.remove_sockets()
        if not (self.route and self.route.ours):
            return
        self.run_directory.remove()
        try:
            os.unlink(os.path.join(self.path, "claim.json"))
        except FileNotFoundError:  # the launcher was faster
            pass
        except OSError as error:
            log("claim.json could not be removed: %s" % plain(error))
