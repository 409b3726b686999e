"""Run the application once: its process, its output, and its port."""

import json
import os
import random
import socket
import subprocess
import threading
from collections import deque
from typing import Any, Deque, Dict, List, Optional, Tuple

from rps_core.node.agent.events import End, EndCause
from rps_core.node.agent.job_log import JobLog, is_on_a_request
from rps_core.node.agent.jupyter_api import Unready
from rps_core.node.agent.login_link import without_links
from rps_core.node.agent.processes import Processes
from rps_core.node.agent.run_directory import RUNTIME_FILES

LOG_LINES = 20  # last lines of the application's output that `ended` reports


def check_port_range(port_range: Any) -> None:
    """See that it is null or [first, last] (End: it is not)."""
    if port_range is None:
        return
    if isinstance(port_range, list) and [type(port) for port in port_range] == [int, int]:
        if 1 <= port_range[0] <= port_range[1] <= 65535:
            return
    reason = "The port range is %s; it must be two numbers from 1 to 65535, the smaller first"
    raise End(EndCause.START_FAILED, reason % json.dumps(port_range))


def free_port(address: str, port_range: Optional[List[int]]) -> Optional[int]:
    """Return a free port of `address`, within an inclusive range if given; or None."""
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


def can_bind(address: str, port: int) -> bool:
    """Whether the port is free now."""
    try:
        _bind(address, port)
    except OSError:
        return False
    return True


class Jupyter:
    """One run of the application, with its private directory, its output and its port."""

    def __init__(
        self,
        processes: Processes,
        command: List[str],
        directory: str,
        secrets: List[str],
        variables: Dict[str, str],
    ) -> None:
        environment = {k: v for k, v in os.environ.items() if k != "JUPYTER_TOKEN"}
        environment.update(variables)
        environment["JUPYTER_RUNTIME_DIR"] = directory
        others = environment.get("JUPYTER_CONFIG_PATH")
        # Its `jupyter_config.py` takes this directory out again.
        environment["JUPYTER_CONFIG_PATH"] = directory + (os.pathsep + others if others else "")
        self._directory = directory
        self._secrets = [secret.encode() for secret in secrets]
        self._last: Deque[str] = deque(maxlen=LOG_LINES)
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
        log = JobLog()
        for line in iter(lambda: self.process.stdout.readline(1 << 16), b""):
            for secret in self._secrets:
                line = line.replace(secret, b"[secret]")
            line = without_links(line)
            if not is_on_a_request(line):
                self._last.append(line.decode("utf-8", "replace").rstrip()[:500])
            log.add(line)
        log.end()

    def last_lines(self) -> str:
        """Return the end of its output."""
        self._relay.join(1.0)  # a process that it left behind may hold the pipe open
        return "\n".join(self._last)

    def listening(self) -> Tuple[str, int]:
        """Return the address and port in its runtime file.

        Raises:
            Unready: there is no such file yet.
        """
        for name in os.listdir(self._directory):
            if name.startswith(RUNTIME_FILES) and name.endswith(".json"):
                try:
                    with open(os.path.join(self._directory, name), "rb") as file:
                        seen = json.loads(file.read().decode())
                    return str(seen["hostname"]), int(seen["port"])
                except (OSError, ValueError, KeyError, TypeError, RecursionError):  # being written
                    continue
        raise Unready("it has not begun to listen")
