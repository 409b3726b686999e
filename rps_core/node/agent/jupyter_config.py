"""What must hold in Jupyter whatever the user's configuration says; run by its Python >= 3.6.

Jupyter finds this file by its name, in JUPYTER_CONFIG_PATH, and so runs it before it uses any value of the
user's `jupyter_config`. It comes before `session_config.py` (--config) in any case. The values are in
settings.json beside it.

Configuration alone cannot hold: files that Jupyter reads later (jupyter_lab_config, and all that says
something of NotebookApp or LabApp, which is moved over to ServerApp) come out on top. So the same values
are put in once more, right before they are used.
"""

import functools
import importlib.util
import json
import os
import signal
import sys
from types import ModuleType
from typing import Any

from jupyter_client.manager import KernelManager
from traitlets.config.loader import Config
from traitlets.traitlets import ValidateHandler

if "notebook.notebookapp" in sys.modules:  # Notebook 6 and older
    from notebook.notebookapp import NotebookApp as Application  # type: ignore
    from notebook.services.contents.filemanager import FileContentsManager  # type: ignore
    from notebook.services.kernels.kernelmanager import MappingKernelManager  # type: ignore

    root_dir = "notebook_dir"
else:
    from jupyter_server.serverapp import ServerApp as Application
    from jupyter_server.services.contents.filemanager import FileContentsManager
    from jupyter_server.services.kernels.kernelmanager import MappingKernelManager

    root_dir = "root_dir"

# A scheduler's warning for the agent, which Torque and PBS send to every process of the job. Not ignored,
# as the agent had it: kernels and terminals would inherit that, and a shell cannot trap what it inherits so.
signal.signal(signal.SIGUSR1, lambda _number, _frame: None)

here = os.path.dirname(os.path.abspath(__file__))
first, _, others = os.environ.get("JUPYTER_CONFIG_PATH", "").partition(os.pathsep)
if (
    first == here
):  # kernels and terminals inherit the environment, and this is for this process alone
    del os.environ["JUPYTER_CONFIG_PATH"]
    if others:
        os.environ["JUPYTER_CONFIG_PATH"] = others


def part(name: str) -> Any:
    """Run a module of this directory as `rps_<name>`.

    Not by an import, which would leave bytecode there with what the umask gives.
    """
    module: Any = ModuleType("rps_" + name)
    sys.modules[module.__name__] = module
    with open(os.path.join(here, name + ".py"), encoding="utf-8") as source:
        exec(compile(source.read(), source.name, "exec"), module.__dict__)  # noqa: S102
    return module


c = get_config()  # type: ignore # noqa: F821 - Jupyter gives this name
with open(os.path.join(here, "settings.json")) as file:
    settings = json.load(file)
token = settings.pop("token")
links = settings.pop("login")  # null: Jupyter's own identity provider
sockets = settings.pop("sockets")
kernel = settings.pop("kernel")
kernel_settings = settings.pop("kernels")
apps = settings.pop("apps")
variables = settings.pop("variables")
settings["cookie_secret"] = settings["cookie_secret"].encode()
top = settings[root_dir] = os.path.abspath(settings.pop("directory"))

traits = Application.class_traits()
for trait in (
    "login_handler_class",
    "logout_handler_class",
    "identity_provider_class",
    "authorizer_class",
):
    if trait in traits:
        settings[trait] = traits[trait].default_value

COOKIE = "__Host-login"
mine = Config()
if "identity_provider_class" in traits:  # Jupyter Server 2
    from jupyter_server.auth.identity import PasswordIdentityProvider
    from jupyter_server.auth.logout import LogoutHandler
    from tornado.web import HTTPError

    class OwnLogout(LogoutHandler):
        """Answer as Jupyter does, but refuse a GET that another site's page sent."""

        def prepare(self, **options: Any) -> Any:
            """Refuse it before anything is done."""
            if self.request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
                raise HTTPError(403, "Log out from a page of this notebook, or type its address.")
            return super().prepare(**options)

    cookies = settings.pop("cookie_options")
    login = PasswordIdentityProvider.class_traits()["login_handler_class"].default_value
    if links is not None:
        for name in ("login_link", "languages"):
            part(name)
        texts = part("login_page").Texts(os.path.join(here, "login_page.json"))
        kind, login = part("jupyter_login").provider(
            token, links["directory"], links["once"], texts
        )
        settings["identity_provider_class"], token = kind, ""
    for section in (mine.IdentityProvider, mine.PasswordIdentityProvider):
        section.token = token
        section.cookie_options = cookies
        # No page of another session can set a cookie of such a name here, by the domain that they share.
        section.cookie_name = COOKIE
        section.secure_cookie = True
        section.login_handler_class = login
        section.logout_handler_class = OwnLogout
    mine.PasswordIdentityProvider.hashed_password = ""
    mine.PasswordIdentityProvider.password_required = False
    mine.PasswordIdentityProvider.allow_password_change = False
