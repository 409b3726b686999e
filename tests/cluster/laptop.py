"""Alice's laptop outside of the cluster, with the login nodes that it reaches by ssh."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.hosts import Host
from tests.cluster.lab import ALICE, Cluster
from tests.cluster.network import LAPTOP
from tests.cluster.sshd import Sshd
from tests.cluster.terminal import Terminal


@dataclass(frozen=True)
class Stand:
    """The laptop. `login_node` and `other` are those of Comet."""

    cluster: Cluster
    clone: Path
    login_node: Sshd
    other: Sshd

    @property
    def laptop(self) -> Host:
        return self.cluster.hosts[LAPTOP]

    @property
    def home(self) -> Path:
        """Her home directory on the cluster."""
        return self.cluster.home / ALICE.name

    @property
    def own_home(self) -> Path:
        """Her home directory on the laptop."""
        return self.cluster.laptop_home / ALICE.name

    def connect(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run `rps connect` on the laptop, without a terminal."""
        command = [str(self.clone / "rps"), "connect", *arguments]
        done = self.laptop.run(command, ALICE, env=env, capture_output=True, timeout=timeout)
        if check and done.returncode != 0:
            pytest.fail(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def terminal(self, columns: int = 110, rows: int = 30) -> Terminal:
        """Open a terminal on the laptop."""
        return Terminal(self.laptop, ALICE, self.clone, columns, rows)

    def write(self, name: str, text: str, *, here: bool = False) -> Path:
        """Write a file of alice's, on the cluster or on the laptop (`here`)."""
        path = (self.own_home if here else self.home) / name
        for directory in reversed(path.parents):
            if not directory.exists():
                directory.mkdir()
                os.chown(directory, ALICE.uid, ALICE.uid)
        path.write_text(text)
        os.chown(path, ALICE.uid, ALICE.uid)
        return path
