"""Find the kernel of an environment, and write its kernelspec for the session.

https://jupyter-client.readthedocs.io/en/stable/kernels.html#kernel-specs
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from rps_core.environment.environment import Kind
from rps_core.environment.prefix import Prefix
from rps_core.text import plain
from rps_core.values import dataclass

_PYTHON = r"python(?:3(?:\.\d+)?)?"
_NAME = r"(?!\.)[A-Za-z0-9._-]{1,100}"  # as jupyter_client has it
_ACTIVE = {Kind.VENV: "VIRTUAL_ENV", Kind.CONDA: "CONDA_PREFIX", Kind.PIXI: "CONDA_PREFIX"}
_LONGEST = 1 << 20  # bytes of a kernel.json


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """The kernel that an environment offers first.

    Attributes:
        name: of the kernelspec, by which notebooks name their kernel: `python3`, `ir`.
        display_name: for people.
        language: of its cells.
        argv: its command, `{connection_file}` for the file.
        env: further variables; `${NAME}` is one of the server's.
        also: directories for JUPYTER_PATH, with the environment's further kernels.
    """

    name: str
    display_name: str
    language: str
    argv: tuple[str, ...]
    env: dict[str, str]
    also: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the entry `kernel` of launch.json (docs/sessions.md)."""
        return {
            "name": self.name,
            "display_name": self.display_name,
            "language": self.language,
            "argv": list(self.argv),
            "env": self.env,
            "also": list(self.also),
        }


def first(prefix: Prefix, name: str) -> Kernel | None:
    """Return an environment's kernel: ipykernel, else the first of its kernelspecs; None: it has none.

    Its kernelspec has the name that it has there: notebooks hold the name, and open with this kernel in the
    session as they do in the environment.

    Args:
        prefix: the environment.
        name: the environment's name, which users see as the kernel's.
    """
    specs = prefix.path / "share" / "jupyter"
    also = (str(specs),) if (specs / "kernels").is_dir() else ()
    if prefix.python is not None and prefix.has_module("ipykernel_launcher"):
        version = f" {prefix.python_version}" if prefix.python_version else ""
        return Kernel(
            name="python3",
            display_name=f"{plain(name)} (Python{version})",
            language="python",
            argv=(str(prefix.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"),
            env=_variables(prefix, {}),
            also=also,
        )
    for directory, spec in _specs(specs / "kernels"):
        argv = _command(prefix, spec["argv"])
        if argv is not None:
            words = [str(word).replace("{resource_dir}", str(directory)) for word in argv]
            shown = spec.get("display_name") or directory.name
            return Kernel(
                name=directory.name,
                display_name=f"{plain(name)} ({plain(str(shown))})",
                language=str(spec.get("language") or ""),
                argv=tuple(words),
                env=_variables(prefix, spec.get("env")),
                also=also,
            )
    return None


def on_the_path(name: str) -> Kernel:
    """Return ipykernel of the Python that the job puts on the PATH, where only the job knows the environment.

    By env(1): jupyter_client runs `python` as the server's own.
    """
    argv = ("/usr/bin/env", "python", "-m", "ipykernel_launcher", "-f", "{connection_file}")
    return Kernel(
        name="python3", display_name=f"{plain(name)} (Python)", language="python", argv=argv, env={}
    )


def _specs(kernels: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return the kernelspecs that can be read, with their directories."""
    found = []
    for file in sorted(kernels.glob("*/kernel.json")):
        if not re.fullmatch(_NAME, file.parent.name):
            continue
        try:
            with file.open("rb") as stream:
                spec = json.loads(stream.read(_LONGEST))
        except (OSError, ValueError, RecursionError):
            continue  # half deleted, or another tool's
        if isinstance(spec, dict) and isinstance(spec.get("argv"), list) and spec["argv"]:
            found.append((file.parent, spec))
    return found


def _command(prefix: Prefix, argv: list[Any]) -> list[Any] | None:
    """Return a kernelspec's command with the path of its program; None: it is not there.

    jupyter_client runs `python` as the server's own Python, and finds other programs on the server's PATH.
    """
    program = str(argv[0])
    if re.fullmatch(_PYTHON, program):
        return None if prefix.python is None else [str(prefix.python), *argv[1:]]
    path = Path(program) if "/" in program else prefix.path / "bin" / program
    return [str(path), *argv[1:]] if path.is_file() else None


def _variables(prefix: Prefix, given: Any) -> dict[str, str]:
    """Return the variables of an active environment: `!pip install` in a cell must reach its pip.

    jupyter_client replaces `$NAME` in them, so a `$` of the path is written twice (string.Template).
    """
    place = str(prefix.path).replace("$", "$$")
    variables = (
        {str(key): str(value) for key, value in given.items()} if isinstance(given, dict) else {}
    )
    variables.setdefault("PATH", f"{place}/bin:${{PATH}}")
    if prefix.kind in _ACTIVE:
        variables.setdefault(_ACTIVE[prefix.kind], place)
    return variables
