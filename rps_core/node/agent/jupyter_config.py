"""The configuration that Jupyter gets with --config, run by the application's Python, 3.6 or newer.

First the user's own, which --config replaces and which is therefore loaded here, in Jupyter's order; then
what must hold whatever the user's says. Its values are in settings.json beside it.

Configuration alone cannot hold: files that Jupyter reads later (jupyter_lab_config, and all that says
something of NotebookApp or LabApp, which is moved over to ServerApp) come out on top. So the same values
are put in once more, right before they are used.
"""

import importlib.util
import itertools
import json
import os
import sys
import traceback
from typing import Any

from jupyter_client.manager import KernelManager
from jupyter_core.paths import jupyter_config_path
from traitlets.config.loader import Config, ConfigFileNotFound, JSONFileConfigLoader

if "notebook.notebookapp" in sys.modules:  # Notebook 6 and older
    from notebook.notebookapp import NotebookApp as Application  # type: ignore

    name, root_dir = "jupyter_notebook_config", "notebook_dir"
else:
    from jupyter_server.serverapp import ServerApp as Application

    name, root_dir = "jupyter_server_config", "root_dir"

c = get_config()  # type: ignore # noqa: F821 - Jupyter gives the names of these two
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

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "settings.json")) as file:
    settings = json.load(file)
token = settings.pop("token")
sockets = settings.pop("sockets")
settings["cookie_secret"] = settings["cookie_secret"].encode()
settings[root_dir] = settings.pop("directory")

traits = Application.class_traits()
for trait in (
    "login_handler_class",
    "logout_handler_class",
    "identity_provider_class",
    "authorizer_class",
):
    if trait in traits:
        settings[trait] = traits[trait].default_value

mine = Config()
if "identity_provider_class" in traits:  # Jupyter Server 2
    from jupyter_server.auth.identity import PasswordIdentityProvider

    cookies = settings.pop("cookie_options")
    login = PasswordIdentityProvider.class_traits()["login_handler_class"].default_value
    for section in (mine.IdentityProvider, mine.PasswordIdentityProvider):
        section.token = token
        section.cookie_options = cookies
        # No page of another session can set a cookie of such a name here, by the domain that they share.
        section.cookie_name = "__Host-login"
        section.secure_cookie = True
        section.login_handler_class = login
    mine.PasswordIdentityProvider.hashed_password = ""
    mine.PasswordIdentityProvider.password_required = False
    mine.PasswordIdentityProvider.allow_password_change = False
else:
    settings.update(token=token, password="", password_required=False, allow_password_change=False)
mine[Application.__name__].update((trait, settings[trait]) for trait in settings if trait in traits)
c.merge(mine)


def hold(step: str) -> None:
    """Put them in before this step of the application's start."""
    original: Any = getattr(Application, step, None)

    def held(self: Any, *arguments: Any, **options: Any) -> Any:
        self.update_config(mine)
        if step == "init_httpserver" and not settings["certfile"]:
            self.ssl_options = None  # plain HTTP; Tornado takes {} for TLS without a certificate
        return original(self, *arguments, **options)

    if original is not None:
        setattr(Application, step, held)


hold("init_configurables")  # makes the identity provider
hold("init_webapp")  # takes the origins and cookies; in Notebook 6, listens
hold("init_httpserver")  # listens

# Over TCP, anybody on this machine can listen to all that a kernel prints: messages are signed, not
# encrypted. What a kernel's sockets are called is its own, or two that start at once would share them.
numbers = itertools.count(1)
initialise = KernelManager.__init__


def initialise_with_private_sockets(self: Any, *arguments: Any, **options: Any) -> None:
    """A kernel's manager, which asks for a directory of files in place of ports."""
    initialise(self, *arguments, **options)
    self.transport = "ipc"
    self.ip = os.path.join(sockets, "kernel-%d" % next(numbers))


KernelManager.__init__ = initialise_with_private_sockets  # type: ignore

# What the session says in the browser's tabs. Without it the notebook is as good.
directory = os.path.dirname(os.path.abspath(__file__))
if Application.__name__ == "ServerApp":
    try:
        specification: Any = importlib.util.spec_from_file_location(
            "rps_tabs", os.path.join(directory, "tabs.py")
        )
        tabs = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(tabs)
        tabs.install(c, Application, directory)
    except Exception:  # noqa: BLE001
        traceback.print_exc()
