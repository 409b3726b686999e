"""The kernelspecs of a session: of its environment, and of the venv over rps's own Jupyter."""

import json
import os
import re
from typing import Any, Dict, List

from rps_core.node.agent.files import native, write_secret

# jupyter_client's rule, and no name that is a path.
_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,100}").fullmatch
# https://jupyter-client.readthedocs.io/en/stable/kernels.html#kernel-specs
_PICTURE = re.compile(r"logo-[a-z0-9-]+\.(?:png|svg)").fullmatch
_LARGEST = 1 << 20  # bytes
# What of kernel.json the launcher may give (jupyter_client's kernelspec.py).
_KEYS = ("argv", "display_name", "language", "env", "metadata", "interrupt_mode")


class KernelSpec:
    """Hold the entry `kernel` of launch.json: a kernelspec, and where other kernels are.

    Raises:
        ValueError, TypeError, KeyError: it is none.
    """

    def __init__(self, entry: Dict[str, Any]) -> None:
        self.name: str = entry["name"]
        self.also: List[str] = _strings(entry.get("also") or [])
        self._spec = {key: entry[key] for key in _KEYS if entry.get(key) is not None}
        environment: Dict[str, str] = self._spec.get("env", {})
        if not (
            isinstance(self.name, str)
            and _NAME(self.name)
            and _strings(entry["argv"])
            and isinstance(entry["display_name"], str)
            and isinstance(entry["language"], str)
            and isinstance(self._spec.get("metadata", {}), dict)
            and isinstance(environment, dict)
        ):
            raise ValueError
        _strings([*environment, *environment.values()])

    @property
    def program(self) -> str:
        """The program of its command."""
        return str(self._spec["argv"][0])

    def move(self, prefix: str, to: str) -> None:
        """Have it run from a copy of its environment."""
        self._spec["argv"] = [_moved(word, prefix, to) for word in self._spec["argv"]]
        variables: Dict[str, str] = self._spec.get("env", {})
        # `$` is written twice there (string.Template).
        prefix, to = prefix.replace("$", "$$"), to.replace("$", "$$")
        self._spec["env"] = {name: _moved(text, prefix, to) for name, text in variables.items()}

    def write(self, directory: str) -> None:
        """Write it into a private directory with kernelspecs, in place of one with the same name."""
        path = os.path.join(directory, self.name)
        if not os.path.isdir(path):
            os.mkdir(path, 0o700)
        spec = {**self._spec, **self._stated()}
        write_secret(os.path.join(path, "kernel.json"), json.dumps(spec).encode())
        for name, content in self._pictures().items():
            write_secret(os.path.join(path, name), content)

    def _stated(self) -> Dict[str, Any]:
        """Return what the environment's own kernelspec of this name says of the kernel itself.

        Its metadata says whether there is a debugger, and that the kernel supports CurveZMQ.
        """
        for place in self.also:
            path = os.path.join(native(place), "kernels", self.name, "kernel.json")
            try:
                with open(path, "rb") as file:
                    found = json.loads(file.read(_LARGEST).decode())
                if isinstance(found["metadata"], dict):
                    return {"metadata": {**found["metadata"], **self._spec.get("metadata", {})}}
            except (OSError, ValueError, KeyError, TypeError, RecursionError):
                continue  # there is none, or another tool's
        return {}

    def _pictures(self) -> Dict[str, bytes]:
        """Return the pictures that the environment has for a kernelspec of this name."""
        found: Dict[str, bytes] = {}
        for place in self.also:
            directory = os.path.join(native(place), "kernels", self.name)
            try:
                for name in [name for name in os.listdir(directory) if _PICTURE(name)]:
                    with open(os.path.join(directory, name), "rb") as file:
                        found.setdefault(name, file.read(_LARGEST))
            except OSError:  # there are none, and JupyterLab shows a letter
                continue
        return found


class OwnPython:
    """Hold the entry `own` of launch.json: rps's own Jupyter, and the user's venv over it.

    Raises:
        ValueError, TypeError, KeyError: it is none.
    """

    def __init__(self, entry: Dict[str, Any]) -> None:
        self.jupyter, self.prefix = _strings([entry["jupyter"], entry["prefix"]])
        self.kernel = KernelSpec(entry["kernel"])

    def is_served_by(self, program: str) -> bool:
        """Return whether a program is rps's own Jupyter, whose Python is the launcher's."""
        return os.path.realpath(program) == os.path.realpath(native(self.jupyter))


def write_kernelspecs(specs: List[KernelSpec], directory: str) -> str:
    """Write kernelspecs below a private directory; return the value of JUPYTER_PATH that leads to them.

    Nothing is written into the home: another session has another environment. A later one replaces an
    earlier one of the same name.
    """
    kernels = os.path.join(directory, "jupyter", "kernels")
    for path in (os.path.dirname(kernels), kernels):
        if not os.path.isdir(path):
            os.mkdir(path, 0o700)
    places = [os.path.dirname(kernels)]
    for spec in specs:
        spec.write(kernels)
        places[1:1] = [native(place) for place in spec.also]
    inherited = os.environ.get("JUPYTER_PATH")
    return os.pathsep.join([*places, inherited] if inherited else places)


def _moved(text: str, prefix: str, to: str) -> str:
    """Return a text with another prefix, if it is that or is below it."""
    return to + text[len(prefix) :] if text == prefix or text.startswith(prefix + "/") else text


def _strings(values: Any) -> List[str]:
    """Return a list of strings that a command line or a path may have (ValueError: it is none)."""
    if not isinstance(values, list):
        raise ValueError
    for value in values:
        if not isinstance(value, str) or "\0" in value:
            raise ValueError
    return values
