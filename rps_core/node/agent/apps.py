"""Run applications behind Jupyter's login, by jupyter-server-proxy.

Read by the configuration that the agent gives Jupyter, so it runs in Jupyter's process and by its Python, 3.8
or newer (jupyter-server-proxy 4). That package carries the requests; here is what it leaves open:

- It passes the visitor's login cookie and token on to the application. Here they are removed.
- It connects to whatever listens at a port of the loopback address: if that is another user's program, its
  pages would be pages of this session. Here the listening socket must be this user's (or root's).
- It starts a program that ends with an error again and again, without a pause. Here its end is reported, with
  its last lines, and the next visit starts it again.

`GET /api/rps/apps` is the agent's: the state of each application that was started, `{NAME: {"state",
"reason", "log"}}`, and of each that this node cannot run, `{NAME: {"state": "missing", "lacks", "path"}}`.
"""

import asyncio
import base64
import importlib.util
import json
import os
import re
import shutil
import signal
import time
from collections import deque
from typing import Any, Deque, Dict, List, Optional, Tuple
from urllib.parse import unquote_plus

import jupyter_server_proxy
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server_proxy import config as proxy_config
from jupyter_server_proxy.handlers import ProxyHandler, SuperviseAndProxyHandler
from jupyter_server_proxy.unixsock import UnixResolver
from tornado import httpclient, web
from tornado.simple_httpclient import SimpleAsyncHTTPClient

LOG_LINES = 20  # last lines of an application that an error shows
AGAIN_AFTER = 3.0  # seconds after a failure; before, a page's many requests get the same answer
OWNER_KNOWN_FOR = 1.0  # seconds for which the owner of a listening socket counts as known
LOOPBACK = ("localhost", "127.0.0.1")
PREFIX = "app/"
OF_JUPYTER = {"lab": "jupyterlab", "notebook": "notebook"}  # the Python packages that have them
ANSWER_TIME = 5.0  # seconds for one answer to the check of its health


class Run:
    """One run of an application: its process, its last lines, and how it is or why it failed."""

    def __init__(self, name: str, secret: str) -> None:
        self.name = name
        self.secret = secret  # kept out of what it prints
        self.state = "starting"
        self.reason = ""
        self.since = time.monotonic()
        self.lines: Deque[str] = deque(maxlen=LOG_LINES)
        self.process: Any = None
        self._tasks: List[Any] = []

    async def start(self, command: List[str], environment: Dict[str, str], cwd: str) -> None:
        """Start its process; it stays in the agent's session, but in a process group of its own."""
        program = shutil.which(command[0], path=environment.get("PATH"))
        if program is None:
            self.fail("there is no program `%s` on this node" % command[0])
            return
        _add_own_data(environment, program)
        try:
            self.process = await asyncio.create_subprocess_exec(
                program,
                *command[1:],
                env=environment,
                cwd=cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                preexec_fn=os.setpgrp,
                limit=1 << 16,
            )
        except OSError as error:
            self.fail("cannot be run: %s" % error.strerror)
            return
        self._tasks = [asyncio.ensure_future(self._copy_output())]
        self._tasks.append(asyncio.ensure_future(self._wait()))

    async def _copy_output(self) -> None:
        stream = self.process.stdout
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # longer than the buffer; the rest follows
                continue
            if not line:
                return
            text = line.decode("utf-8", "replace").rstrip()
            self.lines.append(
                (text.replace(self.secret, "[secret]") if self.secret else text)[:500]
            )
            print("[%s] %s" % (self.name, self.lines[-1]), flush=True)

    async def _wait(self) -> None:
        code = await self.process.wait()
        # A process that it left behind may hold the pipe open.
        await asyncio.wait(self._tasks[:1], timeout=1.0)
        how = "exit code %d" % code if code >= 0 else "killed by signal %d" % -code
        if self.state == "starting":
            self.fail("ended before it answered: %s" % how)
        elif self.state == "ready":
            self.fail("ended: %s" % how)

    def fail(self, reason: str) -> None:
        """Note why it does not run, once."""
        self.state, self.reason, self.since = "failed", reason, time.monotonic()
        print("rps: the application %s %s" % (self.name, reason), flush=True)

    async def await_ready(self, handler: Any, health: Optional[str], timeout: float) -> None:
        """Wait until it answers; end it if it does not within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        pause = 0.05
        where = "port %s" % handler.port if handler.unix_socket is None else "its Unix socket"
        while self.state == "starting":
            try:
                answers = await _answers(handler, health)
            except web.HTTPError as error:
                self.fail("cannot be reached: %s" % error.log_message)
                self.end()
                return
            if answers:
                if self.state == "starting":
                    self.state = "ready"
                    print("rps: the application %s answers" % self.name, flush=True)
                return
            if time.monotonic() > deadline:
                self.fail("did not answer at %s within %d s" % (where, timeout))
                self.end()
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.5)

    def end(self) -> None:
        """End it with what it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _add_own_data(environment: Dict[str, str], program: str) -> None:
    """Add the data directory of a program's prefix to JUPYTER_PATH, before those of other prefixes.

    The session's kernels come first there, then its environments: in one of another prefix Voila would take
    nbconvert's templates for its own, and run nothing.
    """
    first, _, others = environment.get("JUPYTER_PATH", "").partition(os.pathsep)
    own = os.path.join(os.path.dirname(os.path.dirname(program)), "share", "jupyter")
    if first and os.path.isdir(own):
        environment["JUPYTER_PATH"] = os.pathsep.join([first, own, *([others] if others else [])])


