"""Read an environment's directory: what it is, its Python, what it holds.

By stat and by small files that its tool leaves there; no program is run. A venv is described by PEP 405
(pyvenv.cfg; uv and virtualenv add keys), a conda or pixi environment by conda-meta/.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from rps_core.environment import pixi
from rps_core.environment.environment import Kind
from rps_core.errors import UsageError
from rps_core.node.agent.architecture import other_machine
from rps_core.node.agent.files import interpreters, missing_interpreter
from rps_core.text import plain
from rps_core.values import dataclass

# The directories that hold environments in a project, which are called after it.
USUAL_NAMES = (".venv", "venv", ".conda", "conda", "env", ".env")
_PYTHON_OF_CONDA = r"python-(\d+(?:\.\d+)+)-[^-]*\.json"
_MINOR = re.compile(r"python(\d+\.\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """An environment's directory.

    Attributes:
        path: absolute.
        kind: venv, conda or pixi; path for another Python's.
        name: its name for people.
        made_by: the tool that made it, empty if unknown.
        python: its interpreter; None if it has none, as a conda environment of R.
        python_version: as in the files of its tool.
        packages: the directories that hold its Python packages.
        base: the directory of the Python that a venv was made from.
    """

    path: Path
    kind: Kind
    name: str
    made_by: str = ""
    python: Path | None = None
    python_version: str | None = None
    packages: tuple[Path, ...] = ()
    base: Path | None = None

    def has_module(self, name: str) -> bool:
        """Return whether its Python can import a module, by the module's file."""
        return _has_module(self.packages, name) or _has_module(_named_in_pth(self.packages), name)

    def program(self, name: str) -> Path | None:
        """Return one of its programs; None if it is missing, or its interpreter is."""
        found = self.path / "bin" / name
        usable = os.access(found, os.X_OK) and found.is_file()
        return found if usable and missing_interpreter(str(found)) is None else None

    def serves(self, app: str) -> bool:
        """Return whether it has Jupyter with this application."""
        return self.program("jupyter") is not None and self.program(f"jupyter-{app}") is not None


def is_environment(path: Path) -> bool:
    """Return whether a directory is a venv or a conda or pixi environment, whole or not."""
    return os.path.isfile(path / "pyvenv.cfg") or os.path.isdir(path / "conda-meta")  # noqa: PTH112, PTH113


def read(path: Path, where: str) -> Prefix:
    """Read the environment in a directory.

    Args:
        path: its directory, absolute.
        where: who names it (`--venv`), for an error.

    Raises:
        UsageError: it is not there, is no environment, or cannot be used; with what to do.
    """
    if not path.is_dir():
        what = "is not a directory" if path.exists() else "not found"
        raise UsageError(
            f"{where}: environment {what}: {path}",
            "Use the directory of a venv or a conda environment.",
        )
    if (path / "conda-meta").is_dir():
        found = _conda(path, where)
    elif (path / "pyvenv.cfg").is_file():
        found = _venv(path, where)
    elif path.name in USUAL_NAMES or (path / "bin" / "activate").exists():
        why = "it is half deleted: it has neither pyvenv.cfg nor conda-meta"
        raise _unusable(where, path, why, _venv_again(path))
    elif (path / "bin" / "python3").exists():
        found = _plain(path)
    else:
        raise UsageError(
            f"{where}: {path} is no environment: it has neither pyvenv.cfg nor conda-meta",
            "Use the directory of a venv or a conda environment.",
        )
    if found.python is not None and (other := other_machine(str(found.python))):
        raise _unusable(
            where,
            path,
            f"its Python is for {other}, and this host is {os.uname().machine}",
            f"Make it again on {os.uname().machine}, or use another one with --venv. Where the compute nodes "
            f"are {other}, start rps on a login node of that kind.",
        )
    return found


def of_program(program: str) -> Prefix | None:
    """Return the environment that a Python script runs in; None: unknown."""
    named = interpreters(program)[-1:]
    if not named or "python" not in os.path.basename(named[0]):  # noqa: PTH119
        return None
    path = Path(named[0]).parent.parent
    try:
        return read(path, program)
    except UsageError:
        return None


def configuration(file: Path) -> dict[str, str]:
    """Read pyvenv.cfg: lines `key = value`."""
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            lines = stream.read(16384).splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def sees_the_system(keys: dict[str, str]) -> bool:
    """Return whether a venv with this pyvenv.cfg has the packages of the Python it was made from."""
    return keys.get("include-system-site-packages", "").lower() == "true"


