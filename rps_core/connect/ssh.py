"""Run the system's own ssh: one connection, with a control socket that only this process uses.

The connection's first session is a shell on the host, which runs one command after the other. Terminals,
tunnels and copies share the connection: the user authenticates once. Nothing of ssh is implemented here, and
nothing needs Linux.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import selectors
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, cast

from rps_core.connect import failures
from rps_core.connect.destination import Destination
from rps_core.connect.failures import ConnectionLostError
from rps_core.errors import ConnectError, UsageError
from rps_core.log import notice
from rps_core.system.terminal import for_a_terminal

LONGEST_ANSWER = 8 << 20  # bytes, of one command
_SHELL_WITHIN = 60.0  # seconds for the login shell to start, once the user is authenticated
_ENDS_WITHIN = 5.0  # seconds for ssh to end
_KEPT_LINES = 50  # of ssh's messages, to find the cause of its end
# Bytes of a Unix socket's path: 104 on macOS with its final zero, and ssh first binds PATH.XXXXXXXXXXXXXXXX.
_LONGEST_SOCKET = 103 - 17
# Seconds between two questions to a silent server, and how many stay unanswered before ssh gives up (default:
# it asks none).
_ALIVE = ("ServerAliveInterval=15", "ServerAliveCountMax=3")
_CONNECT_WITHIN = "ConnectTimeout=20"  # seconds
# ssh makes a connection of its own, with questions of its own, where the shared one takes no further session
# (sshd_config: MaxSessions 1; the message is of mux.c). This keeps it from that.
_SHARED_ALONE = ("-o", "ProxyCommand=false")
_NO_MORE_SESSIONS = b"Session open refused by peer"


@dataclass(frozen=True, slots=True)
class Answer:
    """A command's exit code and standard output; invalid UTF-8 is replaced."""

    code: int
    stdout: str


