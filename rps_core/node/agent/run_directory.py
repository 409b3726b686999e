"""The session's `run`: what is there for its time, key and token among it, and for nobody else to read."""

import json
import os
import pkgutil
import shutil

from rps_core.node.agent.files import write_secret
from rps_core.node.agent.sockets import make_sockets_directory, remove_sockets_directory

RUNTIME_FILES = ("jpserver-", "nbserver-")  # how Jupyter Server's are called, and Notebook 6's


class RunDirectory:
    """The private directory of a session, and that of the kernels' sockets."""

    def __init__(self, session: str) -> None:
        self.path = os.path.join(session, "run")
        self.sockets = ""  # on the node; empty: there are none yet

    def make(self) -> None:
        """Make both, in place of those that an agent left which was killed."""
        self.remove()
        os.mkdir(self.path, 0o700)
        os.chmod(self.path, 0o700)
        self.sockets = make_sockets_directory(self.path)

    def path_of(self, name: str) -> str:
        """The path of a file in it."""
        return os.path.join(self.path, name)

    def write(self, name: str, content: bytes) -> None:
        """Make a file in it."""
        write_secret(self.path_of(name), content)

    def write_for_jupyter(self) -> None:
        """Jupyter's configuration, its part of what is told in the browser, and the tabs' part, as an
        extension of JupyterLab."""
        extension = self.path_of("labextensions/rps-session")
        os.makedirs(os.path.join(extension, "static"), 0o700, exist_ok=True)
        build = {"load": "static/tab.js", "extension": "./extension"}
        package = {"name": "rps-session", "version": "1.0.0", "jupyterlab": {"_build": build}}
        self.write("jupyter_config.py", packaged("jupyter_config.py"))
        self.write("tabs.py", packaged("tabs.py"))
        write_secret(os.path.join(extension, "static", "tab.js"), packaged("tab.js"))
        write_secret(os.path.join(extension, "package.json"), json.dumps(package).encode())

    def remove_runtime_files(self) -> None:
        """Jupyter's, of a run before."""
        for name in os.listdir(self.path):
            if name.startswith(RUNTIME_FILES):
                os.unlink(self.path_of(name))

    def remove_sockets(self) -> None:
        """The kernels' sockets, if we have made them."""
        if self.sockets:
            shutil.rmtree(self.sockets, ignore_errors=True)

    def remove(self) -> None:
        """Remove it, and the kernels' sockets that it tells of."""
        remove_sockets_directory(self.path)
        shutil.rmtree(self.path, ignore_errors=True)


def packaged(name: str) -> bytes:
    """A file that lies beside this one, in the archive too."""
    content = pkgutil.get_data("rps_core.node.agent", name)
    if content is None:
        raise FileNotFoundError("%s is not among the agent's files" % name)
    return content