RUNS: Dict[str, Run] = {}
TABLE: Dict[str, Dict[str, Any]] = {}  # of the session, by name


async def _answers(handler: Any, health: Optional[str]) -> bool:
    """Return whether it answers: with 200 at its health path, or with anything at `/`."""
    client: Any
    if handler.unix_socket is not None:
        if not os.path.exists(handler.unix_socket):
            return False
        client = SimpleAsyncHTTPClient(
            force_instance=True, resolver=UnixResolver(handler.unix_socket)
        )
        base = "http://localhost"
    else:
        address = listener(handler.port)
        if address is None:
            return False
        client = SimpleAsyncHTTPClient(force_instance=True)
        base = "http://%s:%d" % (address, handler.port)
    request = httpclient.HTTPRequest(
        base + (health or "/"),
        headers=handler.get_request_headers_override(),
        follow_redirects=False,
        connect_timeout=ANSWER_TIME,
        request_timeout=ANSWER_TIME,
    )
    try:
        answer = await client.fetch(request, raise_error=False)
    except (OSError, httpclient.HTTPError):  # such as a timeout of a program that loads
        return False
    finally:
        client.close()
    # Tornado's own 599: there was no answer.
    return bool(answer.code == 200 if health else answer.code != 599)


async def ensure_process(self: Any) -> None:
    """Start the application if it does not run, in place of the method of that name."""
    async with self.state["proc_lock"]:
        name = self.name.split("/")[-1]
        run: Optional[Run] = self.state.get("rps_run")
        if run is None or (run.state == "failed" and time.monotonic() - run.since > AGAIN_AFTER):
            if run is not None:
                self.state.pop("port", None)  # another program may have taken it
            command = self.get_cmd()
            if not command:
                return
            own = TABLE.get(name, {}) if self.name.startswith(PREFIX) else {}
            run = self.state["rps_run"] = RUNS[name] = Run(name, own.get("secret", ""))
            if self.unix_socket and os.path.exists(self.unix_socket):
                os.unlink(self.unix_socket)
            environment = dict(os.environ, **self.get_env())
            await run.start(command, environment, own.get("directory") or self.get_cwd())
            health = own.get("health")
            await run.await_ready(self, health and _under(self, health), self.get_timeout())
    if run.state == "failed":
        lines = "\n".join(run.lines)
        # A log message is a format of %.
        text = "The application %s %s.\n%s" % (name, run.reason, lines)
        raise web.HTTPError(502, text.replace("%", "%%"), reason="Application not running")


def _under(handler: Any, path: str) -> str:
    return "/" + handler.name + path if handler.absolute_url else path


