"""Start configurable-http-proxy, JupyterHub's proxy, installed with npm."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import free_port, server
from benchmarks.service import localhost_certificate

PACKAGE = "configurable-http-proxy"


@dataclass(frozen=True, slots=True)
class Installed:
    """Where it lies, and the certificate that it serves with."""

    program: Path
    version: str
    scratch: Path
    pem: Path
    ca: Path

    @contextmanager
    def proxy(self, target: str) -> Iterator[tuple[int, int]]:
        """Run it with one route, `/`, to `target`; yield its process id and its HTTPS port.

        A `https` target's certificate is verified, and must be for the name in `target`.
        """
        port = free_port()
        command = [
            str(self.program), "--ip=127.0.0.1", f"--port={port}",
            "--api-ip=127.0.0.1", f"--api-port={free_port()}",
            f"--ssl-key={self.pem}", f"--ssl-cert={self.pem}",
            f"--client-ssl-ca={self.ca}", f"--default-target={target}",
        ]  # fmt: skip
        with server(command, port, self.scratch / "chp.log") as process:
            yield process.pid, port


def install(scratch: Path) -> Installed:
    """Install the current release from npm into `scratch`, unless it is there already."""
    directory = scratch / "chp"
    if not directory.exists():
        subprocess.run(
            [
                "npm",
                "install",
                "--silent",
                "--no-fund",
                "--no-audit",
                "--prefix",
                directory,
                PACKAGE,
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    modules = directory / "node_modules"
    version = json.loads((modules / PACKAGE / "package.json").read_text())["version"]
    pem, ca = localhost_certificate(directory)
    return Installed(modules / ".bin" / PACKAGE, version, directory, pem, ca)
