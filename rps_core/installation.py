"""How this rps was installed, and the commands that add to it: all advice to install something is from here.

`pip install` is wrong where a clone installed itself, where pipx or uv did, where the distribution keeps pip
out of its Python (PEP 668), and where another user owns the installation. Imported by errors, not by a start.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rps_core.node.agent.files import interpreters
from rps_core.support import PHRASE

DISTRIBUTION = "rps-launcher"
_STAMP = "rps-stamp"  # `./rps` writes it into its .venv
_CLONE = Path(__file__).resolve().parent.parent
# What each distribution calls a package, by ID or ID_LIKE of os-release(5), and the command that installs it.
_INSTALLERS = {
    "debian": "apt install",
    "ubuntu": "apt install",
    "fedora": "dnf install",
    "rhel": "dnf install",
    "suse": "zypper install",
    "opensuse": "zypper install",
    "arch": "pacman -S",
    "alpine": "apk add",
    "gentoo": "emerge",
}


class Kind(Enum):
    """What installed this rps, by what it leaves behind."""

    CLONE = "./rps of a clone"
    PIPX = "pipx"
    UV = "uv tool"
    OTHERS = "another user"
    ENVIRONMENT = "pip, in an environment"
    MANAGED = "a Python that the distribution manages"
    SYSTEM = "pip, in a Python of the system"


def kind(prefix: Path | None = None) -> Kind:
    """Find what installed this rps into `prefix` (default: of this Python)."""
    place = Path(sys.prefix) if prefix is None else prefix
    if (place / _STAMP).is_file():
        return Kind.CLONE
    if (place / "pipx_metadata.json").is_file():
        return Kind.PIPX
    if (place / "uv-receipt.toml").is_file():
        return Kind.UV
    environment = (place / "pyvenv.cfg").is_file() or (place / "conda-meta").is_dir()
    if environment:
        return Kind.ENVIRONMENT if os.access(place, os.W_OK) else Kind.OTHERS
    return Kind.MANAGED if _is_managed() else Kind.SYSTEM


def extra_advice(extra: str) -> str:
    """Return how to add an extra (`local`, `proxy`) to this installation, as one sentence."""
    wanted = requirement(extra)
    found = kind()
    if found is Kind.CLONE:
        return f"Install it with: RPS_EXTRAS={extra} {clone_script()} --version"
    if found is Kind.PIPX:
        return f"Install it with: pipx install --force {wanted}"
    if found is Kind.UV:
        return f"Install it with: uv tool install --force --compile-bytecode {wanted}"
    if found is Kind.OTHERS:
        return (
            f"This rps ({sys.prefix}) is not yours to change: ask {PHRASE} to install it, with: "
            f"{_pip(sys.executable)} {wanted}"
        )
    if found is Kind.MANAGED:
        return f"{sys.prefix} refuses pip (PEP 668). Install rps elsewhere: {_own(wanted)}"
    return f"Install it with: {_pip(sys.executable)} {wanted}"


def plugin_advice(project: str) -> str:
    """Return the command that installs a plugin's project, a directory, where this rps finds it."""
    path = shlex.quote(f"./{project}")
    found = kind()
    if found is Kind.PIPX:
        return f"pipx inject --editable {DISTRIBUTION} {path}"
    if found is Kind.UV:
        return f"uv tool install --force --with-editable {path} {requirement()}"
    return f"{_pip(sys.executable)} --editable {path}"


