"""The node agent: runs Jupyter inside a job, and keeps the session's route for as long as it lives.

    python agent.py SESSION_DIR --app lab|notebook

One file, standard library only, Python 3.6 or newer: a copy of it lies in the session's directory,
and the first interpreter that the compute node offers runs it. Top to bottom: processes, files, the
service, Jupyter, the agent itself.

The local scheduler's supervisor and the launcher import parts of it, so importing it is cheap:
http.client, ssl and the like are imported where they are used.
"""
# ruff: noqa: N818 - ServiceAway, UnsafeFile, End: what they say, not that they are errors

import json
import os
import random
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Set, Tuple, TypeVar

START_ATTEMPTS = 5  # applications started, each on a new port, before a taken port is a failure
STOP_GRACE = 5.0  # seconds for the application to end its kernels
REVOKE_TIME = 2.0  # seconds spent on telling the service; the lease does the rest
REASON_LENGTH = 200  # characters of a reason that the service is told
LOG_LINES = 20  # last lines of the application's output that `ended` reports
BACK_OFF = (1.0, 2.0, 4.0, 8.0, 15.0)  # seconds between calls while the service is away
WARNINGS = (1800, 600, 120)  # seconds before the end of the walltime at which it is told
SLACK = 2.0  # seconds by which schedulers' answers and signals are rounded
SAVE_TIME = 10.0  # seconds for the browser's tabs to save what is open in them
ANSWER_TIME = 10.0  # seconds for a program's answer: the scheduler's, the GPUs'
LOOK_EVERY = 30.0  # seconds between two looks at whether anything works, at most
BUSY = 0.03  # of a core, used by one process since the look before: less is an idle kernel's
LAUNCHERS = ("srun", "mpirun", "mpiexec", "orterun", "prterun", "pbsdsh")  # they work elsewhere
DESTROY_TIME = 15.0  # seconds spent on telling the older service: there nothing else ends the route

# ---------------------------------------------------------------------------------------- processes

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_PRINTABLE = re.compile("[!-~]*").fullmatch
_T = TypeVar("_T")


def start_ticks(pid: int) -> Optional[int]:
    """When a process started, in clock ticks since boot: with the pid it names a process for good.

    None where there is none; a zombie, which has ended and only waits to be reaped, is none.
    """
    seen = _process(pid)
    return None if seen is None else seen[1]


