"""See whether a kernel that starts will answer: its heartbeat, and where it listens.

Run in Jupyter's process, beside `kernel_transport.py`, by its Python >= 3.6.
"""

import os
import time
from typing import Any, Dict, Optional, Set

import zmq

DEAF = 5.0  # seconds for an answer of a kernel that listens where it should
SOCKETS = 5  # of a kernel: shell, iopub, stdin, control and heartbeat


class StartOf:
    """A kernel that starts: where it listens, and for how long it did not answer."""

    def __init__(self, manager: Any) -> None:
        self.manager = manager
        self.began = time.monotonic()
        self.looked = self.began
        self.listens_since: Optional[float] = None
        self.on_tcp_before = False

    def seconds(self) -> float:
        """Return the seconds since the first look."""
        return time.monotonic() - self.began

    def failure(self) -> Optional[str]:
        """Look, at most once a second, for a sign that it will never answer."""
        now = time.monotonic()
        if now - self.looked < 1:
            return None
        self.looked = now
        if self.manager.transport == "ipc":
            return self.failure_of_ipc()
        if self.manager.hb_port not in listening_ports().values():
            self.listens_since = None
        elif self.listens_since is None:
            self.listens_since = now
        elif now - self.listens_since > DEAF:
            return "it listens and does not answer"
        return None

    def failure_of_ipc(self) -> Optional[str]:
        """Look where its Unix sockets are."""
        paths = {"%s-%d" % (self.manager.ip, port) for port in self.manager.ports}
        bound = paths & bound_paths()
        before, self.on_tcp_before = self.on_tcp_before, False
        if not bound and len(tcp_ports_of_session(process_of(self.manager))) >= SOCKETS:
            self.on_tcp_before = True
            return "it opens TCP ports in their place" if before else None
        return None


def heartbeat_socket(manager: Any) -> Any:
    """Return a socket that has asked a kernel for a heartbeat."""
    # Not the manager's own context, whose sockets may be asyncio's.
    heartbeat: Any = zmq.Context.instance().socket(zmq.REQ)
    heartbeat.linger = 0
    server_key = getattr(manager, "curve_publickey", None)
    if server_key is not None:
        heartbeat.curve_publickey, heartbeat.curve_secretkey = zmq.curve_keypair()
        heartbeat.curve_serverkey = server_key
    host, port = manager.ip, manager.hb_port
    ipc = manager.transport == "ipc"
    heartbeat.connect("ipc://%s-%d" % (host, port) if ipc else "tcp://%s:%d" % (host, port))
    heartbeat.send(b"rps")
    return heartbeat


def process_of(manager: Any) -> int:
    """Return a kernel's process; 0: unknown."""
    process = getattr(getattr(manager, "provisioner", None), "process", None)
    process = process or getattr(manager, "kernel", None)  # before Jupyter Client 7
    return getattr(process, "pid", 0) or 0


def bound_paths() -> Set[str]:
    """Return the paths of Unix sockets that listen, as their processes see them."""
    with open("/proc/net/unix", errors="replace") as file:
        return {line.split(None, 7)[7].rstrip("\n") for line in file if line.count("/")}


def listening_ports() -> Dict[str, int]:
    """Return the TCP ports of this host that listen, by inode."""
    ports = {}
    for name in "tcp", "tcp6":
        try:
            with open("/proc/net/" + name) as file:
                rows = [line.split() for line in file][1:]
        except OSError:  # a kernel without IPv6
            continue
        ports.update({row[9]: int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"})
    return ports


def tcp_ports_of_session(leader: int) -> Set[int]:
    """Return the TCP ports on which a process and its children listen.

    Jupyter starts each kernel in a session of its own, whose leader it is.
    """
    listening = listening_ports()
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid, "rb") as file:
                if int(file.read().rpartition(b")")[2].split()[3]) != leader:
                    continue
            links = [os.readlink(entry.path) for entry in os.scandir("/proc/%s/fd" % pid)]
        except OSError:  # it has ended, or is not ours
            continue
        found |= {listening.get(link[8:-1], 0) for link in links if link.startswith("socket:[")}
    return found - {0}
