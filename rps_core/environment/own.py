"""The Python of notebooks that rps's own Jupyter serves: a venv of the user's, over rps's packages.

Its kernels see what is installed with rps (ipykernel, IPython, pip), by a .pth file; `pip` installs into the
venv alone. So no notebook changes a package that a command of rps imports, and what was installed stays where
it is when rps is upgraded, or installed in another way.
"""

from __future__ import annotations

import os
import shlex
import site
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rps_core.environment.active import OWN_MARK
from rps_core.environment.prefix import configuration, sees_the_system
from rps_core.errors import UsageError
from rps_core.log import get_logger, notice
from rps_core.node.agent.files import interpreters
from rps_core.system import paths
from rps_core.values import dataclass

# pip's rule for a setting of one environment: PREFIX/pip.conf comes after the user's file. In a venv,
# `user = true` there ends every installation with an error.
_PIP_CONF = "[install]\nuser = false\n"
_PIP = '#!/bin/sh\nexec "$(dirname -- "$0")/python" -m pip "$@"\n'
# site.addsitedir reads the .pth files there as well: pipx has its pip by one.
# ASCII, as Python up to 3.12 reads them by the locale.
_PTH = "import site; site.addsitedir({!a})\n"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPython:
    """The venv, and the Jupyter that serves it."""

    path: Path
    jupyter: str

    def as_json(self) -> dict[str, Any]:
        """Return the entry `own` of launch.json (docs/sessions.md)."""
        python = str(self.path / "bin" / "python")
        # As ipykernel's own kernelspec: debugpy cannot stop in frozen modules.
        options = ["-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return {
            "jupyter": self.jupyter,
            "prefix": str(self.path),
            "kernel": {
                "name": "python3",
                "display_name": f"Python {_version()} (rps)",
                "language": "python",
                "argv": [python, *options],
                "env": {"PIP_USER": "0"},
                "metadata": {"debugger": True},
                "also": [f"{place}/share/jupyter" for place in (self.path, sys.prefix)],
            },
        }


def of_this_python(programs: Iterable[str | None]) -> str | None:
    """Return the program that runs in the launcher's own Python; None: none of them does.

    It need not be beside it: `pip install --user` puts programs into ~/.local/bin.
    """
    here = Path(sys.executable).parent.resolve()
    for program in programs:
        if program and "/" in program:
            python = interpreters(program)[-1:]
            if python and Path(python[0]).parent.resolve() == here:
                return program
    return None


def lasting_place(cluster: str) -> Path:
    """Return the user's venv for a cluster: another one has another Python, or other nodes."""
    return paths.data_dir() / "python" / f"{cluster}-{os.uname().machine}-{_minor()}"


def prepare(cluster: str, session: Path, programs: Iterable[str | None]) -> OwnPython | None:
    """Return the venv, made or repaired where it has to be.

    Args:
        cluster: its name.
        programs: those that may serve the session.
        session: the session's directory, which has the venv where the home cannot: what notebooks install
            then ends with the session.

    Returns:
        None: rps's own Jupyter is none of them.
    """
    program = of_this_python(programs)
    if program is None:
        return None
    lasting = lasting_place(cluster)
    try:
        paths.check(lasting, "Or set XDG_DATA_HOME to another directory.")
        _complete(lasting)
    except (OSError, UsageError) as error:
        reason = error.message if isinstance(error, UsageError) else _reason(error)
        log.warning(
            "what notebooks install ends with this session", directory=str(lasting), reason=reason
        )
        place = session / "python"
        _complete(place)
        return OwnPython(path=place, jupyter=program)
    return OwnPython(path=lasting, jupyter=program)


def _complete(place: Path) -> None:
    """Make the venv, or what of it has gone: rps may be elsewhere now, and an upgrade takes a Python away.

    Raises:
        OSError: the directory cannot be made or written.
    """
    over = _over()
    pth = _site_packages(place) / OWN_MARK
    if (place / "bin" / "python").exists() and _content(pth) == over:
        return
    import importlib.util
    import shutil

    before = _of_other_versions(place)
    _make_private(place.parent)
    made = place.with_name(f".{place.name}.{os.getpid()}")
    shutil.rmtree(made, ignore_errors=True)
    umask = os.umask(0o077)  # no other user can write what kernels import
    try:
        _make(made, over)
        try:
            made.rename(place)
        except OSError:
            if not place.is_dir():
                raise
            _repair(place, made)  # it was there, or another start was faster
        else:
            _report_others(place, before)
        if importlib.util.find_spec("pip") is None:  # as in an installation by uv
            _ensure_pip(place)
    finally:
        os.umask(umask)
        shutil.rmtree(made, ignore_errors=True)