def descendants(root: int) -> Dict[int, int]:
    """All living processes below `root`, as pid -> start ticks; sessions and groups do not matter."""
    children: Dict[int, List[Tuple[int, int]]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            seen = _process(int(entry), zombies=True)
            if seen is not None:
                children.setdefault(seen[0], []).append((int(entry), seen[1]))
    found: Dict[int, int] = {}
    parents = [root]
    while parents:
        for pid, ticks in children.get(parents.pop(), ()):
            parents.append(pid)
            if start_ticks(pid) == ticks:
                found[pid] = ticks
    return found


def _process(pid: int, zombies: bool = False) -> Optional[Tuple[int, int]]:
    """Parent and start ticks of a process, by default of a living one."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # a command's name may hold anything
    except OSError:  # gone, before or while it was read, or hidden from us
        return None
    # A process whose first thread has ended looks like a zombie while its other threads live.
    if fields[0] in (b"Z", b"X") and int(fields[17]) <= 1 and not zombies:
        return None
    return int(fields[1]), int(fields[19])


def send(pid: int, ticks: int, signal_number: int) -> None:
    """Signal a process, unless the pid belongs to another one by now."""
    if start_ticks(pid) == ticks:
        try:
            os.kill(pid, signal_number)
        except (ProcessLookupError, PermissionError):  # gone, or a set-uid program: not ours to end
            pass


def prctl(option: int, argument: int) -> None:
    """Linux's prctl(2).

    Raises:
        OSError: the kernel refused.
        ImportError: this Python has no ctypes.
    """
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(%d)" % option)


def uptime() -> float:
    """Seconds since the boot, in which start ticks count too (OSError, ValueError: it cannot be told)."""
    with open("/proc/uptime", "rb") as file:
        return float(file.read().split()[0])


class Use:
    """What a process has to do with the question whether anything works: its name, its terminal (0: none),
    its session, and the seconds of CPU time that it and those it has waited for have used."""

    def __init__(self, pid: int) -> None:
        with open("/proc/%d/stat" % pid, "rb") as file:
            before, _, after = file.read().rpartition(b")")
        fields = after.split()
        self.name = before.partition(b"(")[2].decode("utf-8", "replace")
        self.session = int(fields[3])
        self.terminal = int(fields[4])
        self.seconds = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


class Processes:
    """Every process below this one, for as long as this one lives.

    It is made the reaper of its orphans, so whatever a notebook leaves behind (daemons, processes in
    sessions of their own) stays below it and is found at the end. Where the kernel cannot do that
    (before Linux 3.4), those seen at one time or another are remembered.
    """

    def __init__(self) -> None:
        self._exit_codes: Dict[int, Optional[int]] = {}
        self._seen: Dict[int, int] = {}
        try:
            prctl(PR_SET_CHILD_SUBREAPER, 1)
        except (OSError, ImportError) as error:
            log("orphans of the application may outlive the job: %s" % error)

    def start(self, command: List[str], umask: Optional[int] = None, **options: Any) -> Any:
        """Start a program that gets SIGTERM when this process dies; answers the Popen.

        Ask `exit_code`, never the Popen, for how it ended: here all children are reaped together.
        """
        parent = os.getpid()

        def prepare() -> None:
            # A scheduler or `nohup` may have had signals ignored or blocked, and the kernels of a
            # notebook whose SIGINT is ignored cannot be interrupted.
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            if umask is not None:
                os.umask(umask)
            try:
                prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            except (OSError, ImportError):
                return  # the scheduler or the supervisor is left to end it
            if os.getppid() != parent:  # it died before we asked to be told
                os._exit(1)

        process = subprocess.Popen(command, preexec_fn=prepare, **options)
        self._exit_codes[process.pid] = None
        return process

    def reap(self) -> bool:
        """Reap whatever has ended; true while any child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid in self._exit_codes:
                signalled = os.WIFSIGNALED(status)
                self._exit_codes[pid] = (
                    -os.WTERMSIG(status) if signalled else os.WEXITSTATUS(status)
                )

    def exit_code(self, process: Any) -> Optional[int]:
        """How a program of `start` ended, negative for a signal; None while it runs."""
        self.reap()
        code = self._exit_codes[process.pid]
        process.returncode = code  # else Popen would look for the child that we have reaped
        return code

    def left(self) -> Dict[int, int]:
        """The living processes below this one, as pid -> start ticks."""
        self.reap()
        self._seen.update(descendants(os.getpid()))
        self._seen = {pid: t for pid, t in self._seen.items() if start_ticks(pid) == t}
        return self._seen

    def end(
        self, first: Optional[Any], grace: float, hurry: Callable[[], bool] = lambda: False
    ) -> List[int]:
        """End all of them; answers the pids that even KILL did not end (hung in the kernel, not ours).

        `first`, a Popen, gets TERM and `grace` seconds to end its own children; then the rest gets TERM
        and a second, then KILL until nothing is left. While `hurry()` is true nothing is waited for.
        """

        def wait(seconds: float, enough: Callable[[], bool]) -> None:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and not enough() and not hurry():
                time.sleep(0.1)

        def any_left() -> bool:
            return bool(self.left()) or self.reap()  # a child that came after the look is seen here

        left = self.left()
        if first is not None and first.pid in left:
            send(first.pid, left[first.pid], signal.SIGTERM)
            wait(grace, lambda: self.exit_code(first) is not None)
        for pid, ticks in self.left().items():
            send(pid, ticks, signal.SIGTERM)
        wait(1.0, lambda: not any_left())
        deadline = time.monotonic() + 10
        while any_left() and time.monotonic() < deadline:
            for pid, ticks in self.left().items():
                send(pid, ticks, signal.SIGKILL)
            time.sleep(0.02)
        return sorted(self.left())


class Wake:
    """A pipe that ends a wait: signals and other threads write to it. Handlers themselves only note."""

    def __init__(self) -> None:
        self.time_is_up = False  # USR1 came
        self._asked: List[float] = []  # when TERM or INT came
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write)
        # HUP and CHLD get a handler that does nothing: the application would inherit SIG_IGN.
        for name in ("TERM", "INT", "USR1", "HUP", "CHLD"):
            signal.signal(getattr(signal, "SIG" + name), self._note)

    def _note(self, number: int, _frame: object) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._asked.append(time.monotonic())
        self.time_is_up = self.time_is_up or number == signal.SIGUSR1

    @property
    def asked_to_end(self) -> bool:
        """A TERM or INT came."""
        return bool(self._asked)

    def hurry(self) -> bool:
        """It came again later; some schedulers send it twice at once, which means nothing."""
        return bool(self._asked) and self._asked[-1] - self._asked[0] > 0.5

    def up(self) -> None:
        """End the wait that is under way, or else the next."""
        try:
            os.write(self._write, b"\0")
        except BlockingIOError:  # full: it will end anyway
            pass

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or at once when something happens."""
        select.select([self._read], [], [], max(0.0, seconds))
        try:
            os.read(self._read, 4096)
        except BlockingIOError:  # the time is up
            pass


def in_thread(work: Callable[[], None]) -> Optional[threading.Thread]:
    """Run `work` in a thread that nobody waits for at the end. Where none can be had (a notebook can use
    up the user's processes) it is done here and now, and there is none to wait for."""
    thread = threading.Thread(target=work, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        work()
        return None
    return thread


# -------------------------------------------------------------------------------------------- files


SOCKET_BASES = ("/tmp", "/var/tmp")  # noqa: S108 - sticky, and the directory's name is a random one
SOCKETS_NOTE = "sockets"  # file in run/: the path of the directory with the kernels' sockets
_SOCKETS_DIRECTORY = re.compile("(%s)/rps-[0-9a-f]{16}" % "|".join(SOCKET_BASES)).fullmatch


class UnsafeFile(Exception):
    """A file of the session's directory that somebody else could have made, changed or read."""


def read_file(path: str, secret: bool = False) -> bytes:
    """A file's content, if the file is ours, no link, written by nobody else and, where it is a secret,
    read by nobody else.

    Raises:
        UnsafeFile: it is not so.
        OSError: it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if os.path.islink(path):
            raise UnsafeFile("%s is a symbolic link" % path) from None
        raise error
    with os.fdopen(descriptor, "rb") as file:
        _check_ours(path, os.fstat(descriptor), stat.S_ISREG, 0o077 if secret else 0o022)
        return file.read()


def check_directory(path: str) -> None:
    """See that a directory is ours and nobody else can write to it (UnsafeFile, OSError)."""
    _check_ours(path, os.lstat(path), stat.S_ISDIR, 0o022)


def _check_ours(path: str, seen: os.stat_result, kind: Callable[[int], bool], mask: int) -> None:
    if not kind(seen.st_mode):
        raise UnsafeFile("%s is not what it should be" % path)
    if seen.st_uid != os.geteuid():
        raise UnsafeFile("%s belongs to user %d" % (path, seen.st_uid))
    if seen.st_mode & mask:
        verb = "read or changed" if mask & 0o044 else "changed"
        raise UnsafeFile(
            "%s can be %s by others (mode %o)" % (path, verb, stat.S_IMODE(seen.st_mode))
        )


def write_secret(path: str, content: bytes) -> None:
    """Make a file that only we can read."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(content)


def make_sockets_directory(run_directory: str) -> str:
    """A directory of our own for the kernels' sockets; `remove_sockets_directory` finds it by its note.

    The session's directory is no place for them: on NFS, and its path too long (a socket's may have 107
    bytes). Nor is XDG_RUNTIME_DIR: it goes away when the user logs out, and the job stays.
    """
    for base in SOCKET_BASES:
        mode = os.stat(base).st_mode if os.path.isdir(base) else 0
        # Where others may write, only the sticky bit keeps them from putting another in its place.
        safe = mode & stat.S_ISVTX or not mode & 0o022
        if not (safe and os.access(base, os.W_OK | os.X_OK)):
            continue
        path = os.path.join(base, "rps-" + os.urandom(8).hex())
        # First the note: whatever kills us in between, nothing is left that nobody knows of.
        write_secret(os.path.join(run_directory, SOCKETS_NOTE), path.encode())
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)
        return path
    raise OSError("Neither %s is a place for the kernels' sockets" % " nor ".join(SOCKET_BASES))


def remove_sockets_directory(run_directory: str) -> None:
    """Remove the kernels' sockets of a session, if they are on this machine and ours.

    `run_directory` is the session's `run`; where it is no longer there, nothing happens.
    """
    try:
        path = read_file(os.path.join(run_directory, SOCKETS_NOTE), secret=True).decode()
        if _SOCKETS_DIRECTORY(path):
            check_directory(path)
            shutil.rmtree(path, ignore_errors=True)
    except (OSError, ValueError, UnsafeFile):  # removed already, on another node, or not our doing
        pass


def is_missing(path: str) -> bool:
    """Nothing is there; false where that cannot be said (a file system that is away)."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


def native(text: str) -> str:
    """Text of a file as this Python passes it to the system: without LANG, Python 3.6 thinks that file
    names are ASCII. Names that are no UTF-8 come as they are, and leave so."""
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))


def log(text: str) -> None:
    """A line for the job's log, for people. A log that cannot be written harms nothing."""
    line = time.strftime("%Y-%m-%d %H:%M:%S") + " rps: " + text + "\n"
    try:
        # Bytes, because batch jobs often have no LANG, and then Python 3.6 prints ASCII alone.
        sys.stdout.buffer.write(line.encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()
    except OSError:  # a full disk
        pass


# -------------------------------------------------------------------------------------- the service


class ServiceRefused(Exception):
    """The service answered, and said no: HTTP `status`, its `code` (docs/protocol.md), its words; and
    for the older service, what to do."""

    def __init__(self, status: int, code: str, message: str, advice: str = "") -> None:
        super().__init__("%s (%s)" % (message, code))
        self.advice = advice
        self.status = status
        self.code = code
        self.message = message


class ServiceAway(Exception):
    """No answer of the service's own, or a passing one (overload): the same call may do later.

    `code` and `message` are the service's own words where it answered, else empty.
    """

    def __init__(self, reason: str, code: str = "", message: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.message = message


class NotTheService(ServiceAway):
    """Over TLS that was verified something answered, and not as this API does: HTTP `status`, the
    answer's content type and its text."""

    def __init__(self, status: int, content_type: str, text: str) -> None:
        super().__init__("status %d came from something that is not the service" % status)
        self.status = status
        self.content_type = content_type
        self.text = text


class Service:
    """The Reverse Proxy Service's API. Each call has a connection of its own, or with `keep` one serves
    for several: a call that finds it closed by the service meanwhile is made again on a new one (each
    call of a session may be repeated).

    `connect` is the address to connect to in place of resolving `host`; certificate, SNI and the Host
    header keep `host`. `ca_file` is trusted in place of the system's store. `timeout` is in seconds, for
    each step of the network. Proxies of the environment are not used: they are for the way out of the
    cluster.
    """

    def __init__(
        self,
        host: str,
        port: int,
        connect: Optional[str] = None,
        ca_file: Optional[str] = None,
        timeout: float = 10.0,
        keep: bool = False,
    ) -> None:
        self._kept: Any = None  # the connection, between two calls
        self.host = host
        self.port = port
        self.timeout = timeout
        self.local_address = ""  # our end of the last connection
        self._connect = connect or host
        self._ca_file = ca_file
        self._context: Any = None
        self._keep = keep

    def __del__(self) -> None:
        if self._kept is not None:
            self._kept.close()

    def request(
        self,
        method: str,
        path: str,
        body: Optional[Dict[str, Any]] = None,
        claim: Optional[str] = None,
        prove: Optional[Callable[[bytes], str]] = None,
    ) -> Dict[str, Any]:
        """One call; answers the JSON object of a 2xx. `prove` makes a MUNGE credential for its body.

        Raises:
            ServiceRefused: the service answered with an error.
            ServiceAway: it did not, or is overloaded.
        """
        if not _PRINTABLE(claim or ""):  # http.client would quote it in its own error
            raise ValueError("the claim is damaged")
        headers = {"Accept": "application/json"}
        if not self._keep:
            headers["Connection"] = "close"
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        if claim is not None:
            headers["Authorization"] = "Bearer " + claim
        if prove is not None:
            headers["X-Rps-Munge"] = prove(content or b"")
        status, content_type, text = self._exchange(method, path, content, headers)
        answer: Optional[Dict[str, Any]] = None
        try:
            read = json.loads(text.decode())
            answer = read if isinstance(read, dict) else None
        except ValueError:
            pass
        if 200 <= status < 300 and answer is not None:
            return answer
        passing = status in (429, 502, 503, 504)
        if answer is None or not isinstance(answer.get("error"), str):
            if passing:
                raise ServiceAway("it answered with status %d" % status)
            # A web server in front of it that has lost it, or somebody else altogether.
            raise NotTheService(status, content_type, text.decode("utf-8", "replace"))
        code, message = answer["error"], str(answer.get("message", ""))
        if passing:
            reason = "it answered with status %d, %s: %s" % (status, code, message)
            raise ServiceAway(reason, code, message)
        raise ServiceRefused(status, code, message)

    def _exchange(
        self, method: str, path: str, content: Optional[bytes], headers: Dict[str, str]
    ) -> Tuple[int, str, bytes]:
        """Status, content type and body of the answer to one call (ServiceAway: there is none)."""
        import http.client

        try:
            if self._context is None:
                self._context = tls_context(self._ca_file)
            return self._answer(method, path, content, headers)
        except http.client.HTTPException as error:  # who hangs up without an answer, too
            raise ServiceAway("it does not speak HTTP: " + type(error).__name__) from None
        except (OSError, ValueError) as error:  # ValueError: a certificate's under Python 3.6
            raise ServiceAway(_plain(error)) from None

    def _answer(
        self, method: str, path: str, content: Optional[bytes], headers: Dict[str, str]
    ) -> Tuple[int, str, bytes]:
        import http.client
        import ssl

        connection, self._kept = self._kept, None
        if connection is not None:
            try:
                return self._send(connection, method, path, content, headers)
            except (ConnectionError, ssl.SSLError):
                pass
        connection = http.client.HTTPSConnection(
            self.host, self.port, timeout=self.timeout, context=self._context
        )
        # As bytes: Python takes a text for an international name, and loads what those need.
        address = (self._connect.encode(), self.port)  # type: Any
        raw = socket.create_connection(address, self.timeout)
        # Else a request of two packets waits 40 ms for the first one's delayed acknowledgement.
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection.sock = self._context.wrap_socket(raw, server_hostname=self.host.encode())
        except BaseException:
            raw.close()
            raise
        self.local_address = connection.sock.getsockname()[0]
        return self._send(connection, method, path, content, headers)

    def _send(
        self,
        connection: Any,
        method: str,
        path: str,
        content: Optional[bytes],
        headers: Dict[str, str],
    ) -> Tuple[int, str, bytes]:
        try:
            connection.request(method, path, body=content, headers=headers)
            response = connection.getresponse()
            text = response.read(1 << 20)
            if self._keep and response.isclosed() and not response.will_close:
                self._kept = connection
        finally:
            if self._kept is not connection:
                connection.close()
        return response.status, response.getheader("Content-Type", ""), text


def tls_context(ca_file: Optional[str] = None, ca_data: Optional[str] = None) -> Any:
    """An ssl.SSLContext that verifies servers against this CA alone, or else the system's."""
    import ssl

    return ssl.create_default_context(cafile=ca_file, cadata=ca_data)


def _plain(error: Exception) -> str:
    """An error without its class and number, for people."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


# What the older service says where it refuses, behind its "Oops! ": the first words (or a part, where
# they are in the middle), our code for it, and what to do.
OOPS = (
    (
        "Unknown nonce or nonce already used",
        "used",
        "Somebody else used the session's name first, or it was stopped: start another one.",
    ),
    (
        "Unknown nonce or nonce already destroyed",
        "gone",
        "The service does not know the session any more: start another one.",
    ),
    (
        "already linked to a jobid",
        "already-linked",
        "Another job has this name: start another one.",
    ),
    (
        "must be destroyed from host it was redeemed on",
        "wrong-address",
        "Only the job's own node may end the route; the job does so when it ends.",
    ),
    (
        "not in range",
        "outside-networks",
        "The service answers the cluster's own hosts only: run rps on one of its login nodes.",
    ),
    ("'port' parameter isn't", "bad-port", "`notebook.port_range` must lie within 1024 to 65535."),
)
NAME_STATES = ("U", "PE", "M", "PR", "Q", "R", "D")  # and none: the name is not known
REDEEMED = ("M", "PR")


class Satellite(Service):
    """The older service's calls (docs/protocol.md). `name` is the session's name at the service.

    Whoever in the cluster's network knows that name before the job starts can redeem it: it is treated as
    a secret here, as the claim is, which this service does not have. Every answer is a 200 of plain text.
    """

    def issue(self) -> str:
        """The words that the answer to *getlink* holds; the last one should be a name."""
        return self.get("getlink.cgi", "Your token is")

    def link(self, name: str, job_id: str) -> None:
        """Tell which job the session is; once only."""
        self.get("linktoken.cgi", "Success!", token=name, jobid=job_id)

    def redeem(self, name: str, port: int) -> None:
        """Have the name lead to this port of the address we call from."""
        self.get("redeemtoken.cgi", "Success!", token=name, port=str(port))

    def destroy(self, name: str) -> None:
        """End the name, and its route; once redeemed only for the address that did it."""
        self.get("destroytoken.cgi", "Success!", token=name)

    def state(self, name: str) -> str:
        """One of NAME_STATES; empty where the service does not know the name."""
        text = self.get("tokenjobstate.cgi", "", token=name)
        # Earlier servers put the seconds since the last change first.
        state = text.rpartition(" ")[2]
        if state and state not in NAME_STATES:
            raise NotTheService(200, "", text)
        return state

    def get(self, script: str, good: str, **parameters: str) -> str:
        """The text of a call's answer, without white space around it. A good one begins with `good`.

        Raises:
            ServiceRefused: it begins with "Oops!".
            ServiceAway: it was no such answer.
        """
        from urllib.parse import urlencode

        query = urlencode(sorted(parameters.items()))
        path = "/" + script + ("?" + query if query else "")
        headers = {"Accept": "text/plain, text/html", "Connection": "close"}
        status, content_type, content = self._exchange("GET", path, None, headers)
        text = content.decode("utf-8", "replace").strip()
        if status in (429, 502, 503, 504):
            raise ServiceAway("it answered with status %d" % status)
        plain = content_type.partition(";")[0].strip().lower() in ("text/plain", "text/html")
        if status == 200 and plain and text.startswith("Oops!"):
            raise refusal_of(text, parameters.get("token", ""))
        if status != 200 or not plain or not text.startswith(good):
            raise NotTheService(status, content_type, text)
        return text


def refusal_of(text: str, name: str) -> ServiceRefused:
    """What an answer "Oops! …" means; `name` is kept out of it."""
    words = short(text[len("Oops!") :].strip())
    if name:
        words = words.replace(name, "[name]")
    for part, code, advice in OOPS:
        if part in words:
            return ServiceRefused(200, code, words, advice)
    return ServiceRefused(200, "refused", words)


# ------------------------------------------------------------------------------------------ Jupyter

# The configuration that Jupyter gets with --config: first the user's own, which --config replaces and
# which is therefore loaded here, in Jupyter's order; then what must hold whatever the user's says. It is
# run by the application's Python, and reads its values from settings.json beside it.
#
# Configuration alone cannot hold: files that Jupyter reads later (jupyter_lab_config, and all that says
# something of NotebookApp or LabApp, which is moved over to ServerApp) come out on top. So the same values
# are put in once more, right before they are used.
JUPYTER_CONFIG = '''\
"""Written by rps for one session."""
import importlib.util
import itertools
import json
import os
import sys
import traceback

from jupyter_client.manager import KernelManager
from jupyter_core.paths import jupyter_config_path
from traitlets.config.loader import Config, ConfigFileNotFound, JSONFileConfigLoader

if "notebook.notebookapp" in sys.modules:  # Notebook 6 and older
    from notebook.notebookapp import NotebookApp as Application

    name, root_dir = "jupyter_notebook_config", "notebook_dir"
else:
    from jupyter_server.serverapp import ServerApp as Application

    name, root_dir = "jupyter_server_config", "root_dir"

c = get_config()
for directory in reversed(jupyter_config_path()):
    try:
        load_subconfig(name + ".py", path=directory)
    except Exception:  # as Jupyter does: a broken file is reported, and the next one read
        traceback.print_exc()
    try:
        c.merge(JSONFileConfigLoader(name + ".json", path=directory).load_config())
    except ConfigFileNotFound:
        pass
    except Exception:
        traceback.print_exc()

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "settings.json")) as file:
    settings = json.load(file)
token = settings.pop("token")
sockets = settings.pop("sockets")
settings["cookie_secret"] = settings["cookie_secret"].encode()
settings[root_dir] = settings.pop("directory")

traits = Application.class_traits()
for trait in ("login_handler_class", "logout_handler_class", "identity_provider_class", "authorizer_class"):
    if trait in traits:
        settings[trait] = traits[trait].default_value

mine = Config()
if "identity_provider_class" in traits:  # Jupyter Server 2
    from jupyter_server.auth.identity import PasswordIdentityProvider

    cookies = settings.pop("cookie_options")
    login = PasswordIdentityProvider.class_traits()["login_handler_class"].default_value
    for section in (mine.IdentityProvider, mine.PasswordIdentityProvider):
        section.token = token
        section.cookie_options = cookies
        section.login_handler_class = login
    mine.PasswordIdentityProvider.hashed_password = ""
    mine.PasswordIdentityProvider.password_required = False
    mine.PasswordIdentityProvider.allow_password_change = False
else:
    settings.update(token=token, password="", password_required=False, allow_password_change=False)
mine[Application.__name__].update((trait, settings[trait]) for trait in settings if trait in traits)
c.merge(mine)


def hold(step):
    original = getattr(Application, step, None)

    def held(self, *arguments, **options):
        self.update_config(mine)
        if step == "init_httpserver" and not settings["certfile"]:
            self.ssl_options = None  # plain HTTP; Tornado takes {} for TLS without a certificate
        return original(self, *arguments, **options)

    if original is not None:
        setattr(Application, step, held)


hold("init_configurables")  # makes the identity provider
hold("init_webapp")  # takes the origins and cookies; in Notebook 6, listens
hold("init_httpserver")  # listens

# Over TCP, anybody on this machine can listen to all that a kernel prints: messages are signed, not
# encrypted. What a kernel's sockets are called is its own, or two that start at once would share them.
numbers = itertools.count(1)
initialise = KernelManager.__init__


def initialise_with_private_sockets(self, *arguments, **options):
    initialise(self, *arguments, **options)
    self.transport = "ipc"
    self.ip = os.path.join(sockets, "kernel-%d" % next(numbers))


KernelManager.__init__ = initialise_with_private_sockets

# What the session says in the browser's tabs. Without it the notebook is as good.
directory = os.path.dirname(os.path.abspath(__file__))
if Application.__name__ == "ServerApp" and os.path.exists(os.path.join(directory, "tabs.py")):
    try:
        specification = importlib.util.spec_from_file_location("rps_tabs", os.path.join(directory, "tabs.py"))
        tabs = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(tabs)
        tabs.install(c, Application, directory)
    except Exception:
        traceback.print_exc()
'''


class End(Exception):
    """The session ends. `cause` is one of the words of events.jsonl, `reason` is for people."""

    def __init__(self, cause: str, reason: str, exit_code: Optional[int] = None) -> None:
        super().__init__(reason)
        self.cause = cause
        self.reason = reason
        self.exit_code = exit_code


class Unready(Exception):
    """The application does not answer yet, and how it does not."""


def check_port_range(port_range: Any) -> None:
    """See that it is null or [first, last] (End: it is not)."""
    if port_range is None:
        return
    if isinstance(port_range, list) and [type(port) for port in port_range] == [int, int]:
        if 1 <= port_range[0] <= port_range[1] <= 65535:
            return
    reason = "The port range is %s; it must be two numbers from 1 to 65535, the smaller first"
    raise End("start-failed", reason % json.dumps(port_range))


def free_port(address: str, port_range: Optional[List[int]]) -> Optional[int]:
    """A port of `address` that is free now, out of an inclusive range if there is one; or None."""
    ports = [0]
    if port_range is not None:
        first, last = port_range
        ports = random.sample(range(first, last + 1), min(50, last + 1 - first))
    for port in ports:
        try:
            return _bind(address, port)
        except OSError:
            continue
    return None


def _bind(address: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Jupyter itself does
        probe.bind((address, port))
        bound: int = probe.getsockname()[1]
    return bound


class Jupyter:
    """One run of the application, with its private directory, its output and its port."""

    def __init__(
        self, processes: Processes, command: List[str], directory: str, secrets: List[str]
    ) -> None:
        environment = {k: v for k, v in os.environ.items() if k != "JUPYTER_TOKEN"}
        environment["JUPYTER_RUNTIME_DIR"] = directory
        self._directory = directory
        self._secrets = [secret.encode() for secret in secrets]
        self._last: Deque[str] = deque(maxlen=LOG_LINES)
        self.command = command
        # It stays in the agent's session: what leaves it outlives a Torque job.
        self.process = processes.start(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._relay = threading.Thread(target=self._copy_output, daemon=True)
        self._relay.start()

    def _copy_output(self) -> None:
        # Jupyter must never wait for its log: whatever comes is taken, also where it cannot be kept.
        for line in iter(lambda: self.process.stdout.readline(1 << 16), b""):
            for secret in self._secrets:
                line = line.replace(secret, b"[secret]")
            self._last.append(line.decode("utf-8", "replace").rstrip()[:500])
            try:
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
            except OSError:  # a full disk
                pass

    def last_lines(self) -> str:
        """The end of what it said."""
        self._relay.join(1.0)  # a process that it left behind may hold the pipe open
        return "\n".join(self._last)

    def listening(self) -> Tuple[str, int]:
        """The address and port that its runtime file names.

        Raises:
            Unready: there is no such file yet.
        """
        for name in os.listdir(self._directory):
            # jpserver-*.json of Jupyter Server, nbserver-*.json of Notebook 6
            if name.startswith(("jpserver-", "nbserver-")) and name.endswith(".json"):
                try:
                    with open(os.path.join(self._directory, name), "rb") as file:
                        seen = json.loads(file.read().decode())
                    return str(seen["hostname"]), int(seen["port"])
                except (OSError, ValueError):  # being written
                    continue
        raise Unready("it has not begun to listen")


def check_protected(
    address: str, port: int, host: str, context: Any, token: str, origin: Optional[str] = None
) -> None:
    """See that what listens there is our application: it holds the certificate for `host`, lets the
    token in, and nobody without it, nor another site's page than `origin`'s.

    Where `context` is None it speaks plain HTTP and can prove nothing: that its process has this port is
    what its own runtime file says, which names no port before it has it.

    Raises:
        Unready: it does not answer (yet), or not with our certificate.
        End: it answers, and is not to be published.
    """
    if _status(address, port, host, context, "/api", {})[0] != 200:
        raise Unready("it answers, but not as Jupyter does")
    status = _status(address, port, host, context, "/api/status", {})[0]
    if status not in (401, 403):
        raise End(
            "start-failed",
            "Jupyter answers without the token (status %d): something in its configuration or its"
            " extensions opens it, and so it was not published" % status,
        )
    stranger = {"Origin": "https://stranger.invalid"}
    allowed = _status(address, port, host, context, "/login", stranger)[1]
    if allowed and allowed != origin:
        raise End(
            "start-failed",
            "Jupyter lets pages of other sites in (Access-Control-Allow-Origin: %s): something in its"
            " configuration or its extensions says so, and so it was not published" % allowed,
        )
    authorization = {"Authorization": "token " + token}
    status = _status(address, port, host, context, "/api/status", authorization)[0]
    if status != 200:
        raise End(
            "start-failed",
            "Jupyter does not take the session's token (status %d): something in its configuration or"
            " its extensions overrides it" % status,
        )


def _status(
    address: str, port: int, host: str, context: Any, path: str, headers: Dict[str, str]
) -> Tuple[int, Optional[str]]:
    """Status and Access-Control-Allow-Origin of a GET (Unready: no answer)."""
    return call_jupyter(address, port, host, context, "GET", path, headers)[:2]


def call_jupyter(
    address: str,
    port: int,
    host: str,
    context: Any,
    method: str,
    path: str,
    headers: Dict[str, str],
    content: Optional[bytes] = None,
    timeout: float = 10.0,
) -> Tuple[int, Optional[str], bytes]:
    """Status, Access-Control-Allow-Origin and body of the answer to one call, over TLS that is verified for
    `host`, or plain where `context` is None (Unready: no answer)."""
    import http.client

    connection: http.client.HTTPConnection = http.client.HTTPConnection(host, port, timeout=timeout)
    if context is not None:
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    try:
        raw = socket.create_connection((address, port), timeout)
        connection.sock = raw  # closed with the connection, whatever comes of the next line
        if context is not None:
            connection.sock = context.wrap_socket(raw, server_hostname=host)
        connection.request(method, path, body=content, headers=headers)
        response = connection.getresponse()
        origin = response.getheader("Access-Control-Allow-Origin")
        return response.status, origin, response.read(1 << 20)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unready(_plain(error)) from None
    finally:
        connection.close()


# --------------------------------------------------------------- the job's time, and whether work is done


class TimeLimit:
    """When the scheduler ends the job: reckoned from the walltime, until the scheduler has been asked.

    The batch shell has become this process, so this began when the job did.
    """

    def __init__(self, walltime: Optional[float]) -> None:
        self.walltime = walltime
        self.began: Optional[float] = None  # in seconds since the boot, as `_end`
        self._end: Optional[float] = None
        ticks = start_ticks(os.getpid())
        if ticks is not None:
            self.began = ticks / os.sysconf("SC_CLK_TCK")
        if self.began is not None and walltime is not None:
            self._end = self.began + walltime

    def left(self) -> Optional[float]:
        """Seconds until then; None where that cannot be told."""
        try:
            return None if self._end is None else max(0.0, self._end - uptime())
        except (OSError, ValueError):
            return None

    def ask(self, output_of: Callable[[List[str]], Optional[str]]) -> bool:
        """Ask the scheduler, since an operator may have moved the end; true where it is known now.

        `output_of` runs a command of the scheduler and answers what it prints.
        """
        if "RPS_JOB_ID" in os.environ:  # the local scheduler's walltime stays what it was
            return self._end is not None
        if "SLURM_JOB_ID" in os.environ:
            job = os.environ["SLURM_JOB_ID"]
            said = output_of(["squeue", "--noheader", "--jobs=" + job, "--format=%L"])
            left = seconds_of((said or "").strip())
            if left is not None:
                self._end = uptime() + left
            return left is not None
        if "PBS_JOBID" in os.environ and self.began is not None:
            said = output_of(["qstat", "-f", os.environ["PBS_JOBID"]])
            found = re.search(r"^\s*Resource_List\.walltime = (\S+)$", said or "", re.MULTILINE)
            walltime = seconds_of(found.group(1)) if found else None
            if walltime is not None:
                self._end = self.began + walltime
            return walltime is not None
        return False


def seconds_of(text: str) -> Optional[float]:
    """A time as schedulers write it, [D-]HH:MM:SS or MM:SS, in seconds; None for anything else."""
    found = re.match(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d\d)$", text)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def in_words(seconds: float) -> str:
    """A span of time for people."""
    if seconds < 90:
        return "%d seconds" % seconds
    return "%d minutes" % round(seconds / 60)


class TimeCare:
    """Warns before the job's time is over, and ends the session in good order right before.

    What ends it is the scheduler's word that its time is nearly over, asked right then: where it cannot
    be asked, everything is saved, and what ends the session is the scheduler's signal.
    """

    def __init__(self, agent: "Agent", limit: TimeLimit, shutdown_before: float) -> None:
        self.agent = agent
        self.limit = limit
        walltime = limit.walltime
        # Each in the second half of the job: nobody needs to be told at its start how long it is.
        self.warnings = [t for t in WARNINGS if walltime is None or 2 * t <= walltime]
        self.before = min(shutdown_before, (walltime or shutdown_before * 10) / 10)
        self.told: List[float] = []  # of `warnings`
        self.signalled = False  # the scheduler's own warning was passed on
        self.asked = False
        self.saved = False

    def due(self) -> float:
        """Seconds until there is something to do."""
        left = self.limit.left()
        if left is None:
            return 60.0
        coming = [float(t) for t in self.warnings if t not in self.told]
        if self.before and not self.saved:
            coming.append(self.before)
        return max([0.1, left - max(coming)]) if coming else 60.0

    def attend(self) -> None:
        """Do what is due now (End: the time is over)."""
        if self.limit.left() is None and not self.asked:
            self.ask()
        signalled = self.agent.told_time_is_up and not self.signalled
        if signalled or self.passed():
            self.ask()
        if signalled or self.passed():
            self.signalled = self.agent.told_time_is_up
            self.warn()
        if self.is_last_moment() and not self.saved:
            sure = self.ask()
            if self.is_last_moment():
                self.end(sure)

    def ask(self) -> bool:
        """Ask the scheduler; where it has moved the end, there is time to be warned of again."""
        self.asked = True
        reckoned = self.limit.left()
        sure = self.limit.ask(self.agent.output_of)
        left = self.limit.left()
        if left is not None and reckoned is not None and left > reckoned + 60 and self.told:
            self.told = [t for t in self.told if left <= t]
            self.agent.event("time-moved", left=int(left))
            log("the end of the job's time was moved: it is in %s" % in_words(left))
            self.agent.tell_tabs({"withdraw": "time"})
        return sure

    def passed(self) -> List[float]:
        """The warnings that are due and not told."""
        left = self.limit.left()
        if left is None:
            return []
        return [t for t in self.warnings if left <= t + SLACK and t not in self.told]

    def warn(self) -> None:
        """Say how much time is left."""
        left = self.limit.left()
        whole = None if left is None else int(left)
        # Slurm's own warning may come a minute before ours: one of them will do.
        early = 60 if self.signalled else SLACK
        self.told = [t for t in self.warnings if left is not None and left <= t + early]
        self.agent.event("time-left", left=whole)
        log("the job's time is over " + ("soon" if left is None else "in " + in_words(left)))
        self.agent.tell_tabs({"show": {"kind": "time", "left": whole}})

    def is_last_moment(self) -> bool:
        """It is time to end."""
        left = self.limit.left()
        return bool(self.before) and left is not None and left <= self.before

    def end(self, sure: bool) -> None:
        """Save, and end where the scheduler has said that the time is over (End)."""
        self.saved = True
        # A tab that does not answer must leave the time for an end in good order.
        seconds = min(SAVE_TIME, (self.limit.left() or 0.0) / 2)
        self.agent.save_tabs("The time of this session is over.", seconds)
        if not sure:
            log("the scheduler does not say whether the end was moved: it goes on until it ends it")
            return
        left = self.limit.left() or 0.0
        reason = "The walltime is over: the session was ended in good order, %s before"
        raise End("time-limit", reason % in_words(left))


class IdleCare:
    """Ends the session where nothing has worked for `timeout` seconds, and says so before.

    Work is what kernels, commands in terminals, other processes of the job and its GPUs do. That somebody
    has a page open is none. Whatever cannot be found out counts as work.
    """

    def __init__(self, agent: "Agent", timeout: float) -> None:
        self.agent = agent
        self.timeout = timeout
        self.every = min(LOOK_EVERY, max(1.0, timeout / 10))
        self.notice = min(300.0, timeout / 3)
        self.idle = 0.0  # seconds
        self.warned = False
        self.looked = time.monotonic()
        self.used: Dict[Tuple[int, int], float] = {}  # CPU seconds of (pid, start ticks)
        self.moments: Dict[str, str] = {}  # when each kernel and terminal was last active
        self.stayed = 0  # how often somebody asked for the session to stay
        self.work(1.0)

    def due(self) -> float:
        """Seconds until the next look."""
        return max(0.1, self.looked + self.every - time.monotonic())

    def attend(self) -> None:
        """Look, where it is time to (End: nothing has worked for too long)."""
        elapsed = time.monotonic() - self.looked
        if elapsed < self.every:
            return
        self.looked = time.monotonic()
        work = self.work(elapsed)
        # Whoever was suspended has not been idle all the while.
        self.idle = 0.0 if work else self.idle + min(elapsed, 2 * self.every)
        if work and self.warned:
            self.warned = False
            self.agent.event("idle-over", work=work)
            log("no longer idle: " + work)
            self.agent.tell_tabs({"withdraw": "idle"})
        elif self.idle >= self.timeout and self.warned:
            long = in_words(self.idle)
            self.agent.save_tabs("This session has ended: nothing ran for %s." % long)
            raise End("idle", "Nothing ran for %s: no kernel, no command, no GPU" % long)
        elif self.idle >= self.timeout - self.notice and not self.warned:
            self.warned = True
            left = max(1, int(self.timeout - self.idle))
            self.agent.event("idle-warning", left=left, idle=int(self.idle))
            spans = (in_words(self.idle), in_words(left))
            log("nothing has run for %s; the session ends in %s" % spans)
            notice = {"kind": "idle", "left": left, "idle": int(self.idle)}
            self.agent.tell_tabs({"show": notice})

    def work(self, elapsed: float) -> str:
        """What has worked in the `elapsed` seconds since the look before; empty: nothing."""
        # Asked in any case: the next look compares with this one.
        process = self.process_at_work(elapsed)
        try:
            return self.jupyter_at_work() or process or self.gpu_at_work()
        except (Unready, KeyError, TypeError, AttributeError) as error:
            return "Jupyter could not be asked (%s)" % error

    def jupyter_at_work(self) -> str:
        """A kernel or a terminal that does something, or somebody who wants the session to stay."""
        moments = {}
        busy = ""
        for kernel in self.agent.ask_jupyter("/api/kernels") or []:
            moments[str(kernel["id"])] = str(kernel["last_activity"])
            if kernel["execution_state"] == "busy":
                busy = "a kernel is busy"
        for terminal in self.agent.ask_jupyter("/api/terminals") or []:
            moments["terminal " + str(terminal["name"])] = str(terminal.get("last_activity"))
        if not set(moments.items()) <= set(self.moments.items()):
            busy = busy or "a kernel or a terminal was used"
        self.moments = moments
        stayed = self.stayed
        self.stayed = (self.agent.ask_jupyter("/api/rps/tabs", {}) or {}).get("stayed", stayed)
        return busy or ("somebody wants it to stay" if self.stayed != stayed else "")

    def process_at_work(self, elapsed: float) -> str:
        """A process that computes, a command in a terminal, or one whose work is done elsewhere."""
        # Open pages keep Jupyter's own server at work.
        server = self.agent.jupyter.process.pid if self.agent.jupyter else None
        own = Use(os.getpid()).terminal
        used: Dict[Tuple[int, int], float] = {}
        busy = ""
        for pid, ticks in descendants(os.getpid()).items():
            try:
                use = Use(pid)
            except (OSError, ValueError, IndexError):  # it has ended meanwhile
                continue
            if pid == server:
                continue
            used[pid, ticks] = use.seconds
            if use.seconds - self.used.get((pid, ticks), 0.0) > BUSY * elapsed:
                busy = busy or "%s (process %d) computes" % (use.name, pid)
            elif use.terminal not in (0, own) and pid != use.session:
                busy = busy or "%s (process %d) runs in a terminal" % (use.name, pid)
            elif use.name in LAUNCHERS:
                busy = busy or "%s (process %d) runs" % (use.name, pid)
        self.used = used
        return busy

    def gpu_at_work(self) -> str:
        """A GPU of the job that computes."""
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        if not re.match("[0-9A-Za-z,/-]+$", gpus) or gpus == "NoDevFiles":
            return ""
        query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        said = self.agent.output_of(["nvidia-smi", "--id=" + gpus, *query])
        if said is None:
            return "" if shutil.which("nvidia-smi") is None else "nvidia-smi does not answer"
        idle = all(word.strip() == "0" for word in said.split("\n") if word.strip())
        return "" if idle else "a GPU computes"


# -------------------------------------------------------------------------------------------- agent


class Agent:
    """One session's life on the node. `run` answers the exit status: 0 for an end as it should be."""

    def __init__(self, session: str, app: str, wake: Wake) -> None:
        self.session = session
        self.app = app
        self.wake = wake
        self.processes = Processes()
        self.run_directory = os.path.join(session, "run")
        self.sockets = ""  # directory of the kernels' sockets, on the node
        self.jupyter: Optional[Jupyter] = None
        self.claim = ""
        self.token = ""
        self.ours = False  # the session is ours to end, and its secrets ours to remove
        self.ready = False
        self.away = False
        self.told_time_is_up = False
        self.absent: Set[str] = set()  # paths of Jupyter's API that this one does not have
        self.cares: List[Any] = []  # a TimeCare and an IdleCare, once the application answers
        self.missing = 0  # looks in a row that did not find the session's directory

    def run(self) -> int:
        """Everything, from reading the session's files to removing its secrets."""
        try:
            self.read_session()
            self.event(
                "started",
                node=socket.gethostname(),
                pid=os.getpid(),
                start_time=start_ticks(os.getpid()),
                job_id=self.job_id,
                python="%d.%d.%d" % sys.version_info[:3],
            )
            self.obtain_certificate()
            self.start_jupyter()
            self.begin_to_care()
            self.redeem()
            self.renew()
        except End as end:
            return self.finish(end)
        except UnsafeFile as error:
            return self.finish(End("start-failed", "%s: refused" % error))
        except OSError as error:
            where = " (%s)" % error.filename if error.filename else ""
            return self.finish(End("start-failed", _plain(error) + where))
        except Exception as error:  # noqa: BLE001 - after a defect too, nothing may be left behind
            traceback.print_exc()
            name = type(error).__name__
            return self.finish(End("start-failed", "A defect in the agent: %s, see the log" % name))
        raise AssertionError("renew() ends by raising End")

    def read_session(self) -> None:
        """The session's directory, as the launcher made it."""
        check_directory(self.session)
        try:
            launch = json.loads(read_file(os.path.join(self.session, "launch.json")).decode())
            secrets = read_file(os.path.join(self.session, "claim.json"), secret=True)
            keys = json.loads(secrets.decode())
            self.name: str = launch["name"]
            self.host: str = launch["host"]
            self.directory: str = launch["directory"]
            self.program: str = launch["jupyter"]
            self.container: Optional[List[str]] = launch.get("container")
            self.port_range: Optional[List[int]] = launch["port_range"]
            self.start_timeout: float = launch["start_timeout"]
            walltime = launch.get("walltime")
            self.limit = TimeLimit(None if walltime is None else float(walltime))
            self.shutdown_before = float(launch.get("shutdown_before", 0))
            self.idle_timeout = float(launch.get("idle_timeout") or 0)
            service = launch["service"]
            ca_file = service["ca_file"] and os.path.join(self.session, service["ca_file"])
            self.service = self.reach(service["host"], service["port"], service["connect"], ca_file)
            self.origin = str(launch["url"]).rstrip("/")
            if not (_PRINTABLE(keys["claim"]) and _PRINTABLE(keys["token"])):
                raise ValueError
            self.claim = keys["claim"]
            self.token = keys["token"]
            self.ours = True
            check_port_range(self.port_range)
        except (ValueError, KeyError, TypeError) as error:
            # The error's text may quote the file.
            name = type(error).__name__
            raise End("start-failed", "The session's files are damaged (%s)" % name) from None
        # The local scheduler's first: its jobs may be started from within a Slurm job.
        names = ("RPS_JOB_ID", "SLURM_JOB_ID", "PBS_JOBID")
        self.job_id = next((os.environ[name] for name in names if name in os.environ), None)

    def reach(
        self, host: str, port: int, connect: Optional[str], ca_file: Optional[str]
    ) -> Service:
        """The service, which nobody has been asked for yet."""
        return Service(host, port, connect, ca_file)

    # Waiting, and asking the service meanwhile

    def pause(self, seconds: float) -> None:
        """Wait until something happens, at most this long. Raises End when we are asked to end."""
        self.wake.wait(seconds)
        self.processes.reap()
        if self.wake.asked_to_end:
            left = self.limit.left()
            if left is not None and left <= SLACK:
                raise End("time-limit", "The walltime is over, and the scheduler ended the job")
            raise End("signal", "The job was asked to end")
        if self.wake.time_is_up and not self.told_time_is_up:
            self.told_time_is_up = True
            left = self.limit.left()
            self.event("time-nearly-up", left=None if left is None else int(left))
            log("the job's time is nearly up" + ("" if left is None else ": %d s are left" % left))

    def aside(self, work: Callable[[], _T]) -> _T:
        """Do `work`, which may block for long (a name that does not resolve), without being deaf."""
        done: List[Tuple[Optional[_T], Optional[Exception]]] = []

        def work_and_tell() -> None:
            try:
                done.append((work(), None))
            except Exception as error:  # noqa: BLE001 - it is raised again, in the main thread
                done.append((None, error))
            self.wake.up()

        worker = in_thread(work_and_tell)
        while not done:
            self.pause(60.0)
            self.check_alive()
        if worker is not None:
            worker.join()  # so that Jupyter is started from one thread alone
        result, error = done[0]
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def ask(self, call: str, body: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """A call of this session's; one that the service cannot answer is repeated until it does.

        Raises:
            ServiceRefused: it said no.
        """
        path = "/api/v1/sessions/%s/%s" % (self.name, call)
        return self.insist(lambda: self.service.request("POST", path, body, self.claim))

    def insist(self, call: Callable[[], _T]) -> _T:
        """A call of the service, repeated until it answers (ServiceRefused: it said no)."""
        attempt = 0
        while True:
            try:
                answer = self.aside(call)
            except ServiceAway as away:
                self.note_away(away.reason)
            except ServiceRefused:
                self.note_back()
                raise
            else:
                self.note_back()
                return answer
            # Jitter, or else every session of the cluster comes back in the same instant.
            delay = BACK_OFF[min(attempt, len(BACK_OFF) - 1)] * random.uniform(0.7, 1.3)  # noqa: S311
            attempt += 1
            self.sleep(delay)

    def sleep(self, seconds: float) -> None:
        """Wait this long, unless the application or the job ends, and see to the time and to idleness."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            due = min([care.due() for care in self.cares] + [deadline - time.monotonic()])
            self.pause(due)
            self.check_alive()
            for care in list(self.cares):
                try:
                    care.attend()
                except End:
                    raise
                except Exception:  # noqa: BLE001 - a defect here must not end a notebook that works
                    traceback.print_exc()
                    self.cares.remove(care)

    def output_of(self, command: List[str]) -> Optional[str]:
        """What a program prints; None where there is none, or it fails, or is not done in time."""
        program = shutil.which(command[0])
        if program is None:
            return None
        quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        try:
            process = self.processes.start([program, *command[1:]], stdout=subprocess.PIPE, **quiet)
        except (OSError, RuntimeError) as error:  # a notebook can use up the user's processes
            log("%s could not be run: %s" % (command[0], error))
            return None
        with process.stdout:
            deadline = time.monotonic() + ANSWER_TIME
            while self.processes.exit_code(process) is None and time.monotonic() < deadline:
                self.pause(deadline - time.monotonic())  # its end is a signal, which ends the wait
                self.check_alive()
            code = self.processes.exit_code(process)
            if code is None:
                send(process.pid, start_ticks(process.pid) or 0, signal.SIGKILL)
            if code != 0:
                return None
            os.set_blocking(process.stdout.fileno(), False)  # one that it left may hold it open
            return (process.stdout.read() or b"").decode("utf-8", "replace")

    # What Jupyter and the browser's tabs are asked and told

    def ask_jupyter(self, path: str, body: Any = None, timeout: float = 10.0) -> Any:
        """The answer of Jupyter's API, without going deaf (Unready: none). None: it has no such thing."""
        content = None if body is None else json.dumps(body).encode()
        method = "GET" if body is None else "POST"
        headers = {"Authorization": "token " + self.token, "Content-Type": "application/json"}

        def call() -> Any:
            status, _, text = call_jupyter(
                self.address, self.port, self.host, self.context, method, path, headers, content, timeout
            )  # fmt: skip
            if status == 404:
                self.absent.add(path)
                return None
            try:
                if status == 200:
                    return json.loads(text.decode())
            except ValueError:
                pass
            raise Unready("it answered with status %d" % status)

        return None if path in self.absent else self.aside(call)

    def tell_tabs(self, message: Dict[str, Any], timeout: float = 10.0) -> Dict[str, Any]:
        """Tell the browser's tabs something (tabs.py); the answer, empty where that cannot be done."""
        try:
            return self.ask_jupyter("/api/rps/tabs", message, timeout) or {}
        except Unready as unready:
            log("the browser's tabs could not be told: %s" % unready)
            return {}

    def save_tabs(self, text: str, seconds: float = SAVE_TIME) -> None:
        """Have what is open in the browser saved, within so many seconds, and say there why: the session is
        about to end."""
        answer = self.tell_tabs({"save": seconds}, seconds + 5)
        if answer.get("tabs"):
            left = answer.get("left", [])
            self.event("saved", tabs=answer["tabs"], saved=answer.get("saved"), left=left)
            text += " Not saved: %s" % ", ".join(left) if left else " Open documents are saved."
            self.tell_tabs({"show": {"kind": "end", "text": text}})

    def begin_to_care(self) -> None:
        """From here on the time is watched, and whether anything works."""
        self.cares = [TimeCare(self, self.limit, self.shutdown_before)]
        if self.idle_timeout:
            self.cares.append(IdleCare(self, self.idle_timeout))

    def note_away(self, reason: str) -> None:
        """Once per outage."""
        if not self.away:
            self.away = True
            self.event("service-away", reason=reason)
            log("the service is away (%s); trying on" % reason)

    def note_back(self) -> None:
        """Once per outage, when it is over."""
        if self.away:
            self.away = False
            self.event("service-back")
            log("the service is back")

    # From the certificate to the renewals

    def obtain_certificate(self) -> None:
        """Certificate and key of this session, and with them the private directory."""
        try:
            answer = self.ask("certificate")
        except ServiceRefused as refused:
            raise self.refusal("certificate", refused) from None
        self.address = self.service.local_address
        self.ca = str(answer["ca"])
        self.make_run_directory()
        for name in ("certificate", "key"):
            write_secret(os.path.join(self.run_directory, name + ".pem"), answer[name].encode())

    def make_run_directory(self) -> None:
        """The private directory, in place of one that an agent left which was killed."""
        self.remove_run_directory()
        os.mkdir(self.run_directory, 0o700)
        os.chmod(self.run_directory, 0o700)
        self.sockets = make_sockets_directory(self.run_directory)

    def start_jupyter(self) -> None:
        """Jupyter, until it answers as it should; on another port where one was taken."""
        command = self.application()
        if not os.path.isdir(native(self.directory)):
            raise End("start-failed", "The notebook directory %s is not here" % self.directory)
        deadline = time.monotonic() + self.start_timeout
        for _ in range(START_ATTEMPTS):
            port = free_port(self.address, self.port_range)
            if port is None:
                where = "from %d to %d" % tuple(self.port_range) if self.port_range else "at all"
                raise End("start-failed", "No port is free on %s, %s" % (self.address, where))
            self.jupyter = self.launch(command, port)
            if self.await_ready(self.jupyter, port, deadline):
                return
            self.event("port-taken", port=port)
            log("port %d was taken by another program" % port)
            self.jupyter = None
            self.processes.end(None, 0)
        raise End("start-failed", "Another program took each of %d ports" % START_ATTEMPTS)

    def application(self) -> List[str]:
        """The program and its application; in a container that is looked for inside."""
        if self.container is None:
            return [self.found(self.program), self.app]
        runner = shutil.which("apptainer") or self.found("singularity")
        inside = ["--bind", self.session, "--bind", self.sockets]
        inside += [native(word) for word in (*self.container, self.program)] + [self.app]
        return [runner, "exec", *inside]

    def found(self, program: str) -> str:
        """The path of a program."""
        path = shutil.which(native(program))
        if path is None:
            raise End(
                "start-failed",
                "There is no program `%s` on this node. The job's PATH is %s"
                % (program, os.environ.get("PATH", "empty")),
            )
        return path

    def launch(self, application: List[str], port: int) -> Jupyter:
        """Start Jupyter on this port. Its token is in a file: never in argv, nor in the environment."""
        for name in os.listdir(self.run_directory):
            if name.startswith(("jpserver-", "nbserver-")):  # of the attempt before
                os.unlink(os.path.join(self.run_directory, name))
        settings = {
            "token": self.token,
            "sockets": self.sockets,
            "cookie_secret": os.urandom(32).hex(),
            "ip": self.address,
            "port": port,
            "port_retries": 0,  # another one may lie outside the range; we pick it
            "client_ca": "",
            "sock": "",
            "directory": self.directory,
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
            **self.serving(),
        }
        config = os.path.join(self.run_directory, "jupyter_config.py")
        write_secret(
            os.path.join(self.run_directory, "settings.json"), json.dumps(settings).encode()
        )
        write_secret(config, JUPYTER_CONFIG.encode())
        self.write_tabs()
        command = [*application, "--config=" + config]
        jupyter = Jupyter(self.processes, command, self.run_directory, [self.token, self.claim])
        pid = jupyter.process.pid
        ticks = start_ticks(pid)
        self.event("application", pid=pid, start_time=ticks, command=command, sockets=self.sockets)
        log("started " + " ".join(command))
        return jupyter

    def write_tabs(self) -> None:
        """Beside the configuration, Jupyter's part of what is told in the browser, and the tabs' part, as an
        extension of JupyterLab."""
        files = [os.path.join(self.session, name) for name in ("tabs.py", "tab.js")]
        if any(is_missing(path) for path in files):  # of a launcher that has none
            return
        extension = os.path.join(self.run_directory, "labextensions", "rps-session")
        os.makedirs(os.path.join(extension, "static"), 0o700, exist_ok=True)
        build = {"load": "static/tab.js", "extension": "./extension"}
        package = {"name": "rps-session", "version": "1.0.0", "jupyterlab": {"_build": build}}
        for path, content in (
            (os.path.join(self.run_directory, "tabs.py"), read_file(files[0])),
            (os.path.join(extension, "static", "tab.js"), read_file(files[1])),
            (os.path.join(extension, "package.json"), json.dumps(package).encode()),
        ):
            write_secret(path, content)

    def serving(self) -> Dict[str, Any]:
        """The settings with which Jupyter serves as the service expects: over TLS of its own."""
        pem = {
            "certfile": os.path.join(self.run_directory, "certificate.pem"),
            "keyfile": os.path.join(self.run_directory, "key.pem"),
        }
        return {"certfile": pem["certfile"], "keyfile": pem["keyfile"], "ssl_options": pem}

    def trust(self) -> Any:
        """What verifies our own Jupyter when we look at it; None where it serves plain HTTP."""
        return tls_context(ca_data=self.ca)

    def await_ready(self, jupyter: Jupyter, port: int, deadline: float) -> bool:
        """True when it answers as it should, false when it died for want of its port."""
        context = self.context = self.trust()
        while True:
            code = self.processes.exit_code(jupyter.process)
            if code is not None:
                if "already in use" in jupyter.last_lines() or not _can_bind(self.address, port):
                    return False
                raise End("start-failed", "Jupyter ended before it answered: " + how(code), code)
            try:
                self.port = self.aside(lambda: self.protected_port(jupyter, context))
            except Unready as unready:
                if time.monotonic() > deadline:
                    reason = "Jupyter did not answer within %d s: %s" % (
                        self.start_timeout,
                        unready,
                    )
                    raise End("timeout", reason) from None
                self.pause(0.1)
            else:
                self.ready = True
                self.event("listening", address=self.address, port=self.port)
                log("Jupyter listens on %s, port %d" % (self.address, self.port))
                return True

    def protected_port(self, jupyter: Jupyter, context: Any) -> int:
        """The port where Jupyter answers as it should (Unready, End: see `check_protected`)."""
        address, port = jupyter.listening()
        if address != self.address:
            raise End(
                "start-failed",
                "Jupyter listens on %s, not on %s: something in its configuration or its extensions"
                " says so, and so it was not published" % (address, self.address),
            )
        origin = None if context is not None else self.origin
        check_protected(address, port, self.host, context, self.token, origin)
        return port

    def redeem(self) -> None:
        """Claim in hand, tell the service where Jupyter is: from here on there is a route."""
        try:
            answer = self.ask("redeem", {"port": self.port, "job_id": self.job_id})
        except ServiceRefused as refused:
            raise self.refusal("session", refused) from None
        self.renew_every = float(answer["renew_every"])
        self.event("ready", address=self.address, port=self.port)
        log("ready")

    def refusal(self, what: str, refused: ServiceRefused) -> End:
        """How the session ends where the service says no."""
        if refused.code == "already-redeemed":
            self.ours = (
                False  # another job of this session was faster: it, and the files, are that one's
            )
        return End("refused", "The service refused the %s: %s" % (what, refused))

    def renew(self) -> None:
        """Renew the lease until something ends the session, which raises End."""
        while True:
            self.sleep(self.renew_every * random.uniform(0.9, 1.0))  # noqa: S311
            self.check_directory()
            try:
                self.renew_every = float(self.ask("renew")["renew_every"])
            except ServiceRefused as refused:
                if refused.status in (401, 403, 404, 410):
                    raise End("revoked", "The service ended the session: %s" % refused) from None
                self.note_away(
                    str(refused)
                )  # it does not understand us, and says nothing of the claim

    def check_directory(self) -> None:
        """Raise End where the session's directory is gone, twice in a row: one look may err, on NFS."""
        self.missing = self.missing + 1 if is_missing(self.session) else 0
        if self.missing == 2:
            raise End("removed", "The session's directory is gone: %s" % self.session)

    def check_alive(self) -> None:
        """Raise End where Jupyter, once ready, has ended."""
        if self.ready and self.jupyter is not None:
            code = self.processes.exit_code(self.jupyter.process)
            if code is not None:
                raise End("application-exit", "Jupyter ended: " + how(code), code)

    # The end

    def finish(self, end: End) -> int:
        """Take the route down, end every process, remove the secrets, and say why."""
        log(end.reason)
        if self.ours and end.cause != "revoked":
            self.revoke(end.reason, end.cause)
        code: Optional[int] = None
        said = ""
        first = self.jupyter and self.jupyter.process
        survivors = self.processes.end(first, STOP_GRACE, self.wake.hurry)
        if survivors:
            log("these processes could not be ended: %s" % ", ".join(map(str, survivors)))
        good = end.cause in ("signal", "revoked", "time-limit", "idle")
        if self.jupyter is not None:
            code = self.processes.exit_code(self.jupyter.process)
            good = good or (end.cause == "application-exit" and code == 0)
            said = "" if good else self.jupyter.last_lines()
        self.remove_secrets()
        self.event("ended", reason=end.reason, cause=end.cause, exit_code=code, log=said)
        return 0 if good else 1

    def revoke(self, reason: str, cause: str) -> None:
        """Tell the service that the session is over; without it, the lease ends the route."""
        path = "/api/v1/sessions/%s/revoke" % self.name
        deadline = time.monotonic() + REVOKE_TIME
        body = {"reason": short(reason), "cause": cause}

        def tell() -> None:
            while time.monotonic() < deadline:
                try:
                    self.service.request("POST", path, body, self.claim)
                except ServiceAway:
                    time.sleep(0.3)
                except ServiceRefused as refused:
                    if refused.code in ("gone", "unknown-name", "wrong-claim"):
                        return  # it was over, or never ours
                    body.clear()  # it may dislike our words
                    time.sleep(0.3)
                else:
                    return

        teller = in_thread(tell)
        while (
            teller and teller.is_alive() and time.monotonic() < deadline and not self.wake.hurry()
        ):
            teller.join(0.05)

    def remove_secrets(self) -> None:
        """What could open the session, or what it left behind, is of no use to anybody now."""
        if self.sockets:  # ours in any case, and the run directory may tell of them no more
            shutil.rmtree(self.sockets, ignore_errors=True)
        if not self.ours:
            return
        self.remove_run_directory()
        try:
            os.unlink(os.path.join(self.session, "claim.json"))
        except FileNotFoundError:  # the launcher was faster
            pass
        except OSError as error:
            log("claim.json could not be removed: %s" % _plain(error))

    def remove_run_directory(self) -> None:
        """The run directory, and the kernels' sockets that it tells of."""
        remove_sockets_directory(self.run_directory)
        shutil.rmtree(self.run_directory, ignore_errors=True)

    def event(self, name: str, **fields: Any) -> None:
        """Add a line to events.jsonl. Where it cannot be written the session goes on without."""
        line = json.dumps(dict({"time": time.time(), "event": name}, **fields)) + "\n"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(os.path.join(self.session, "events.jsonl"), flags, 0o600)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            log("events.jsonl could not be written: %s" % _plain(error))


class SatelliteAgent(Agent):
    """The same session at the older service (docs/protocol.md): no certificate, no claim and no lease.

    Jupyter serves plain HTTP, protected by its token alone. The route is there up to two minutes after
    the name is redeemed, and stays for two days unless we destroy the name.
    """

    service: Satellite
    redeeming = False  # we have asked for it, whether or not an answer came
    destroyed: Optional[bool] = None  # the name; none: nobody has tried

    def reach(
        self, host: str, port: int, connect: Optional[str], ca_file: Optional[str]
    ) -> Satellite:
        """The older service."""
        return Satellite(host, port, connect, ca_file)

    def obtain_certificate(self) -> None:
        """There is none to be had; what is learnt is the address the service reaches us at, and that
        the name is still there and nobody's."""
        try:
            self.insist(self.see_unredeemed)
        except ServiceRefused as refused:
            raise self.refusal("session", refused) from None
        self.address = self.service.local_address
        self.make_run_directory()

    def see_unredeemed(self) -> bool:
        """True while the name is to be redeemed, false when we did.

        Raises:
            ServiceRefused: somebody else did, or the service does not know it.
        """
        state = self.service.state(self.claim)
        if state in REDEEMED and self.redeeming:
            return False  # the answer to our own call was lost
        if state in REDEEMED:
            raise refusal_of("Oops! Unknown nonce or nonce already used", "")
        if not state:
            raise refusal_of("Oops! Unknown nonce or nonce already destroyed", "")
        return True

    def serving(self) -> Dict[str, Any]:
        """Plain HTTP. The service may pass on another Host than the browser's, so that Jupyter is told
        which pages are its own; and the cookie, which the browser has by HTTPS, stays there."""
        plain = {"certfile": "", "keyfile": "", "ssl_options": {}}
        return dict(plain, allow_origin=self.origin, cookie_options={"secure": True})

    def trust(self) -> Any:
        """Nothing: see `check_protected`."""

    def redeem(self) -> None:
        """Tell the service where Jupyter is; it makes the route within two minutes."""

        def once() -> None:
            if not self.see_unredeemed():
                return
            again, self.redeeming = self.redeeming, True
            try:
                self.service.redeem(self.claim, self.port)
            except ServiceRefused as refused:
                # Our call before may only just have been served.
                if again and refused.code == "used":
                    raise ServiceAway("it has not told yet that the name is redeemed") from None
                raise

        try:
            self.insist(once)
        except ServiceRefused as refused:
            raise self.refusal("session", refused) from None
        self.event("redeemed", address=self.address, port=self.port)
        log("redeemed; the service makes the notebook reachable within two minutes")

    def refusal(self, what: str, refused: ServiceRefused) -> End:
        """How the session ends where the service says no."""
        if refused.code == "used":
            self.ours = False  # another job of this session may have been faster
        reason = "The service refused the %s: %s" % (what, refused)
        return End("refused", ". ".join(filter(None, (reason, refused.advice))))

    def renew(self) -> None:
        """There is nothing to renew. Until the route is there the service is asked for it, then left
        in peace: it has no more to say, and what ends the session is the application or the job."""
        reachable = late = False
        began = time.monotonic()
        while True:
            self.sleep((15.0 if reachable else 5.0) * random.uniform(0.9, 1.0))  # noqa: S311
            self.check_directory()
            if reachable:
                continue
            try:
                state = self.aside(lambda: self.service.state(self.claim))
            except (ServiceAway, ServiceRefused) as error:
                self.note_away(str(error))
                continue
            self.note_back()
            if not state:
                raise End("revoked", "The service does not know the session's name any more")
            if state == "PR":
                reachable = True
                self.event("ready", address=self.address, port=self.port)
                log("ready")
            elif not late and time.monotonic() - began > 300:
                late = True
                log("the service has not made the notebook reachable for five minutes; trying on")

    def revoke(self, _reason: str, _cause: str) -> None:
        """Destroy the name while the application is being ended; `remove_secrets` waits for it."""
        self.destroyed = False
        seconds = DESTROY_TIME if self.redeeming else REVOKE_TIME
        self.destroy_until = time.monotonic() + seconds

        def destroy() -> None:
            while time.monotonic() < self.destroy_until:
                try:
                    self.service.destroy(self.claim)
                except ServiceAway:
                    time.sleep(0.5)
                    continue
                except ServiceRefused as refused:
                    if refused.code != "gone":
                        log("the service did not destroy the name: %s" % refused)
                        return
                self.destroyed = True
                return

        self.destroyer = in_thread(destroy)

    def remove_secrets(self) -> None:
        """As ever, once the name is destroyed or it is clear that it will not be."""
        if self.destroyed is not None:
            while (
                self.destroyer
                and self.destroyer.is_alive()
                and time.monotonic() < self.destroy_until
                and not self.wake.hurry()
            ):
                self.destroyer.join(0.05)
            if self.redeeming and not self.destroyed:
                self.event("route-left", address=self.address, port=self.port)
                log("the service could not be told; it keeps the route for up to 49 hours")
        super().remove_secrets()


def agent_class(session: str) -> Any:
    """Which agent the session's service asks for; where its files are damaged, the one that says so."""
    try:
        launch = json.loads(read_file(os.path.join(session, "launch.json")).decode())
        return SatelliteAgent if launch["service"]["protocol"] == "satellite" else Agent
    except (OSError, ValueError, KeyError, TypeError, UnsafeFile):
        return Agent


def short(reason: str) -> str:
    """A reason that the service takes: a line of printable text, not too long."""
    line = "".join(letter if letter.isprintable() else "?" for letter in reason)
    return line if len(line) <= REASON_LENGTH else line[: REASON_LENGTH - 1] + "\u2026"


def _can_bind(address: str, port: int) -> bool:
    try:
        _bind(address, port)
    except OSError:
        return False
    return True


def how(code: int) -> str:
    """How a program ended, in words; `code` is negative for a signal."""
    if code >= 0:
        return "exit code %d" % code
    if code == -signal.SIGKILL:
        return "killed by signal 9 (often for want of memory)"
    return "killed by signal %d" % -code


def main() -> int:
    """The command line of the top of this file."""
    import argparse

    parser = argparse.ArgumentParser(description="Run Jupyter for one rps session.")
    parser.add_argument("session", help="the session's directory")
    parser.add_argument("--app", choices=("lab", "notebook"), required=True)
    arguments = parser.parse_args()
    wake = Wake()
    session = os.path.abspath(arguments.session)
    code: int = agent_class(session)(session, arguments.app, wake).run()
    return code


if __name__ == "__main__":
    sys.exit(main())
