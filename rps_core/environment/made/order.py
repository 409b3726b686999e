"""Read what `--env` and `--with` ask for into a recipe, and choose the tool that builds it.

Everything that can be seen before the job is submitted is checked here. No program is run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rps_core.environment.made import packages as listed
from rps_core.environment.made.packages import Included, included, read
from rps_core.errors import UsageError
from rps_core.node.builder.recipe import Recipe, digest_of
from rps_core.system import paths

_FORMAT = 1  # of what is built: another one is another environment
# The files that a directory is searched for, the most exact first.
_IN_A_DIRECTORY = (
    "uv.lock", "pixi.lock", "pylock.toml", "environment.yml", "environment.yaml", "pyproject.toml",
    "requirements.txt",
)  # fmt: skip
# The tools of each kind, the best first.
_TOOLS = {
    "requirements": ("uv", "pip"),
    "project": ("uv", "pip"),
    "pylock": ("uv",),
    "uv-lock": ("uv",),
    "conda": ("micromamba", "mamba", "conda"),
    "explicit": ("micromamba", "mamba", "conda"),
    "pixi": ("pixi",),
}
# Where their own installers put them, and a batch job's PATH may not lead.
_PLACES = ("~/.local/bin", "~/.cargo/bin", "~/.pixi/bin")
_VARIABLES = {"conda": "CONDA_EXE", "micromamba": "MAMBA_EXE", "mamba": "MAMBA_EXE"}
_FILES = (
    "environment.yml, requirements.txt, pyproject.toml, uv.lock, pixi.lock, pylock.toml, or a directory "
    "with one of them"
)


def recipe(
    file: str | None,
    packages: Sequence[str],
    *,
    where: str = "--env",
    on_the_node: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> Recipe:
    """Return the recipe for an environment.

    Args:
        file: what `--env` names; None: `packages` alone.
        packages: what `--with` lists.
        where: where the file was set, for an error message.
        on_the_node: it is built in a job, which may load the tool.
        environment: the environment variables.

    Raises:
        UsageError: the file is no such file, or is damaged; or no tool for it is there.
    """
    wanted = listed.split(packages)
    if file is None and not wanted:
        raise UsageError(f"{where}: no package is named", "Name one, such as --with numpy.")
    if file is None:
        kind, path, parts = "requirements", None, Included((), places=False)
    else:
        path = _found(file, where)
        kind, parts = _kind(path, where, has_uv=bool(_program("uv", environment)))
    if path is not None and kind == "project":
        if not parts.places:
            wanted = [*_of_a_project(path), *wanted]
    elif wanted and kind != "requirements":
        raise UsageError(
            f"{where}: packages cannot be added to {path}",
            "Add them to that file, or build from the packages alone.",
        )
    family, tool = _tool(kind, path, environment, on_the_node=on_the_node)
    python = version = None
    if kind in ("requirements", "pylock") or family == "pip":
        python = getattr(sys, "_base_executable", None) or sys.executable
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
    unchanged = {str(each): _digest(each) for each in parts.files}
    content = [list(item) if parts.places else item[1] for item in unchanged.items()]
    key = json.dumps([_FORMAT, kind, content, wanted, version])
    return Recipe(
        {
            "key": hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:20],
            "kind": kind,
            "family": family,
            "tool": tool,
            "file": None if path is None else str(path),
            "editable": kind == "project" and parts.places,
            "packages": wanted,
            "python": python,
            "version": version,
            "label": _label(path, wanted),
            "unchanged": unchanged,
        }
    )


def _found(text: str, where: str) -> Path:
    try:
        path = Path(text).expanduser().absolute()
        str(path).encode()
    except (RuntimeError, OSError, ValueError) as error:
        raise UsageError(f"{where}: {text!a}: {error}", "Use an absolute path in UTF-8.") from None
    if not str(path).isprintable():
        raise UsageError(f"{where}: {text!a} has control characters", "Rename the file.")
    if path.is_dir():
        inside = next((path / name for name in _IN_A_DIRECTORY if (path / name).is_file()), None)
        if inside is None:
            raise UsageError(
                f"{where}: {path} has no file that an environment can be built from",
                f"Use {_FILES}.",
            )
        return inside
    return path


def _kind(path: Path, where: str, *, has_uv: bool) -> tuple[str, Included]:
    """Return the kind of a file, and what it depends on."""
    name = path.name
    text = read(path, f"{where}: ")
    alone = Included((path,), places=False)
    beside = path.with_name("pyproject.toml")
    if name == "uv.lock" or (
        name == "pyproject.toml" and has_uv and path.with_name("uv.lock").is_file()
    ):
        read(beside, "uv.lock needs its project: ")
        return "uv-lock", Included((path.with_name("uv.lock"), beside), _is_package(beside))
    if name == "pyproject.toml":
        return "project", Included((path,), _is_package(path))
    if name in ("pixi.lock", "pixi.toml"):
        return "pixi", _pixi(path)
    if re.fullmatch(r"pylock(\.[^.]+)?\.toml", name):
        return "pylock", alone
    if path.suffix in (".yml", ".yaml"):
        return "conda", _conda(path, text)
    if "@EXPLICIT" in text.split():
        return "explicit", alone
    if path.suffix in (".txt", ".in") or "requirements" in name:
        return "requirements", included(path, text)
    raise UsageError(f"{where}: {path}: rps cannot build an environment from it", f"Use {_FILES}.")


def _conda(path: Path, text: str) -> Included:
    """Return what an environment.yml depends on: the requirements.txt files of its section `pip` too."""
    if not re.search(r"^dependencies\s*:", text, re.MULTILINE):
        raise UsageError(
            f"{path}: there is no list `dependencies`",
            "An environment.yml has one: `conda env export --from-history` writes it.",
        )
    entries = re.findall(r"^\s+-\s+[\"']?(-[rce]\s*[^\"'\n#]+)", text, re.MULTILINE)
    return included(path, "\n".join(entries))


def _pixi(path: Path) -> Included:
    lock = path.with_name("pixi.lock")
    manifest = path.with_name("pixi.toml")
    if not manifest.is_file():
        manifest = path.with_name("pyproject.toml")
    if not lock.is_file():
        raise UsageError(f"{path}: there is no pixi.lock beside it", "Make one: pixi lock")
    read(manifest, "pixi.lock needs its project: ")
    if not re.search(r"/ipykernel-|ipykernel\.git|name: ipykernel", read(lock)):
        raise UsageError(
            f"{lock}: the environment has no kernel for notebooks",
            "Add one: pixi add ipykernel",
        )
    return Included((lock, manifest), places=False)


def _is_package(pyproject: Path) -> bool:
    """Return whether a project is installed itself, as editable: then its place counts."""
    return "build-system" in _toml(pyproject)


def _of_a_project(pyproject: Path) -> list[str]:
    """Return the dependencies of a project that is not installed itself."""
    content = _toml(pyproject)
    project = content.get("project")
    needs = project.get("dependencies", []) if isinstance(project, dict) else None
    if not isinstance(needs, list) or not all(isinstance(need, str) for need in needs):
        raise UsageError(
            f"{pyproject}: it names no dependencies: there is neither [project] nor [build-system]",
            "Add them: [project] with `dependencies = [...]`.",
        )
    for need in needs:
        if not need.isprintable() or need.startswith("-"):
            raise UsageError(f"{pyproject}: {need!r} is not a dependency", "Correct the file.")
    return needs


def _toml(path: Path) -> dict[str, object]:
    import tomllib

    try:
        return tomllib.loads(read(path))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}", "Correct the file.") from None


def _tool(
    kind: str, path: Path | None, environment: Mapping[str, str], *, on_the_node: bool
) -> tuple[str, str]:
    """Return the tool's family, and its path; its name, if the job may load it."""
    families = _TOOLS[kind]
    for family in families:
        if family == "pip":
            if _has_venv():
                return family, getattr(sys, "_base_executable", None) or sys.executable
        elif program := _program(family, environment):
            return family, program
    if on_the_node:
        return families[0], families[0]
    what = path.name if path else "--with"
    raise UsageError(
        f"{what}: cannot build this environment: found no {' and no '.join(families)}",
        _advice(families),
    )