class Connection:
    """An ssh connection and a shell on its host; a context manager, so that both end."""

    def __init__(
        self, destination: Destination, *, through: Connection | None = None, again: bool = False
    ) -> None:
        """Connect; ssh asks for passwords on the terminal.

        Args:
            destination: the host, and what its shell loads.
            through: the connection to the host from which this one can be reached.
            again: after a lost connection: print no messages of ssh, and ask the user nothing.

        Raises:
            UsageError: there is no ssh here.
            ConnectError: the host does not let the user in, or cannot be reached.
        """
        self.destination = destination
        self._quiet = again
        self._said: deque[str] = deque(maxlen=_KEPT_LINES)
        self._directory = _private_directory()
        self._socket = self._directory / "s"
        self._marker = f"rps-{secrets.token_hex(8)}"
        self._read = b""
        try:
            self._process = self._start(through)
            streams = self._process.stdin, self._process.stdout, self._process.stderr
            self._input, self._output, self._messages = (cast(IO[bytes], each) for each in streams)
            self._reader = threading.Thread(target=self._relay, daemon=True)
            self._reader.start()
            self._await_shell()
            self._quiet = False
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def run(self, script: str, timeout: float | None) -> Answer:
        """Return the result of shell commands on the host; stderr goes to the user.

        `timeout`: in seconds; None: however long.

        Raises:
            ConnectionLostError: the connection ended before the commands.
            ConnectError: they did not end in time, or print more than `LONGEST_ANSWER`.
        """
        done = f"{self._marker}-{secrets.token_hex(4)}"
        text = f"{{ {script}\n}} </dev/null; printf '\\n%s %d\\n' {done} $?\n"
        try:
            self._input.write(text.encode())
            self._input.flush()
        except OSError:
            raise self.lost() from None
        deadline = None if timeout is None else time.monotonic() + timeout
        end = re.compile(rf"\n{done} ([0-9]{{1,3}})\n".encode())
        while (found := end.search(self._read)) is None:
            if len(self._read) > LONGEST_ANSWER:
                raise ConnectError(
                    f"{self.destination.name} printed more than rps reads of an answer",
                    f"`ssh {self.destination.name} hostname` must print the host's name, and end.",
                )
            if not self._more(deadline):
                raise ConnectError(
                    f"{self.destination.name} did not answer within {timeout or 0:.0f} s",
                    "It may be overloaded: try again later.",
                )
        output, self._read = self._read[: found.start()], b""
        return Answer(int(found[1]), output.decode("utf-8", "replace"))

    def interactive(self, script: str) -> int | None:
        """Run shell commands on a terminal of the host that is shown on this one.

        Returns:
            The exit code; None: the host allows no second session on a connection, and nothing was run.
        """
        command = self.destination.in_its_shell(f"exec /bin/sh -c {shlex.quote(script)}")
        # At ssh's usual level of messages it reports the end of the terminal's connection.
        options = ("-t", "-o", "LogLevel=ERROR", *_SHARED_ALONE)
        argv = [*self._client(*options), "--", self.destination.ssh, command]
        # stdout is for the URL.
        done = subprocess.run(argv, stdout=sys.stderr.fileno(), stderr=subprocess.PIPE)
        if done.returncode == failures.SSH_FAILED and _NO_MORE_SESSIONS in done.stderr:
            return None
        for line in done.stderr.splitlines():
            self._note(line)
        return done.returncode

    def copy(self, source: IO[bytes], script: str) -> Answer:
        """Run shell commands on the host whose input is the file."""
        command = self.destination.in_its_shell(f"exec /bin/sh -c {shlex.quote(script)}")
        for options in (_SHARED_ALONE, ()):
            source.seek(0)
            argv = [*self._client("-T", *options), "--", self.destination.ssh, command]
            done = subprocess.run(argv, stdin=source, capture_output=True)
            if not (options and _NO_MORE_SESSIONS in done.stderr):
                break
            notice(
                f"{self.destination.name} allows one session on a connection (MaxSessions 1): ssh connects "
                "once more."
            )
        for line in done.stderr.splitlines():
            self._note(line)
        return Answer(done.returncode, done.stdout.decode("utf-8", "replace"))

    def forward(self, address: str, port: int, path: str) -> str | None:
        """Forward a port of this computer to a Unix socket of the host.

        Returns:
            Why ssh cannot listen there; None: it does.
        """
        spec = f"{address}:{port}:{path}"
        argv = [*self._client("-O", "forward", "-L", spec), "--", self.destination.ssh]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode == 0:
            return None
        if self._process.poll() is not None:
            raise self.lost()
        return for_a_terminal(done.stderr.strip()) or "ssh refused it"

    def end_forward(self, address: str, port: int, path: str) -> None:
        """End a forwarding that `forward` began."""
        argv = [
            *self._client("-O", "cancel", "-L", f"{address}:{port}:{path}"),
            "--",
            self.destination.ssh,
        ]
        subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True)

    def proxy_command(self) -> str:
        """Return the ProxyCommand that reaches another host through this connection."""
        argv = [*self._client(), "-W", "%h:%p", "--", self.destination.ssh]
        return shlex.join(word if word == "%h:%p" else word.replace("%", "%%") for word in argv)

    def await_end(self, seconds: float) -> bool:
        """Wait until the connection ends; return whether it has."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def said(self) -> str:
        """The last messages of ssh, and those of the commands on the host."""
        return "\n".join(self._said)

    def close(self) -> None:
        """End the connection, and all that shares it."""
        process = getattr(self, "_process", None)
        if process is not None:
            with contextlib.suppress(OSError):
                self._input.close()
            process.terminate()
            try:
                process.wait(_ENDS_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._reader.join(_ENDS_WITHIN)
            self._output.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _start(self, through: Connection | None) -> subprocess.Popen[bytes]:
        effective = self.destination.effective()
        options = ["ControlMaster=yes", "ControlPersist=no", "ClearAllForwardings=yes", "RemoteCommand=none",
                   "LogLevel=INFO"]  # fmt: skip
        if effective.get("serveraliveinterval", "0") == "0":
            options += _ALIVE
        # It would end as well while the user answers the questions of a host on the way.
        if not through and not effective.keys() & {"proxyjump", "proxycommand"}:
            options += [_CONNECT_WITHIN] if effective.get("connecttimeout") == "none" else []
        if self._quiet:
            options.append("BatchMode=yes")
        if through:
            options.append(f"ProxyCommand={through.proxy_command()}")
        ready = f"printf '\\n%s\\n' {self._marker}; exec /bin/sh"
        argv = [*_ssh(), "-T", "-x", "-S", self._control_path]
        argv += [word for option in options for word in ("-o", option)]
        argv += ["--", self.destination.ssh, self.destination.in_its_shell(ready)]
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe)

    @property
    def _control_path(self) -> str:
        return str(self._socket).replace("%", "%%")

    def _client(self, *options: str) -> list[str]:
        return [*_ssh(), "-S", self._control_path, "-o", "ControlMaster=no", "-x", *options]

    def _await_shell(self) -> None:
        ready = f"\n{self._marker}\n".encode()
        deadline = None
        while ready not in self._read:
            if deadline is None and self._socket.exists():  # the user is authenticated
                deadline = time.monotonic() + _SHELL_WITHIN
            if deadline is not None and time.monotonic() > deadline:
                raise failures.no_shell(self.destination.name, self._printed())
            if len(self._read) > LONGEST_ANSWER:
                raise failures.no_shell(self.destination.name, self._printed())
            try:
                self._more(time.monotonic() + 0.5)
            except ConnectionLostError:
                code = self._process.wait()
                self._reader.join(_ENDS_WITHIN)
                if code == failures.SSH_FAILED:
                    raise failures.of_ssh(self.destination.name, self.said) from None
                raise failures.no_shell(self.destination.name, self._printed()) from None
        self._read = b""

    def _printed(self) -> str:
        return self._read.decode("utf-8", "replace").strip() or self.said

    def _more(self, deadline: float | None) -> bool:
        """Read what the shell printed; return False if that is nothing until the deadline.

        Raises:
            ConnectionLostError: the connection has ended.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not selector.select(seconds):
                return False
        found = os.read(self._output.fileno(), 1 << 16)
        if not found:
            raise self.lost()
        self._read += found
        return True

    def lost(self) -> ConnectionLostError:
        """Return the error of a connection that has ended."""
        return ConnectionLostError(f"The connection to {self.destination.name} was lost")

    def _relay(self) -> None:
        """Print ssh's messages and those of the commands, as text."""
        with self._messages as stream:
            for line in stream:
                self._note(line)

    def _note(self, line: bytes) -> None:
        text = for_a_terminal(line.decode("utf-8", "replace").rstrip())
        self._said.append(text)
        if not self._quiet:
            notice(text)


def _ssh() -> tuple[str]:
    found = shutil.which("ssh")
    if found is None:
        raise UsageError(
            "`ssh` is not on the PATH of this computer",
            "Install the package openssh-client (Debian, Ubuntu) or openssh-clients (Fedora).",
        )
    return (found,)


def _private_directory() -> Path:
    """Make a directory for the control socket, whose path is short enough."""
    for parent in (None, "/tmp"):  # noqa: S108 - mkdtemp makes a directory that only the user can enter
        directory = Path(tempfile.mkdtemp(prefix="rps-", dir=parent))
        if len(os.fsencode(directory / "s")) <= _LONGEST_SOCKET:
            return directory
        directory.rmdir()
    raise UsageError(
        "No temporary directory has a path that is short enough for a Unix socket",
        "Set TMPDIR to a directory with a short path.",
    )