def listener(port: int) -> Optional[str]:
    """Return the loopback address at which this user, or root, listens on a port.

    None: no process listens there.

    Raises:
        HTTPError: the process that listens is another user's.
    """
    now = time.monotonic()
    known, seen = _LISTENERS.get(port, (None, -OWNER_KNOWN_FOR))
    if known is not None and now - seen < OWNER_KNOWN_FOR:
        return known
    foreign = False
    for file, address, hosts in _TABLES:
        for local, uid in _listening(file):
            host, _, number = local.partition(":")
            if int(number, 16) != port or host not in hosts:
                continue
            if uid in (os.getuid(), 0):
                _LISTENERS[port] = (address, now)
                return address
            foreign = True
    _LISTENERS.pop(port, None)
    if foreign:
        raise web.HTTPError(403, "port %d of this node is that of another user's program" % port)
    return None


# The loopback address and `any`, as /proc/net has them on little-endian and big-endian machines.
_TABLES = (
    ("/proc/net/tcp", "127.0.0.1", ("0100007F", "7F000001", "00000000")),
    (
        "/proc/net/tcp6",
        "[::1]",
        ("0" * 24 + "01000000", "0" * 31 + "1", "0" * 32),
    ),
)
_LISTENERS: Dict[int, Tuple[str, float]] = {}


def _listening(file: str) -> List[Tuple[str, int]]:
    """Return the local address and the owner of each listening socket of a table of the kernel."""
    try:
        with open(file) as table:
            rows = [line.split() for line in table]
    except OSError:  # no IPv6
        return []
    return [(row[1], int(row[7])) for row in rows[1:] if row[3] == "0A"]


def guard(token: str, cookie: str) -> None:
    """Keep the login cookie and the token from applications, and others' ports from visitors."""
    # The login, and what marks the browser that used a login link (jupyter_login.py).
    login = re.compile("(^|[;,]) *(?:%s|__Host-rps-[a-z]+)=[^;,]*" % re.escape(cookie))
    headers_of = ProxyHandler.proxy_request_headers
    uri_of = ProxyHandler.get_client_uri
    prepare_of = ProxyHandler.prepare

    def proxy_request_headers(self: Any) -> Any:
        headers = headers_of(self)
        cookies = login.sub("", headers.get("Cookie", "")).lstrip(";, ")
        headers.pop("Cookie", None)
        if cookies:
            headers["Cookie"] = cookies
        for name in [name for name, value in headers.items() if token in value]:
            del headers[name]
        return headers

    def get_client_uri(self: Any, protocol: str, host: str, port: Any, path: str) -> str:
        if host in LOOPBACK and self.unix_socket is None:
            host = listener(int(port)) or "127.0.0.1"
        uri: str = uri_of(self, protocol, host, port, path)
        return _without_token(uri, token)

    async def prepare(self: Any, *arguments: Any, **options: Any) -> None:
        await prepare_of(self, *arguments, **options)
        page = "text/html" in self.request.headers.get("Accept", "")
        if page and not self._finished and self.request.method == "GET":
            uri = _without_token(self.request.uri, token)
            if uri != self.request.uri:  # the answer has the cookie in its place
                # A path that begins with // would be another host.
                self.redirect("/" + uri.lstrip("/"))

    ProxyHandler.proxy_request_headers = proxy_request_headers
    ProxyHandler.get_client_uri = get_client_uri
    ProxyHandler.prepare = prepare


def _without_token(uri: str, token: str) -> str:
    path, mark, query = uri.partition("?")
    left = [part for part in query.split("&") if token not in unquote_plus(part)]
    return path + ("?" + "&".join(left) if mark and left != [""] and left else "")


def search_path(row: Dict[str, Any]) -> str:
    """Return the PATH of an application; of an empty row: that of all."""
    return os.pathsep.join([*row.get("bin", ()), os.environ.get("PATH", os.defpath)])


def lacks(row: Dict[str, Any]) -> Optional[str]:
    """Return the program of an application that is not there."""
    wanted = [*row["programs"], *(word for word in row["command"][:1] if "{" not in word)]
    path = search_path(row)
    return next((one for one in wanted if shutil.which(one, path=path) is None), None)


def missing() -> Dict[str, str]:
    """Return the program or the Python package that this node lacks, by application."""
    wanted = {name: lacks(row) for name, row in TABLE.items()}
    found = {name: one for name, one in wanted.items() if one is not None}
    own = {name: one for name, one in OF_JUPYTER.items() if importlib.util.find_spec(one) is None}
    return dict(found, **own)