def _advice(families: Sequence[str]) -> str:
    first = families[0]
    if first == "uv":
        return "Install it, for instance: pipx install uv"
    return f"Load the module that has it (module avail {families[-1]}), or install {first} from its own page."


def _program(name: str, environment: Mapping[str, str]) -> str | None:
    """Return the path of a tool: on the PATH, as its shell function names it, where its installer put it."""
    found = shutil.which(name, path=environment.get("PATH"))
    named = environment.get(_VARIABLES.get(name, ""), "")
    if found is None and Path(named).name == name and os.access(named, os.X_OK):
        found = named
    for place in _PLACES if found is None else ():
        found = found or shutil.which(name, path=place.replace("~", str(paths.home()), 1))
    return found and str(Path(found).absolute())


def _has_venv() -> bool:
    """Return whether this Python makes a venv with pip; Debian has that in a package of its own."""
    import importlib.util

    return all(importlib.util.find_spec(name) is not None for name in ("venv", "ensurepip"))


def _digest(path: Path) -> str:
    try:
        return digest_of(str(path))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "Use a file that you can read.") from None


def _label(path: Path | None, wanted: Sequence[str]) -> str:
    """Return the environment's name for people: its directory and file, or its packages."""
    if path is not None:
        return f"{path.parent.name}/{path.name}".lstrip("/")
    names = ", ".join(re.split(r"[\s\[<>=!~@;(]", package, maxsplit=1)[0] for package in wanted)
    return names if len(names) <= 60 else names[:59] + "…"