def _venv(path: Path, where: str) -> Prefix:
    keys = configuration(path / "pyvenv.cfg")
    version = re.match(r"\d+\.\d+(?:\.\d+)?", keys.get("version_info") or keys.get("version") or "")
    made_by = next((tool for tool in ("uv", "virtualenv") if tool in keys), "venv")
    again = _venv_again(path, made_by, version[0] if version else "")
    python = _python(path)
    if python is None:
        link = path / "bin" / "python"
        gone = os.path.realpath(link) if link.is_symlink() else str(link)
        raise _unusable(where, path, f"its Python is gone: there is no {gone}", again)
    base = Path(keys["home"]) if keys.get("home", "").startswith("/") else None
    if base is not None and not base.is_dir():
        raise _unusable(
            where, path, f"the Python that it was made from is gone: there is no {base}", again
        )
    packages = _packages(path)
    if not packages:
        gone = f"{path}/lib/python*/site-packages"
        raise _unusable(where, path, f"its packages are gone: there is no {gone}", again)
    now = _MINOR.fullmatch(os.path.basename(os.path.realpath(python)))  # noqa: PTH119
    if now and not any(place.parent.name == f"python{now[1]}" for place in packages):
        had = packages[0].parent.name.removeprefix("python")
        raise _unusable(
            where, path, f"its Python is now {now[1]}, and its packages are for {had}", again
        )
    if base is not None and sees_the_system(keys):
        packages += _packages(base.parent) + _packages(Path("/usr/local"))
    return Prefix(
        path=path,
        kind=Kind.VENV,
        name=_name(path, keys.get("prompt", "").strip("'\"")),
        made_by=made_by,
        python=python,
        python_version=version[0] if version else None,
        packages=packages,
        base=base,
    )


def _conda(path: Path, where: str) -> Prefix:
    workspace = pixi.workspace(path)
    tool = "`pixi install`" if workspace else "conda"
    again = f"Make it again with {tool}, or use another one."
    names = os.listdir(path / "conda-meta")  # noqa: PTH208 - at each start
    versions = [found[1] for name in names if (found := re.fullmatch(_PYTHON_OF_CONDA, name))]
    python = path / "bin" / "python"
    if versions and not python.exists():
        raise _unusable(where, path, f"its Python is gone: there is no {python}", again)
    if not (path / "bin").is_dir() or not any(name.endswith(".json") for name in names):
        raise _unusable(where, path, "its packages are gone", again)
    return Prefix(
        path=path,
        kind=Kind.PIXI if workspace else Kind.CONDA,
        name=_pixi_name(workspace) if workspace else _name(path, ""),
        made_by="pixi" if workspace else "conda",
        python=python if python.exists() else None,
        python_version=versions[0] if versions else None,
        packages=_packages(path),
    )


def _plain(path: Path) -> Prefix:
    """Return the Python of a system, a module or a build from source."""
    python = path / "bin" / "python3"
    packages = _packages(path)
    if path == Path("/usr"):
        packages += _packages(Path("/usr/local"))
    found = _MINOR.fullmatch(os.path.basename(os.path.realpath(python)))  # noqa: PTH119
    return Prefix(
        path=path,
        kind=Kind.PATH,
        name=_name(path, ""),
        python=python,
        python_version=found[1] if found else None,
        packages=packages,
    )


def _python(path: Path) -> Path | None:
    """Return an environment's interpreter, if the way to it ends at a file."""
    return next(
        (one for name in ("python", "python3") if (one := path / "bin" / name).exists()), None
    )


def _packages(path: Path) -> tuple[Path, ...]:
    """Return the directories of Python packages below a prefix; Debian has dist-packages."""
    found = []
    for library in ("lib", "lib64"):
        if library == "lib64" and (path / library).is_symlink():
            continue
        try:
            names = sorted(os.listdir(path / library))  # noqa: PTH208 - at each start
        except OSError:
            continue
        pythons = [name for name in names if _MINOR.fullmatch(name) or name == "python3"]
        for name in pythons:
            for packages in ("site-packages", "dist-packages"):
                if (place := path / library / name / packages).is_dir():
                    found.append(place)
    return tuple(found)


def _has_module(places: Iterable[Path], name: str) -> bool:
    return any(
        (place / name / "__init__.py").is_file() or (place / f"{name}.py").is_file()
        for place in places
    )


def _named_in_pth(places: Iterable[Path]) -> Iterator[Path]:
    """Yield the directories that files *.pth add (the standard library's `site`)."""
    for place in places:
        for file in sorted(place.glob("*.pth")):
            for line in file.read_text("utf-8", "replace").splitlines():
                if line.strip() and not line.startswith(("#", "import ", "import\t")):
                    yield place / line.strip()


def _name(path: Path, prompt: str) -> str:
    """Return the name: its tool's, its directory's, or that of the project that it is in."""
    if path.name in USUAL_NAMES and prompt in ("", path.name, "."):
        return plain(path.parent.name) or path.name
    if (path / "condabin").is_dir():
        return "base"
    return plain(prompt or path.name)


def _pixi_name(workspace: pixi.Workspace) -> str:
    if workspace.is_global:
        return plain(workspace.environment)
    called = plain(workspace.directory.name)
    return (
        called if workspace.environment == "default" else f"{called}:{plain(workspace.environment)}"
    )


def _venv_again(path: Path, made_by: str = "venv", version: str = "") -> str:
    """Return how a venv is made again."""
    quoted = shlex.quote(str(path))
    if made_by == "uv" and (path.parent / "uv.lock").is_file():
        command = f"uv sync --project {shlex.quote(str(path.parent))}"
    elif made_by == "uv":
        python = f" --python {'.'.join(version.split('.')[:2])}" if version else ""
        command = f"uv venv --clear{python} {quoted}"
    else:
        command = f"python3 -m venv --clear {quoted}"
    return f"Make it again: {command}. Or use another one with --venv."


def _unusable(where: str, path: Path, why: str, hint: str) -> UsageError:
    return UsageError(f"{where}: the environment {path} cannot be used: {why}", hint)
