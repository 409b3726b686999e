"""Start this session's Jupyter on a free port, and wait until it answers."""

import json
import os
import re
import shutil
import time
from typing import Any, Dict, List, Optional

from rps_core.node.agent import login_link
from rps_core.node.agent.application import serving
from rps_core.node.agent.container import Container
from rps_core.node.agent.events import End, EndCause, Events
from rps_core.node.agent.files import native
from rps_core.node.agent.jupyter import Jupyter, can_bind, free_port
from rps_core.node.agent.jupyter_api import JupyterApi, Unready
from rps_core.node.agent.kernelspec import write_kernelspecs
from rps_core.node.agent.processes import start_ticks
from rps_core.node.agent.program import check_architecture, found, server_program
from rps_core.node.agent.route import Route
from rps_core.node.agent.run_directory import RunDirectory
from rps_core.node.agent.session import Session
from rps_core.node.agent.watch import Watch
from rps_core.node.agent.words import how, log

START_ATTEMPTS = 5  # applications started, each on a new port, before a taken port is a failure


class Notebook:
    """The session's Jupyter; `route` gives its address and how it is reached."""

    def __init__(
        self,
        session: Session,
        app: str,
        run_directory: RunDirectory,
        watch: Watch,
        events: Events,
        route: Route,
    ) -> None:
        self.jupyter: Optional[Jupyter] = None  # the run that is under way
        self._session = session
        self._app = app
        self._run_directory = run_directory
        self._watch = watch
        self._events = events
        self._route = route
        self._kernel = session.kernel  # of the environment; that of an image is found out

    def start(self) -> JupyterApi:
        """Start it, on another port if one is taken; return its API once it answers.

        Raises:
            End: it cannot be started, or is not to be published.
        """
        session, address = self._session, self._route.address
        command = self._application()
        if not os.path.isdir(native(session.directory)):
            raise End(
                EndCause.START_FAILED,
                "The notebook directory %s does not exist on this node" % session.directory,
            )
        deadline = time.monotonic() + session.start_timeout
        for _ in range(START_ATTEMPTS):
            port = free_port(address, session.port_range)
            if port is None:
                ports = session.port_range
                where = "from %d to %d" % tuple(ports) if ports else "at all"
                raise End(EndCause.START_FAILED, "No port is free on %s, %s" % (address, where))
            self.jupyter = self._launch(command, port)
            api = self._await_ready(self.jupyter, port, deadline)
            if api is not None:
                return api
            self._events.add("port-taken", port=port)
            log("another program took port %d: trying another port" % port)
            self.jupyter = None
            self._watch.processes.end(None, 0)
        raise End(EndCause.START_FAILED, "Another program took each of %d ports" % START_ATTEMPTS)

    def _application(self) -> List[str]:
        """Return the command that serves the session; one of an image runs inside."""
        session = self._session
        if session.container is not None:
            places = [session.path, self._run_directory.sockets]
            container = Container(session.container, places)
            if session.fallback is not None:
                kernel = container.kernel_alone(
                    session.program, self._app, self._watch, session.start_timeout
                )
                if kernel is not None:
                    self._kernel = kernel
                    return [found(session.fallback), self._app]
            return container.command(session.program, self._app)
        if self._kernel is not None:  # another Jupyter would serve it, and no cell would run
            check_architecture(native(self._kernel.program))
        program = server_program(session.program, session.fallback, self._app, session.path)
        if session.app is not None:
            others = (session.fallback, session.app_jupyter)
            also = [shutil.which(native(each)) for each in others if each]
            program = serving([program, *filter(None, also)], self._watch)
        return [program, self._app]

    def _launch(self, application: List[str], port: int) -> Jupyter:
        """Start Jupyter on this port, its token in a file (not in argv or environment)."""
        session, run_directory = self._session, self._run_directory
        own = session.own
        if own is not None and not own.is_served_by(application[0]):
            own = None
        venv = own.prefix if own and self._kernel is None else session.venv
        run_directory.remove_runtime_files()  # of the attempt before
        settings = {
            "token": session.token,
            "login": self._login(),
            "sockets": run_directory.sockets,
            "kernels": {"tcp": session.tcp_kernels, "memory": session.kernels_memory},
            "apps": session.apps,
            "cookie_secret": os.urandom(32).hex(),
            "ip": self._route.address,
            "port": port,
            "port_retries": 0,  # another one may lie outside the range; we pick it
            "client_ca": "",
            "sock": "",
            "directory": session.directory,
            "base_url": "/",
            "websocket_url": "",
            "custom_display_url": "",
            "allow_remote_access": True,  # it checks Host: the service passes on the session's
            "allow_origin": "",
            "allow_origin_pat": _any_of(session.origins),
            "allow_credentials": False,
            "disable_check_xsrf": False,
            "cookie_options": {},
            "open_browser": False,
            "allow_root": os.geteuid() == 0,
            "kernel": self._kernel and self._kernel.name,
            "variables": active_venv(venv),
            **self._route.serving(),
        }
        run_directory.write("settings.json", json.dumps(settings).encode())
        run_directory.write_for_jupyter()
        command = [*application, "--config=" + run_directory.path_of("session_config.py")]
        secrets = [session.token, session.claim]
        environment = {}
        specs = [own.kernel] if own else []
        specs += [self._kernel] if self._kernel else []
        if specs:
            # Kernels and terminals inherit it: `jupyter execute` there runs notebooks as the browser does.
            environment["JUPYTER_PATH"] = write_kernelspecs(specs, run_directory.path)
        jupyter = Jupyter(self._watch.processes, command, run_directory.path, secrets, environment)
        pid = jupyter.process.pid
        self._events.add(
            "application",
            pid=pid,
            start_time=start_ticks(pid),
            command=command,
            sockets=run_directory.sockets,
        )
        log("started " + " ".join(command))
        return jupyter

    def _await_ready(self, jupyter: Jupyter, port: int, deadline: float) -> Optional[JupyterApi]:
        """Its API when it answers as it should, None when it died for want of its port."""
        address, watch = self._route.address, self._watch
        context = self._route.trust()
        while True:
            code = watch.processes.exit_code(jupyter.process)
            if code is not None:
                if "already in use" in jupyter.last_lines() or not can_bind(address, port):
                    return None
                raise End(EndCause.START_FAILED, "Jupyter ended before it answered: " + how(code))
            try:
                api = watch.aside(lambda: self._protected(jupyter, context))
            except Unready as unready:
                if time.monotonic() > deadline:
                    reason = "Jupyter did not answer within %d s: %s"
                    raise End(
                        EndCause.TIMEOUT, reason % (self._session.start_timeout, unready)
                    ) from None
                watch.pause(0.1)
            else:
                watch.application = jupyter.process
                self._events.add("listening", address=address, port=api.port)
                log("Jupyter listens on %s, port %d" % (address, api.port))
                return api

    def _protected(self, jupyter: Jupyter, context: Any) -> JupyterApi:
        """Jupyter where it answers as it should (Unready, End: see `check_protected`)."""
        session = self._session
        address, port = jupyter.listening()
        if address != self._route.address:
            raise End(
                "start-failed",
                "Jupyter listens on %s, not on %s, so it was not published: its configuration or an"
                " extension sets the address" % (address, self._route.address),
            )
        watch, events = self._watch, self._events
        api = JupyterApi(watch, events, address, port, session.host, context, session.token)
        api.check_protected(session.origin)
        if session.link == "once":
            api.check_once(session.token)
        return api

    def _login(self) -> Optional[Dict[str, Any]]:
        """Return what Jupyter needs to accept login links; None: it accepts none."""
        session = self._session
        if session.link != "once" and not session.shares:
            return None
        directory = os.path.join(session.path, login_link.DIRECTORY)
        return {"once": session.link == "once", "directory": directory}


def active_venv(path: Optional[str]) -> Dict[str, str]:
    """Return the variables of an active venv: `pip` in a cell or a terminal must be its own."""
    if path is None:
        return {}
    place = native(path)
    others = os.environ.get("PATH")
    programs = os.path.join(place, "bin")
    return {
        "VIRTUAL_ENV": place,
        "PATH": programs + os.pathsep + others if others else programs,
    }


def _any_of(origins: List[str]) -> str:
    """Return a pattern for exactly these; empty for none."""
    return "(?:%s)$" % "|".join(re.escape(origin) for origin in origins) if origins else ""
