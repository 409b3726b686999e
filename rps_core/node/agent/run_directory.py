"""Make and remove `run`, the session's private directory with key and token."""

import json
import os
import pkgutil
import shutil

from rps_core.node.agent.files import write_secret
from rps_core.node.agent.sockets import (
    make_sockets_directory,
    remove_abandoned,
    remove_sockets_directory,
)

# Run by Jupyter's Python.
FOR_JUPYTER = (
    "jupyter_config.py", "session_config.py", "login_link.py", "languages.py", "login_page.py",
    "login_page.json", "jupyter_login.py", "kernel_start.py", "kernel_transport.py", "tabs.py",
    "apps.py",
)  # fmt: skip
RUNTIME_FILES = ("jpserver-", "nbserver-")  # how Jupyter Server's are called, and Notebook 6's


class RunDirectory:
    """The private directory of a session, and that of the kernels' sockets."""

    def __init__(self, session: str) -> None:
        self.path = os.path.join(session, "run")
        self.sockets = ""  # on the node; empty: there are none yet

    def make(self) -> None:
        """Make both, in place of those that an agent left which was killed."""
        self.remove()
        remove_abandoned()
        os.mkdir(self.path, 0o700)
        os.chmod(self.path, 0o700)
        self.sockets = make_sockets_directory(self.path)

    def path_of(self, name: str) -> str:
        """Return the path of a file in it."""
        return os.path.join(self.path, name)

    def write(self, name: str, content: bytes) -> None:
        """Make a file in it."""
        write_secret(self.path_of(name), content)

    def write_for_jupyter(self) -> None:
        """Write Jupyter's configuration, and the extension that shows notices in the tabs."""
        extension = self.path_of("labextensions/rps-session")
        # One by one: makedirs makes all but the last with what the umask leaves.
        for directory in (os.path.dirname(extension), extension, os.path.join(extension, "static")):
            if not os.path.isdir(directory):
                os.mkdir(directory, 0o700)
        build = {"load": "static/tab.js", "extension": "./extension"}
        package = {"name": "rps-session", "version": "1.0.0", "jupyterlab": {"_build": build}}
        for name in FOR_JUPYTER:
            self.write(name, packaged(name))
        write_secret(os.path.join(extension, "static", "tab.js"), packaged("tab.js"))
        write_secret(os.path.join(extension, "package.json"), json.dumps(package).encode())

    def remove_runtime_files(self) -> None:
        """Jupyter's, of a run before."""
        for name in os.listdir(self.path):
            if name.startswith(RUNTIME_FILES):
                os.unlink(self.path_of(name))

    def remove_sockets(self) -> None:
        """Remove the kernels' sockets, if there are any."""
        if self.sockets:
            shutil.rmtree(self.sockets, ignore_errors=True)

    def remove(self) -> None:
        """Remove it, and the kernels' sockets that its note names."""
        remove_sockets_directory(self.path)
        shutil.rmtree(self.path, ignore_errors=True)


def packaged(name: str) -> bytes:
    """Return a file beside this one, also from the archive."""
    content = pkgutil.get_data("rps_core.node.agent", name)
    if content is None:
        raise FileNotFoundError("%s is not among the agent's files" % name)
    return content
