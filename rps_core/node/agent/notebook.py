"""Jupyter as this session's application: started, on a port of its own, until it answers as it should."""

import json
import os
import shutil
import time
from typing import Any, List, Optional

from rps_core.node.agent.events import End, Events
from rps_core.node.agent.files import native
from rps_core.node.agent.jupyter import Jupyter, can_bind, free_port
from rps_core.node.agent.jupyter_api import JupyterApi, Unready
from rps_core.node.agent.processes import start_ticks
from rps_core.node.agent.route import Route
from rps_core.node.agent.run_directory import RunDirectory
from rps_core.node.agent.session import Session
from rps_core.node.agent.watch import Watch
from rps_core.node.agent.words import how, log

START_ATTEMPTS = 5  # applications started, each on a new port, before a taken port is a failure


class Notebook:
    """The session's Jupyter. `route` says where it is to listen, and how it is to be reached there."""

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

    def start(self) -> JupyterApi:
        """Start it; answers its API once it answers as it should. On another port where one was taken.

        Raises:
            End: it cannot be started, or is not to be published.
        """
        session, address = self._session, self._route.address
        command = self._application()
        if not os.path.isdir(native(session.directory)):
            raise End("start-failed", "The notebook directory %s is not here" % session.directory)
        deadline = time.monotonic() + session.start_timeout
        for _ in range(START_ATTEMPTS):
            port = free_port(address, session.port_range)
            if port is None:
                ports = session.port_range
                where = "from %d to %d" % tuple(ports) if ports else "at all"
                raise End("start-failed", "No port is free on %s, %s" % (address, where))
            self.jupyter = self._launch(command, port)
            api = self._await_ready(self.jupyter, port, deadline)
            if api is not None:
                return api
            self._events.add("port-taken", port=port)
            log("port %d was taken by another program" % port)
            self.jupyter = None
            self._watch.processes.end(None, 0)
        raise End("start-failed", "Another program took each of %d ports" % START_ATTEMPTS)

    def _application(self) -> List[str]:
        """The program and its application; in a container that is looked for inside."""
        session = self._session
        if session.container is None:
            return [_found(session.program), self._app]
        runner = shutil.which("apptainer") or _found("singularity")
        inside = ["--bind", session.path, "--bind", self._run_directory.sockets]
        inside += [native(word) for word in (*session.container, session.program)] + [self._app]
        return [runner, "exec", *inside]

    def _launch(self, application: List[str], port: int) -> Jupyter:
        """Start Jupyter on this port. Its token is in a file: never in argv, nor in the environment."""
        session, run_directory = self._session, self._run_directory
        run_directory.remove_runtime_files()  # of the attempt before
        settings = {
            "token": session.token,
            "sockets": run_directory.sockets,
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
            "allow_origin_pat": "",
            "allow_credentials": False,
            "disable_check_xsrf": False,
            "cookie_options": {},
            "open_browser": False,
            "allow_root": os.geteuid() == 0,
            **self._route.serving(),
        }
        run_directory.write("settings.json", json.dumps(settings).encode())
        run_directory.write_for_jupyter()
        command = [*application, "--config=" + run_directory.path_of("jupyter_config.py")]
        secrets = [session.token, session.claim]
        jupyter = Jupyter(self._watch.processes, command, run_directory.path, secrets)
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
                raise End("start-failed", "Jupyter ended before it answered: " + how(code))
            try:
                api = watch.aside(lambda: self._protected(jupyter, context))
            except Unready as unready:
                if time.monotonic() > deadline:
                    reason = "Jupyter did not answer within %d s: %s"
                    raise End("timeout", reason % (self._session.start_timeout, unready)) from None
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
                "Jupyter listens on %s, not on %s: something in its configuration or its extensions"
                " says so, and so it was not published" % (address, self._route.address),
            )
        watch, events = self._watch, self._events
        api = JupyterApi(watch, events, address, port, session.host, context, session.token)
        api.check_protected(session.origin)
        return api


def _found(program: str) -> str:
    """The path of a program."""
    path = shutil.which(native(program))
    if path is not None:
        return path
    if "/" not in program:
        on_path = "There is no program `%s` on this node. The job's PATH is %s"
        raise End("start-failed", on_path % (program, os.environ.get("PATH", "empty")))
    if os.path.isfile(native(program)):
        raise End("start-failed", "`%s` is not executable on this node" % program)
    raise End("start-failed", "There is no program `%s` on this node" % program)