else:
    settings.update(token=token, password="", password_required=False, allow_password_change=False)
# For kernels, terminals and applications: `pip` is that of the session's venv. Not for Jupyter itself, which
# finds `jupyter-lab` on the PATH before that beside it.
os.environ.update(variables)
if importlib.util.find_spec("rps_core"):
    # JupyterLab's extension manager installs into the Python of the server, which is the launcher's too.
    mine.LabApp.extension_manager = "readonly"
if kernel:  # of the environment that was chosen for this session
    for section in (
        mine.MultiKernelManager,
        mine.MappingKernelManager,
        mine.AsyncMappingKernelManager,
    ):
        section.default_kernel_name = kernel
mine[Application.__name__].update((trait, settings[trait]) for trait in settings if trait in traits)
c.merge(mine)


def hold(step: str) -> None:
    """Put them in before this step of the application's start."""
    original: Any = getattr(Application, step, None)

    def held(self: Any, *arguments: Any, **options: Any) -> Any:
        self.update_config(mine)
        # No configuration has this: a page with the token, with a mode that the umask gives.
        self.no_browser_open_file = True
        if step == "init_httpserver" and not settings["certfile"]:
            self.ssl_options = None  # plain HTTP; Tornado takes {} for TLS without a certificate
        return original(self, *arguments, **options)

    if original is not None:
        setattr(Application, step, held)


def validate(owner: Any, trait: str, function: Any) -> None:
    """Replace the check of a trait by `function(validator, object, proposal)`.

    A check sees each value before the trait has it, from whichever file.
    """
    for kind in owner.mro():
        for one in vars(kind).values():
            handler: Any = one
            if isinstance(one, ValidateHandler) and trait in handler.trait_names:
                handler.func = functools.partial(function, handler.func)
                return


def notebook_directory(_check: Any, _owner: Any, _proposal: Any) -> str:
    """Return the session's directory.

    Another one, or one that this node lacks, would end the session.
    """
    return str(top)


def preferred_path(_check: Any, _server: Any, proposal: Any) -> str:
    """Return the user's directory if it is below the session's, else the session's."""
    path: str = os.path.abspath(proposal["value"])
    if os.path.isdir(path) and os.path.commonpath([top, path]) == top:
        return path
    print("rps: Jupyter's preferred_dir %s is no directory in %s" % (path, top), file=sys.stderr)
    return str(top)


def preferred_name(check: Any, manager: Any, proposal: Any) -> Any:
    """Return the user's directory as the contents manager has it.

    It is relative to the session's directory; empty for that one.
    """
    try:
        return check(manager, proposal)
    except Exception as error:  # noqa: BLE001 - TraitError, and those of a user's own manager
        print("rps: Jupyter's preferred_dir: %s" % error, file=sys.stderr)
        return ""


validate(Application, root_dir, notebook_directory)
validate(Application, "preferred_dir", preferred_path)
validate(FileContentsManager, "root_dir", notebook_directory)
validate(FileContentsManager, "preferred_dir", preferred_name)

hold("init_configurables")  # makes the identity provider
hold("init_webapp")  # takes the origins and cookies; in Notebook 6, listens
hold("init_httpserver")  # listens

run = Application.start


def run_in_directory(self: Any) -> Any:
    """Start kernels, terminals and programs of extensions in the session's directory, if not elsewhere.

    As a Jupyter does that is started there. Not before the configuration has been read: Jupyter Core before
    4.11.2 reads it from this directory, too (CVE-2022-39286).
    """
    os.chdir(top)
    return run(self)


Application.start = run_in_directory

starting = part("kernel_start")
curve = hasattr(KernelManager, "transport_encryption") and starting.zmq.has("curve")
transport = part("kernel_transport")
transports = transport.Transports(sockets, kernel_settings["tcp"], kernel_settings["memory"], curve)
transport.install(transports, KernelManager, MappingKernelManager)

shared: Any = ModuleType("rps_held")  # for session_config.py
shared.application, shared.values = Application, mine
shared.apps = (apps, sockets, token, COOKIE)  # for apps.py
sys.modules[shared.__name__] = shared
