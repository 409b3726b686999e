"""CPU of finding the environment in `rps start`, with a venv in the project: the modules that this imports,
and the search; median of 15."""

from __future__ import annotations

import statistics
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.report import Row, at_most

NEEDS: tuple[str, ...] = ()
LIMIT = 20.0
TIMES = 15
_SEARCH = """\
import sys, time
from rps_core.config.settings import load
from rps_core.launch import notebook, spec
loaded = load("local", None, None, environment={})
for name in [name for name in sys.modules if name.startswith("rps_core.environment") or name in (
        "rps_core.launch.environment", "rps_core.launch.choice", "rps_core.launch.jupyters")]:
    del sys.modules[name]
import os
from pathlib import Path
begun = time.process_time()
from rps_core.launch.environment import Chooser
found = Chooser(loaded, "lab", Path.cwd(), os.environ).choose()
print(time.process_time() - begun)
assert found.environment.prefix == Path.cwd() / ".venv", found
"""


def measure(scratch: Path) -> list[Row]:
    """Search from a project with a kernel alone, which rps's own Jupyter serves."""
    project = scratch / "environment"
    venv.create(project / ".venv", symlinks=True)
    packages = next((project / ".venv").glob("lib/python*/site-packages"))
    (packages / "ipykernel_launcher.py").touch()
    command = [sys.executable, "-c", _SEARCH]
    cpu = []
    for _ in range(TIMES):
        done = subprocess.run(command, cwd=project, check=True, capture_output=True, text=True)
        cpu.append(1000 * float(done.stdout))
    return [at_most("finding the environment", statistics.median(cpu), LIMIT, "ms")]
