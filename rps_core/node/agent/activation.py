"""Activate a conda environment as `conda activate` does, where there is no conda (conda/activate.py).

Its variables come first (those of packages, then those of `conda env config vars set` and of an
environment.yml), then the scripts of etc/conda/activate.d.
"""

import glob
import json
import os
import re
from typing import Any, Callable, Dict, List, Optional

from rps_core.node.agent.words import log, plain

TIME = 60.0  # seconds for the scripts
_UNSET = "***unset***"  # conda/base/constants.py
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*$")
_LONGEST = 1 << 20  # bytes of a file
_SCRIPTS = """\
for script in "$1"/etc/conda/activate.d/*.sh; do [ ! -f "$script" ] || . "$script"; done </dev/null >&2
exec env -0 >"$2"
"""


def variables(prefix: str) -> Dict[str, str]:
    """Return the variables that an environment sets, beside those of each environment."""
    found = {}  # type: Dict[str, str]
    for file in sorted(glob.glob(os.path.join(glob.escape(prefix), "etc/conda/env_vars.d/*"))):
        found.update(_strings(_content(file)))
    state = _content(os.path.join(prefix, "conda-meta", "state"))
    found.update(_strings(state.get("env_vars")))
    return {key: value for key, value in found.items() if key != "PATH" and value != _UNSET}


def activate(prefix: str, file: str, run: Callable[[List[str], float], Optional[str]]) -> None:
    """Activate an environment for this process and all that it starts.

    Args:
        prefix: the environment.
        file: written and removed; its directory is closed to other users.
        run: runs a command for at most so many seconds; None: it failed.
    """
    programs, others = os.path.join(prefix, "bin"), os.environ.get("PATH")
    os.environ.update(CONDA_PREFIX=prefix, CONDA_DEFAULT_ENV=prefix, CONDA_SHLVL="1")
    os.environ["PATH"] = programs + os.pathsep + others if others else programs
    os.environ.update(variables(prefix))
    if not glob.glob(os.path.join(glob.escape(prefix), "etc/conda/activate.d/*.sh")):
        return
    try:
        if run(["bash", "-c", _SCRIPTS, "rps", prefix, file], TIME) is None:
            log("environment: its activation scripts failed, or took more than %.0f s" % TIME)
            return
        with open(file, "rb") as stream:
            text = os.fsdecode(stream.read())
        os.unlink(file)
    except OSError as error:
        log("environment: its activation scripts were not run: %s" % plain(error))
        return
    pairs = (pair.partition("=") for pair in text.split("\0"))
    os.environ.update({name: value for name, _, value in pairs if _NAME.match(name)})


def _content(path: str) -> Dict[str, Any]:
    try:
        with open(path, "rb") as file:
            content = json.loads(file.read(_LONGEST).decode())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _strings(content: Any) -> Dict[str, str]:
    """Return the pairs that can be variables."""
    if not isinstance(content, dict):
        return {}
    pairs = ((key, value) for key, value in content.items() if isinstance(value, str))
    return {key: value for key, value in pairs if _NAME.match(key) and "\0" not in value}