class States(JupyterHandler):
    """The state of each application, for the session's agent."""

    @web.authenticated
    def get(self) -> None:
        """Answer with those that were started, and those that cannot be."""
        found: Dict[str, Any] = {
            name: {"state": "missing", "lacks": program, "path": search_path({})}
            for name, program in missing().items()
        }
        found.update({
            name: {"state": run.state, "reason": run.reason, "log": "\n".join(run.lines)}
            for name, run in RUNS.items()
        })  # fmt: skip
        self.finish(json.dumps(found))


def server_of(name: str, row: Dict[str, Any], sockets: str) -> Dict[str, Any]:
    """Return the settings of jupyter-server-proxy for a row of the session's table."""
    secret = row["secret"] = base64.urlsafe_b64encode(os.urandom(24)).decode()
    words = [*row["command"], *row["environment"].values()]
    own = {
        "{prefix}": "/" + PREFIX + name,
        "{directory}": row["directory"],
        "{host}": row["host"],
        "{data}": os.path.join(sockets, "app-%s.data" % name),
        "{secret_file}": os.path.join(sockets, "app-%s.secret" % name),
    }
    secrets = {"{secret}": secret}
    if any("{data}" in word for word in words):
        os.mkdir(own["{data}"], 0o700)
    if any("{secret_file}" in word for word in words):
        descriptor = os.open(own["{secret_file}"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secret)

    def filled(text: str, port: Any, unix_socket: str, also: Dict[str, str]) -> str:
        values = dict(own, **also)
        values.update({"{port}": str(port), "{unix_socket}": unix_socket})
        found = re.sub(r"\{\w+\}", lambda match: values.get(match[0], match[0]), text)
        return found.replace("{", "{{").replace("}", "}}")  # the caller formats it once more

    def command(port: int, unix_socket: str) -> List[str]:
        found: List[str] = []
        for word in row["command"]:
            texts = row["arguments"] if word == "{arguments}" else [word]
            found += [filled(text, port, unix_socket, {}) for text in texts]
        return found

    def environment(port: int, unix_socket: str) -> Dict[str, str]:
        found = {
            key: filled(value, port, unix_socket, secrets)
            for key, value in row["environment"].items()
        }
        found["PATH"] = search_path(row).replace("{", "{{").replace("}", "}}")
        return found

    def headers(port: int, unix_socket: str) -> Dict[str, str]:
        return {
            key: filled(value, port, unix_socket, secrets) for key, value in row["headers"].items()
        }

    uses_socket = any("{unix_socket}" in word for word in (*words, *row["arguments"]))
    return {
        "command": command,
        "environment": environment,
        "request_headers_override": headers,
        "unix_socket": os.path.join(sockets, "app-" + name) if uses_socket else None,
        "absolute_url": row["keeps_prefix"],
        "timeout": row["timeout"],
        "launcher_entry": {
            "title": row["title"],
            "path_info": PREFIX + name + "/" + row["path"],
            "enabled": lacks(row) is None,
        },
    }


def install(application: Any, table: Dict[str, Any], sockets: str, token: str, cookie: str) -> None:
    """Add the session's applications to Jupyter's own.

    Args:
        application: Jupyter's class.
        table: the applications by name, as in launch.json.
        sockets: a private directory with a short path.
        token: the session's.
        cookie: the name of the login cookie.
    """
    guard(token, cookie)
    SuperviseAndProxyHandler.ensure_process = ensure_process
    TABLE.update(table)
    installed = jupyter_server_proxy.get_entrypoint_server_processes

    def processes(*arguments: Any) -> List[Any]:
        ours = [
            proxy_config.make_server_process(
                PREFIX + name, server_of(name, row, sockets), *arguments[:1] or (None,)
            )
            for name, row in table.items()
        ]
        return [*installed(*arguments), *ours]

    jupyter_server_proxy.get_entrypoint_server_processes = processes
    original = application.init_webapp

    def init_webapp(self: Any, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        self.web_app.add_handlers(".*$", [("/api/rps/apps", States)])

    application.init_webapp = init_webapp
