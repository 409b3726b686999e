"""Read launch.json, and the secrets in claim.json (docs/sessions.md)."""

import json
import os
from typing import Any, Dict, List, Optional

from rps_core.node.agent.events import End, EndCause
from rps_core.node.agent.files import check_directory, read_file
from rps_core.node.agent.kernelspec import KernelSpec, OwnPython
from rps_core.node.agent.protocol import (
    is_app,
    is_host,
    is_line,
    is_number,
    is_port,
    is_secret,
    is_session_name,
    is_token,
    is_url,
)
from rps_core.node.agent.time_limit import SchedulerJob
from rps_core.node.builder.recipe import Recipe

_LONGEST = 1e14  # seconds, as the launcher's timedelta has


class Order:
    """Hold the entry `build` of launch.json: a recipe, and the directory of the cache.

    Raises:
        ValueError, TypeError, KeyError: it is none.
    """

    def __init__(self, entry: Dict[str, Any]) -> None:
        self.recipe = Recipe(entry["recipe"])
        self.cache: str = entry["cache"]
        if not isinstance(self.cache, str) or not self.cache.startswith("/") or "\0" in self.cache:
            raise ValueError


class Session:
    """The session's directory, as the launcher made it.

    Raises:
        UnsafeFile: another user could have made or read it.
        End: it is damaged.
        OSError: it cannot be read.
    """

    def __init__(self, directory: str) -> None:
        check_directory(directory)
        self.path = directory
        try:
            launch = json.loads(read_file(os.path.join(directory, "launch.json")).decode())
            secrets = read_file(os.path.join(directory, "claim.json"), secret=True)
            keys = json.loads(secrets.decode())
            self.name: str = launch["name"]
            self.host: str = launch["host"]
            self.directory: str = launch["directory"]  # of the notebooks
            self.program: str = launch["jupyter"]
            self.container: Optional[List[str]] = launch.get("container")
            # The Jupyter that the launcher found, where the job may make another; null: it found none.
            self.fallback: Optional[str] = launch.get("fallback")
            kernel = launch.get("kernel")
            self.kernel = None if kernel is None else KernelSpec(kernel)
            own = launch.get("own")
            self.own = None if own is None else OwnPython(own)
            # A venv whose programs come first in the session; conda's are activated by prepare.sh.
            self.venv: Optional[str] = (launch.get("environment") or {}).get("prefix")
            # An environment that the job builds, and where on the node's own disk a copy is to be.
            build = launch.get("build")
            self.build = None if build is None else Order(build)
            self.copy_to: Optional[str] = launch.get("copy_to")
            self.copied: Optional[str] = None  # the copy, once it is begun
            self.port_range: Optional[List[int]] = launch["port_range"]
            self.start_timeout: float = launch["start_timeout"]
            walltime = launch.get("walltime")
            self.walltime = None if walltime is None else float(walltime)
            self.shutdown_before = float(launch.get("shutdown_before", 0))
            self.idle_timeout = float(launch.get("idle_timeout") or 0)
            # Beside the session's own, whose pages may change something.
            self.origins: List[str] = [str(origin) for origin in launch.get("origins") or ()]
            kernels = launch.get("kernels") or {}
            self.tcp_kernels = kernels.get("tcp") is not False  # without encryption
            # File that remembers how kernels start; empty: none.
            self.kernels_memory = str(kernels.get("memory") or "")
            # How browsers log in: by the token in the URL, or by a link that works once.
            self.link: str = launch.get("link") or "token"
            self.shares = launch.get("shares") is True
            # Applications by name, and which of them the session opens: none, or JupyterLab or the like.
            self.apps: Dict[str, Dict[str, Any]] = dict(launch.get("apps") or {})
            self.app: Optional[str] = launch.get("app")
            # A Jupyter that serves applications where the session's own cannot.
            self.app_jupyter: Optional[str] = launch.get("app_jupyter")
            self.job = SchedulerJob(launch["job"])
            service = launch["service"]
            ca_file = service["ca_file"] and os.path.join(directory, service["ca_file"])
            self.service = (service["host"], service["port"], service["connect"], ca_file)
            self.protocol: Optional[str] = service.get("protocol")
            # What the service is to connect to, in place of our end of the calls.
            self.node_address: Optional[str] = service.get("node_address")
            # The service runs on a login node of the user's own home: calls can be files there.
            self.file_calls = service.get("file_calls") is True
            self.origin = str(launch["url"]).rstrip("/")
            # Some of it is the service's, and an older launcher may not have checked it.
            if not (
                is_session_name(self.name)
                and is_host(self.host)
                and is_url(launch["url"])
                and is_host(service["host"])
                and is_port(service["port"])
                and is_number(self.start_timeout, 0, _LONGEST)
                and is_number(self.walltime or 0, 0, _LONGEST)
                and is_number(self.shutdown_before, 0, _LONGEST)
                and is_number(self.idle_timeout, 0, _LONGEST)
                and (self.node_address is None or is_line(self.node_address))
                and (self.fallback is None or is_line(self.fallback))
                and (self.venv is None or (self.venv.startswith("/") and "\0" not in self.venv))
                and self.link in ("once", "token")
                and (self.copy_to is None or is_line(self.copy_to))
                and is_secret(keys["claim"])
                and is_token(keys["token"])
                and all(is_app(name, row) for name, row in self.apps.items())
                and (self.app is None or self.app in self.apps)
                and (self.app_jupyter is None or is_line(self.app_jupyter))
            ):
                raise ValueError
            self.claim: str = keys["claim"]
            self.token: str = keys["token"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            # The error's text may quote the file.
            name = type(error).__name__
            raise End(
                EndCause.START_FAILED, "The session's files are damaged (%s)" % name
            ) from None
