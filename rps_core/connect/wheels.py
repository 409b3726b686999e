"""Gather the wheels of this version of rps, for a host that need not reach the internet."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rps_core.errors import UsageError
from rps_core.installation import DISTRIBUTION
from rps_core.text import plain_lines

EXTRA = "proxy"  # the personal service's libraries
_FOLDER_VARIABLE = "RPS_WHEELS"  # a folder of `make wheelhouse`
_LOCK = Path(__file__).resolve().parents[2] / "locks" / f"{EXTRA}.txt"  # of a clone
# The C libraries for which wheels are built (PEP 600), by minor version of glibc 2.
_GLIBC = (17, 24, 26, 27, 28, 31, 34, 35, 38, 39)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the wheels are for: release of Python (`3.11`), processor, minor version of glibc 2."""

    python: str
    machine: str
    glibc: int

    @property
    def platforms(self) -> list[str]:
        """The platform tags of wheels that work there."""
        tags = [f"manylinux_2_{minor}_{self.machine}" for minor in _GLIBC if minor <= self.glibc]
        return [*tags, f"manylinux2014_{self.machine}", f"linux_{self.machine}"]


def gather(directory: Path, target: Target) -> None:
    """Put rps and all that it needs into a directory, as wheels.

    They come from the folder `RPS_WHEELS`, else from the package index, in the locked versions.

    Raises:
        UsageError: they cannot be had here.
    """
    own = write_own(directory)
    folder = os.environ.get(_FOLDER_VARIABLE)
    if folder:
        found = sorted(Path(folder).glob("*.whl"))
        if not found:
            raise UsageError(
                f"{_FOLDER_VARIABLE}: no wheels in {folder}", "`make wheelhouse` makes the folder."
            )
        for wheel in found:
            if not wheel.name.startswith("rps_launcher-"):
                shutil.copy(wheel, directory)
        return
    locked = ["--no-deps", "--require-hashes", "--requirement", str(_LOCK)]
    wanted = locked if _LOCK.is_file() else [f"{own}[{EXTRA}]"]
    argv = [*_pip(), "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    argv += ["--only-binary=:all:", "--implementation=cp", f"--python-version={target.python}"]
    argv += [f"--dest={directory}"]
    argv += [f"--platform={tag}" for tag in target.platforms]
    done = subprocess.run(
        [*argv, *wanted], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode != 0:
        words = plain_lines("\n".join(done.stderr.strip().splitlines()[-3:]))
        raise UsageError(
            f"Cannot gather the wheels for Python {target.python} on {target.machine}: {words}",
            "This computer needs the package index for it, or the folder of `make wheelhouse` as RPS_WHEELS.",
        )


def write_own(directory: Path) -> Path:
    """Write the wheel of the rps that runs; return its path.

    Nothing is built: its packages are pure Python, and this needs no build backend.
    """
    metadata = importlib.metadata.distribution(DISTRIBUTION)
    name = f"{DISTRIBUTION.replace('-', '_')}-{metadata.version}"
    path = directory / f"{name}-py3-none-any.whl"
    information = f"{name}.dist-info"
    record = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:

        def add(member: str, content: bytes) -> None:
            wheel.writestr(member, content)
            digest = (
                base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            )
            record.append(f"{member},sha256={digest},{len(content)}\n")

        for member, file in _files(metadata):
            add(member, file.read_bytes())
        for file_name in ("METADATA", "entry_points.txt"):
            add(f"{information}/{file_name}", (metadata.read_text(file_name) or "").encode())
        add(
            f"{information}/WHEEL",
            b"Wheel-Version: 1.0\nGenerator: rps connect\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(f"{information}/RECORD", "".join([*record, f"{information}/RECORD,,\n"]))
    return path


def _files(metadata: importlib.metadata.Distribution) -> Iterator[tuple[str, Path]]:
    """Yield the files of our packages, which an editable installation has in several places."""
    modules = {"rps_core", "rps_proxy", "rps_conf"}
    modules |= {point.module.partition(".")[0] for point in metadata.entry_points}
    for module in sorted(modules):
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            raise UsageError(
                f"This installation of rps lacks its package {module}", "Install it again."
            )
        package = Path(spec.origin).parent
        for file in sorted(package.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                yield f"{module}/{file.relative_to(package).as_posix()}", file


def _pip() -> list[str]:
    """Return the command of a pip of this computer: uv and pipx install rps without one."""
    for python in (sys.executable, "python3"):
        if importlib.util.find_spec("pip") if python == sys.executable else _has_pip(python):
            return [python, "-I", "-m", "pip"]
    raise UsageError(
        "Cannot gather the wheels: there is no pip on this computer",
        "Install pip, or give the folder of `make wheelhouse` as RPS_WHEELS.",
    )


def _has_pip(python: str) -> bool:
    if shutil.which(python) is None:
        return False
    return subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0
