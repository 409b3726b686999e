"""The environment that was chosen for a session, and what the job needs of it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.environment.environment import Environment, Kind
from rps_core.environment.kernel import Kernel
from rps_core.environment.prefix import Prefix
from rps_core.errors import UsageError
from rps_core.values import dataclass

if TYPE_CHECKING:
    from rps_core.node.builder.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """An environment, and what the job needs of it.

    Attributes:
        environment: the chosen one.
        jupyter: the program that serves it: a path, or a name that the job looks for in what it makes.
        fallback: the program if the job finds none of that name.
        kernel: the kernel to offer first; None: the server's own.
        served_by: the server, for people; empty: the environment serves itself.
        modules: the modules to load.
        conda_env: the conda environment to activate.
        image: the container's image.
        prefix: the venv whose programs come first in the session.
        server: the value of `notebook.jupyter` with which `rps again` takes the same.
        order: what the environment is to be built from, where it is not there yet.
        notes: what the user should know of environments that were not taken.
    """

    environment: Environment
    jupyter: str
    fallback: str | None = None
    kernel: Kernel | None = None
    served_by: str = ""
    modules: tuple[str, ...] = ()
    conda_env: str | None = None
    image: str | None = None
    prefix: Path | None = None
    server: str | None = None
    notes: tuple[str, ...] = ()
    order: Order | None = None

    def for_the_agent(self) -> dict[str, object]:
        """Return the entry `environment` of launch.json (docs/sessions.md)."""
        return {
            "line": f"environment: {self.environment.described()}",
            "prefix": None if self.prefix is None else str(self.prefix),
        }

    def conda_variables(self) -> str:
        """Return the conda environment's own variables, for prepare.sh, which activates it without conda."""
        if self.conda_env is None or "/" not in self.conda_env:
            return ""
        from rps_core.node.agent.activation import variables

        return "".join(f"{name}={value}\0" for name, value in variables(self.conda_env).items())

    def to_keep(self) -> dict[str, object]:
        """Return the settings that choose the same again, whatever is active then (`rps again`)."""
        if self.environment.kind == Kind.MADE:  # `env` and `packages` say what it is made from
            found: dict[str, object] = {"notebook.venv": None, "notebook.conda_env": None}
        else:
            found = {
                "notebook.venv": None if self.prefix is None else str(self.prefix),
                "notebook.conda_env": self.conda_env,
                "notebook.env": None,
                "notebook.packages": [],
            }
        return found | {
            "notebook.image": self.image,
            "notebook.jupyter": self.server,
            "notebook.modules": list(self.modules),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An environment that is to be built.

    Attributes:
        recipe: what it is built from.
        cache: the directory of the cache.
        in_the_job: the job builds it, else this host.
    """

    recipe: Recipe
    cache: str
    in_the_job: bool


class NoKernelError(UsageError):
    """An environment that was chosen has no kernel; `prefix` is the environment."""

    def __init__(self, there: Prefix) -> None:
        from rps_core.environment.tools import commands_that_add

        command = " && ".join(map(shlex.join, commands_that_add(there, "ipykernel")))
        super().__init__(
            f"The environment {there.name} ({there.path}) has no kernel: ipykernel is not installed in it",
            f"Add it: {command}\nOr let rps do that: rps start --add-kernel. Without this environment: "
            "rps start --jupyter rps",
        )
        self.prefix = there