def jupyter_advice(
    site_words: str | None,
    app: str = "lab",
    beside: str = "",
    conda_env: str = "",
    with_service: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> str:
    """Return how this user gets Jupyter, as one or two sentences.

    Args:
        site_words: the site's own advice (`notebook.install_hint`), which comes before rps's.
        app: the application, as in `jupyter-lab`.
        beside: the path of a Jupyter that lacks the application.
        conda_env: the name or the path of a conda environment that lacks it.
        with_service: the session needs a personal service too, which the extra `local` has.
        environment: the environment variables.
    """
    if site_words:
        return site_words
    package = {"lab": "jupyterlab", "notebook": "notebook"}.get(app, f"jupyter-{app}")
    conda = _conda(environment)
    if conda_env:
        place = f"{'--prefix' if '/' in conda_env else '--name'} {shlex.quote(conda_env)}"
        return f"Install it there: {conda or 'conda'} install {place} -c conda-forge {package}"
    if beside and (python := interpreters(beside)[-1:]):
        return f"Install it there: {_pip(python[0])} {package}"
    if with_service and importlib.util.find_spec("aiohttp") is None:
        return extra_advice("local")
    if prefix := environment.get("VIRTUAL_ENV"):
        return f"Install it in the active environment: {_pip(f'{prefix}/bin/python')} {package}"
    if conda and environment.get("CONDA_DEFAULT_ENV", "base") != "base":
        return f"Install it in the active environment: {conda} install -c conda-forge {package}"
    if kind() is Kind.CLONE and not (Path(sys.prefix) / "bin" / f"jupyter-{app}").exists():
        return f"Install it with rps: RPS_EXTRAS=local {clone_script()} --version"
    if shutil.which("uv"):
        with_command = "--with-executables-from jupyter-core"  # `jupyter` itself is that package's
        return f"Install it: uv tool install {with_command} {package}"
    if conda:
        return (
            f"Install it: {conda} create -n jupyter -c conda-forge {package}. Then use it: "
            "rps start --conda-env jupyter"
        )
    if shutil.which("pipx"):
        return f"Install it: pipx install --include-deps {package}"
    return (
        f"Install it: python3 -m venv ~/jupyter && ~/jupyter/bin/pip install {package}. Then use it: "
        "rps start --jupyter ~/jupyter/bin/jupyter"
    )


def package_advice(names: Mapping[str, str], os_release: Path = Path("/etc/os-release")) -> str:
    """Return the command that installs a package of this distribution, to run as root.

    Args:
        names: the package's name by distribution (`debian`, `fedora`, …).
        os_release: the file of os-release(5).

    Returns:
        Empty: the distribution is unknown.
    """
    if sys.platform == "darwin":
        return f"brew install {names['darwin']}" if "darwin" in names else ""
    for system in _distributions(os_release):
        name = names.get(system) or names.get(
            {"ubuntu": "debian", "rhel": "fedora"}.get(system, "")
        )
        if name and system in _INSTALLERS:
            return f"{_INSTALLERS[system]} {name}"
    return ""


def clone_script() -> str:
    """Return the path of the clone's `rps`, as short as it can be typed here."""
    script = _CLONE / "rps"
    try:
        here = Path.cwd()
    except OSError:  # it was removed
        return shlex.quote(str(script))
    return "./rps" if here == _CLONE else shlex.quote(str(script))


def requirement(extra: str = "") -> str:
    """Return what was installed, as a quoted argument of pip, with this extra."""
    extras = f"[{extra}]" if extra else ""
    try:
        distribution = importlib.metadata.distribution(DISTRIBUTION)
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")  # PEP 610
        url = str(origin.get("url", ""))
    except (importlib.metadata.PackageNotFoundError, ValueError, AttributeError):
        origin, url = {}, ""
    path = unquote(urlsplit(url).path) if url.startswith("file:") else ""
    if path and Path(path).exists():
        return shlex.quote(f"{path}{extras}")
    if url and "vcs_info" in origin:
        version = origin["vcs_info"]
        return shlex.quote(
            f"{DISTRIBUTION}{extras} @ {version['vcs']}+{url}@{version['commit_id']}"
        )
    return shlex.quote(f"{DISTRIBUTION}{extras}")


def _pip(python: str) -> str:
    """Return the command that installs into the environment of `python`; one by uv has no pip."""
    quoted = shlex.quote(python)
    own = Path(python) == Path(sys.executable)
    has_pip = not own or importlib.util.find_spec("pip") is not None
    if not has_pip and shutil.which("uv"):
        return f"uv pip install --python {quoted}"
    return f"{quoted} -m pip install"


def _own(wanted: str) -> str:
    """Return the command that makes an installation of the user's own."""
    if shutil.which("uv"):
        return f"uv tool install --compile-bytecode {wanted}"
    if shutil.which("pipx"):
        return f"pipx install {wanted}"
    return f"python3 -m venv ~/rps && ~/rps/bin/pip install {wanted}"


def _conda(environment: Mapping[str, str]) -> str:
    """Return the name of this user's conda, empty without one."""
    for name in ("conda", "mamba", "micromamba"):
        if shutil.which(name):
            return name
    return (
        "conda" if environment.get("CONDA_EXE") else ""
    )  # a shell function alone, as conda makes it


def _is_managed() -> bool:
    return (Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED").is_file()


def _distributions(os_release: Path) -> list[str]:
    """Return ID and ID_LIKE, nearest first."""
    try:
        lines = os_release.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return f"{values.get('ID', '')} {values.get('ID_LIKE', '')}".replace('"', "").split()
