"""Jupyter's configuration (--config), run by the application's Python >= 3.6.

The user's own, which --config replaces and which is therefore loaded here, in Jupyter's order; then what must
hold (`jupyter_config.py`).
"""

import os
import sys
import traceback
from types import ModuleType
from typing import Any

from jupyter_core.paths import jupyter_config_path
from traitlets.config.loader import ConfigFileNotFound, JSONFileConfigLoader

older = "notebook.notebookapp" in sys.modules  # Notebook 6 and older
name = "jupyter_notebook_config" if older else "jupyter_server_config"
here = os.path.dirname(os.path.abspath(__file__))
c = get_config()  # type: ignore # noqa: F821 - Jupyter gives the names of these two

# A jupyter_core without JUPYTER_CONFIG_PATH (before 4.3), or a container without our environment.
if "rps_held" not in sys.modules:
    load_subconfig("jupyter_config.py", path=here)  # type: ignore # noqa: F821

for directory in reversed(jupyter_config_path()):
    try:
        load_subconfig(name + ".py", path=directory)  # type: ignore # noqa: F821
    except Exception:  # noqa: BLE001 - as Jupyter does: a broken file is reported, and the next one read
        traceback.print_exc()
    try:
        c.merge(JSONFileConfigLoader(name + ".json", path=directory).load_config())
    except ConfigFileNotFound:
        pass
    except Exception:  # noqa: BLE001
        traceback.print_exc()

held: Any = sys.modules["rps_held"]
c.merge(held.values)


def part(name: str) -> Any:
    """Return a module of this directory.

    Not by an import, which would leave bytecode there with what the umask gives.
    """
    module = ModuleType("rps_" + name)
    with open(os.path.join(here, name + ".py")) as source:
        exec(compile(source.read(), source.name, "exec"), module.__dict__)  # noqa: S102
    return module


if not older:
    # What the session says in the browser's tabs. Without it the notebook is as good.
    try:
        part("tabs").install(c, held.application, here)
    except Exception:  # noqa: BLE001
        traceback.print_exc()
    # Applications, where this Jupyter has jupyter-server-proxy. The agent sees whether they are there.
    try:
        part("apps").install(held.application, *held.apps)
    except ModuleNotFoundError as error:
        if error.name != "jupyter_server_proxy":
            traceback.print_exc()
    except Exception:  # noqa: BLE001
        traceback.print_exc()