def _make_private(directory: Path) -> None:
    """Make a directory and those above it with the mode that the XDG specification asks for."""
    for one in reversed([one for one in (directory, *directory.parents) if not one.exists()]):
        one.mkdir(0o700, exist_ok=True)


def _make(made: Path, over: str) -> None:
    import venv

    class Builder(venv.EnvBuilder):
        """Leave out the scripts of `activate`, which name the directory as it is called now."""

        def setup_scripts(self, context: Any) -> None:
            """Write what is ours."""
            for name in ("pip", "pip3"):
                script = Path(context.bin_path) / name
                script.write_text(_PIP)
                script.chmod(0o755)
            (made / "pip.conf").write_text(_PIP_CONF)
            (_site_packages(made) / OWN_MARK).write_text(over)

    Builder(system_site_packages=_sees_the_system(), symlinks=True).create(made)
    made.chmod(0o700)


def _repair(place: Path, made: Path) -> None:
    """Move the parts of a new venv that name a Python, or rps, into the one that is there."""
    for directory in ("bin", str(_site_packages(place).relative_to(place))):
        (place / directory).mkdir(parents=True, exist_ok=True)
    for link in sorted(made.glob("bin/python*"), key=lambda one: one.name == "python"):
        link.replace(place / "bin" / link.name)
    for name in (
        "pyvenv.cfg",
        "pip.conf",
        str((_site_packages(made) / OWN_MARK).relative_to(made)),
    ):
        (made / name).replace(place / name)
    for script in made.glob("bin/pip*"):
        if not (place / "bin" / script.name).exists():  # pip may have been upgraded there
            script.replace(place / "bin" / script.name)


def _ensure_pip(place: Path) -> None:
    """Install pip into the venv itself, from the wheel that Python brings along."""
    import subprocess

    command = [str(place / "bin" / "python"), "-Im", "ensurepip", "--default-pip"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()
        log.warning(
            "notebooks have no pip", command=shlex.join(command), reason=words[-1] if words else ""
        )


def _report_others(place: Path, before: list[Path]) -> None:
    """Print how what notebooks installed for another Python can be had for this one."""
    python = shlex.quote(str(place / "bin" / "python"))
    for packages in before:
        notice(
            f"Notebooks now have Python {_minor()}, without what they installed for {packages.parent.name}. "
            f"To install it for this one:\n{python} -m pip freeze --path {shlex.quote(str(packages))} | "
            f"{python} -m pip install -r /dev/stdin"
        )


def _of_other_versions(place: Path) -> list[Path]:
    """Return the directories with packages for other Pythons, if there are any."""
    name = place.name.removesuffix(_minor())
    found = place.parent.glob("*/lib/python*/site-packages")
    others = (
        one for one in found if one.parents[2] != place and one.parents[2].name.startswith(name)
    )
    return sorted(one for one in others if any(one.glob("*.dist-info")))


def _over() -> str:
    """Return the .pth file that leads to the packages of rps's own environment."""
    if sys.prefix == sys.base_prefix:  # the venv sees them as those of its base
        return "# rps is installed in this Python itself\n"
    return "".join(map(_PTH.format, site.getsitepackages([sys.prefix])))


def _sees_the_system() -> bool:
    if sys.prefix == sys.base_prefix:
        return True
    return sees_the_system(configuration(Path(sys.prefix) / "pyvenv.cfg"))


def _site_packages(place: Path) -> Path:
    return place / "lib" / f"python{_minor()}" / "site-packages"


def _minor() -> str:
    """Return Python's version as its directories have it, as 3.13t for one without the lock."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}{sys.abiflags}"


def _version() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def _content(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _reason(error: OSError) -> str:
    return f"{error.filename or ''}: {error.strerror or error}"
