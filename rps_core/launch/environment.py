"""Choose the environment of a session, the Jupyter that serves it, and its kernel.

In this order: what the settings name; the project that the user is in; what is active in this shell; the
`jupyter` on the PATH; the site's Jupyter; rps's own (docs/environments.md).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from rps_core.config import profiles
from rps_core.config.settings import EARLIER, OPTIONS, LoadedSettings
from rps_core.environment import active, conda, kernel, prefix, project
from rps_core.environment.environment import Environment, Kind, of_modules, short
from rps_core.environment.kernel import Kernel
from rps_core.environment.prefix import Prefix
from rps_core.errors import UsageError
from rps_core.launch.choice import Choice, NoKernelError
from rps_core.launch.jupyters import OWN, PROVIDED, Jupyters
from rps_core.system.programs import which
from rps_core.text import plain

# The keys that name an environment. `modules` are loaded for each of them.
_NAMING = ("image", "venv", "conda_env", "jupyter")
_SERVERS = {Kind.SITE: "the site's Jupyter", Kind.OWN: "rps's own Jupyter"}


def unknown(error: UsageError) -> Choice:
    """Return the place of an environment that cannot be used, for a dry run."""
    nothing = Environment(kind=Kind.PATH, name="none that can be used", chosen_by=error.message)
    return Choice(environment=nothing, jupyter="jupyter", notes=(error.hint,) if error.hint else ())


class Chooser:
    """Chooses by the settings and the shell.

    Args:
        loaded: the settings.
        app: Jupyter's application, such as `lab`.
        directory: the notebook's.
        variables: the shell's environment variables.
    """

    def __init__(
        self, loaded: LoadedSettings, app: str, directory: Path, variables: Mapping[str, str]
    ) -> None:
        self._loaded = loaded
        self._notebook = loaded.settings.notebook
        self._app = app
        self._directory = directory
        self._variables = variables
        self._jupyters = Jupyters(loaded, app, variables)
        self.notes: list[str] = []

    def choose(self) -> Choice:
        """Return the environment to use.

        Raises:
            NoKernelError: it has no kernel.
            UsageError: it cannot be used, or there is none; with what to do.
        """
        steps = (
            self.made,
            self.said,
            self.project,
            self.configured_modules,
            self.active,
            self.last,
        )
        found = next(choice for step in steps if (choice := step()) is not None)
        return replace(found, notes=tuple(self.notes))

    def made(self) -> Choice | None:
        """Return the environment that is made to order (`--env`, `--with`), if nothing nearer is named."""
        named = self._highest("env", "packages")
        others = {key: self._rank(key) for key in _NAMING if getattr(self._notebook, key)}
        rank = max((self._rank(key) for key in named), default=-1)
        if not named or any(other > rank for other in others.values()):
            return None
        # The Jupyter that is named beside them serves it.
        jupyter = self._notebook.jupyter if others.pop("jupyter", None) == rank else None
        where = " and ".join(map(self._where, named))
        for key, other in others.items():
            if other == rank:
                raise UsageError(
                    f"{where} and {self._where(key)} are two environments", "Give only one of them."
                )
        from rps_core.launch import made

        order = made.order(self._loaded, named, where)
        there = None if order.in_the_job else made.found(order)
        if there is not None:
            choice = self._of_prefix(there, where, jupyter=jupyter)
            return replace(choice, environment=made.described(order, there, where))
        bare = made.described(order, None, where)
        found = self._server(jupyter, None)
        if found is None and order.in_the_job:  # it may have a Jupyter of its own
            return Choice(environment=bare, jupyter="jupyter", order=order)
        server = found[1] if found else "jupyter"
        modules = self._notebook.modules
        return Choice(
            environment=bare, jupyter=server, modules=modules, server=jupyter, order=order
        )

    def said(self) -> Choice | None:
        """Return the environment that the settings name."""
        said = self._said_keys()
        for other in ("image", "conda_env"):  # an image may have conda environments of its own
            if "venv" in said and other in said:
                raise UsageError(
                    f"{self._where('venv')} and {self._where(other)} are two environments",
                    "Give only one of them.",
                )
        if "image" in said:
            return self._image(said)
        if "venv" in said:
            path, where = Path(said["venv"]).expanduser().absolute(), self._where("venv")
            inside = path / ".venv"
            if not prefix.is_environment(path) and prefix.is_environment(inside):
                path = inside
            return self._of_prefix(prefix.read(path, where), where, jupyter=said.get("jupyter"))
        if "conda_env" in said:
            return self._conda(said["conda_env"], said.get("jupyter"))
        if "jupyter" in said:
            return self._jupyter(said["jupyter"])
        if self._notebook.modules and self._rank("modules"):
            return self._of_modules(self._where("modules"), self._notebook.modules)
        return None

    def project(self) -> Choice | None:
        """Return the environment of the project, unless others can change it."""
        for found in project.find(self._start(), Path(sys.prefix)):
            if found.untrusted:
                path = found.prefix or found.directory
                self.notes.append(
                    f"{short(path)} was not taken: {found.untrusted}. `--venv {path}` takes it."
                )
            elif found.prefix is None:
                self.notes.append(
                    f"{found.chosen_by} has no environment yet; `{found.remedy}` makes it."
                )
            else:
                there = prefix.read(found.prefix, found.chosen_by)
                return self._of_prefix(there, found.chosen_by, found.directory)
        return None

    def configured_modules(self) -> Choice | None:
        """Return the configured modules, which are the environment where no project is."""
        modules = self._notebook.modules
        return self._of_modules(self._where("modules"), modules) if modules else None

    def active(self) -> Choice | None:
        """Return what is active in this shell."""
        for variable, path in active.prefixes(self._variables):
            if os.path.realpath(path) == os.path.realpath(sys.prefix) or active.is_over_rps(path):
                continue  # rps's own
            if not path.is_dir():
                self.notes.append(f"{variable} names {short(path)}, which is not there.")
                continue
            there = prefix.read(path, variable)
            # conda activates `base` in every shell.
            if there.name != "base" or there.serves(self._app) or kernel.first(there, "base"):
                return self._of_prefix(there, f"active in this shell ({variable})")
        return self._active_modules()

    def last(self) -> Choice:
        """Return the `jupyter` on the PATH, the site's, or rps's own.

        Raises:
            UsageError: there is none.
        """
        for choice in self.programs():
            if self._notebook.prologue:  # it may bring another Jupyter
                return replace(choice, jupyter="jupyter", fallback=choice.jupyter, server="jupyter")
            return choice
        if self._notebook.prologue:
            bare = Environment(kind=Kind.PATH, name="the Jupyter", chosen_by="of the prologue")
            return Choice(environment=bare, jupyter="jupyter", server="jupyter")
        raise self.nothing()

    def programs(self) -> Iterator[Choice]:
        """Yield the environments of the Jupyter programs that can be run, in their order."""
        for kind, program in self._jupyters.found():
            yield self._of_program(kind, program)

    def nothing(self) -> UsageError:
        """Return the error where there is no environment at all."""
        return self._jupyters.none_found()

    def _said_keys(self) -> dict[str, str]:
        """Return the settings that name an environment, of the highest layer that has one.

        An option overrides a profile, that an earlier session, and that what is configured, also where it is
        another key: `--venv` overrides a configured `conda_env`.
        """
        return {key: str(getattr(self._notebook, key)) for key in self._highest(*_NAMING)}

    def _highest(self, *keys: str) -> list[str]:
        """Return those of these keys that the highest layer sets."""
        ranks = {key: self._rank(key) for key in keys if getattr(self._notebook, key)}
        top = max(ranks.values(), default=0)
        return [key for key, rank in ranks.items() if rank == top]

    def _rank(self, key: str) -> int:
        origin = self._loaded.origins.get(f"notebook.{key}")
        layer = "" if origin is None else origin.layer
        return 3 if layer == OPTIONS else 2 if profiles.made(layer) else int(layer == EARLIER)

    def _where(self, key: str) -> str:
        """Return how a setting was given, for people: its option, or its file and line."""
        if self._rank(key) == 3:
            if self._loaded.where(f"notebook.{key}") == "--set":
                return f"--set notebook.{key}"
            return "--with" if key == "packages" else f"--{key.replace('_', '-')}"
        return f"`notebook.{key}` ({self._loaded.where(f'notebook.{key}')})"

    def _start(self) -> Path:
        """Return the directory whose project counts: that of `-d`, else the working directory."""
        if self._rank("directory"):
            return self._directory
        try:
            return Path.cwd()
        except OSError:  # it was removed
            return self._directory

    def _active_modules(self) -> Choice | None:
        """Return the loaded modules, if they bring Jupyter, or a Python with a kernel."""
        loaded, path = active.modules(self._variables), self._variables.get("PATH")
        words = "loaded in this shell (LOADEDMODULES)"
        server = active.program_of_a_module(f"jupyter-{self._app}", path=path) if loaded else None
        if server is not None:
            there = prefix.of_program(server)
            choice = self._of_modules(words, loaded, there.python_version if there else None)
            return replace(choice, fallback=str(Path(server).with_name("jupyter")))
        python = active.program_of_a_module("python3", path=path) if loaded else None
        if python is None:
            return None
        try:
            there = prefix.read(Path(python).parent.parent, words)
        except UsageError:
            return None
        offered = kernel.first(there, loaded[-1])
        if offered is None:
            return None
        environment = of_modules(loaded, words, there.python_version)
        return replace(self._served(environment, offered), modules=loaded)

    def _image(self, said: Mapping[str, str]) -> Choice:
        image = said["image"]
        name = image if "://" in image else Path(image).name
        return Choice(
            environment=Environment(
                kind=Kind.IMAGE, name=f"the image {plain(name)}", chosen_by=self._where("image")
            ),
            jupyter=said.get("jupyter", "jupyter"),
            fallback=None if "jupyter" in said else self._jupyters.first(),
            image=image,
            modules=self._notebook.modules,
            conda_env=said.get("conda_env"),
            server=said.get("jupyter"),
        )

    def _conda(self, name: str, jupyter: str | None) -> Choice:
        """Return a conda environment by name or path; a name may be known in the job alone."""
        where = self._where("conda_env")
        known = [Path(name).expanduser().absolute()] if "/" in name else conda.named(name)
        if known:
            return self._of_prefix(prefix.read(known[0], where), where, jupyter=jupyter)
        return Choice(
            environment=Environment(
                kind=Kind.CONDA,
                name=plain(name),
                chosen_by=where,
                place="known to conda in the job",
            ),
            jupyter=jupyter or "jupyter",
            fallback=None if jupyter else self._jupyters.first(),
            kernel=kernel.on_the_path(name),
            modules=self._notebook.modules,
            conda_env=name,
            server=jupyter,
        )

    def _of_modules(
        self, where: str, modules: tuple[str, ...], python_version: str | None = None
    ) -> Choice:
        """Return modules, in which the job looks for Jupyter."""
        environment = of_modules(modules, where, python_version)
        first = self._jupyters.first()
        return Choice(environment=environment, jupyter="jupyter", fallback=first, modules=modules)

    def _jupyter(self, named: str) -> Choice:
        """Return the environment of `notebook.jupyter`; what the job makes may have it alone."""
        where, modules = self._where("jupyter"), self._notebook.modules
        if named not in (OWN, PROVIDED) and (modules or self._notebook.prologue):
            program = os.path.expanduser(named)  # noqa: PTH111 - a name on the PATH stays one
            environment = Environment(
                kind=Kind.PATH, name="the Jupyter", chosen_by=where, place=program, modules=modules
            )
            fallback = None if "/" in program else which(program) or self._jupyters.first()
            return Choice(
                environment=environment, jupyter=program, fallback=fallback, modules=modules, server=program
            )  # fmt: skip
        kind, program = self._jupyters.named(named, where)
        return self._of_program(kind, program, where)

    def _of_program(self, kind: Kind, program: str, where: str = "") -> Choice:
        """Return the environment of a Jupyter, which serves itself."""
        there = prefix.of_program(program)
        words = {Kind.SITE: "`notebook.provided`", Kind.OWN: "as nothing else was found"}
        environment = Environment(
            kind=kind,
            name=_SERVERS.get(kind, "the Jupyter"),
            chosen_by=where or words.get(kind, "on the PATH"),
            prefix=None if there is None else there.path,
            python_version=there.python_version if there else None,
            place=short(Path(program)),
            modules=self._notebook.modules,
        )
        server = {Kind.SITE: PROVIDED, Kind.OWN: OWN}.get(kind, program)
        modules = self._notebook.modules
        return Choice(environment=environment, jupyter=program, modules=modules, server=server)

    def _of_prefix(
        self, there: Prefix, chosen_by: str, within: Path | None = None, jupyter: str | None = None
    ) -> Choice:
        """Return an environment that is on this host, with the Jupyter that serves it.

        Args:
            there: the environment.
            chosen_by: why.
            within: the project's directory, which its place is relative to.
            jupyter: the program that is to serve it (`notebook.jupyter`).

        Raises:
            NoKernelError, UsageError: it has no kernel, or nothing serves it.
        """
        modules = self._notebook.modules
        if not modules and there.base and active.is_of_a_module(str(there.base / "python3")):
            modules = active.modules(self._variables)  # its Python may need their libraries
        inside = within is not None and there.path != within and there.path.is_relative_to(within)
        environment = Environment(
            kind=there.kind,
            name=there.name,
            chosen_by=chosen_by,
            prefix=there.path,
            python_version=there.python_version,
            made_by=there.made_by,
            place=str(there.path.relative_to(within)) if inside and within else short(there.path),
            modules=modules,
        )
        if jupyter is None and there.serves(self._app):
            choice = Choice(environment=environment, jupyter=str(there.path / "bin" / "jupyter"))
        elif (offered := kernel.first(there, there.name)) is not None:
            choice = self._served(environment, offered, jupyter)
        else:
            raise NoKernelError(there)
        is_conda = there.kind in (Kind.CONDA, Kind.PIXI)
        return replace(
            choice,
            modules=modules,
            conda_env=str(there.path) if is_conda else None,
            prefix=None if is_conda else there.path,
            server=jupyter,
        )

    def _served(
        self, environment: Environment, offered: Kernel, jupyter: str | None = None
    ) -> Choice:
        """Return an environment with a kernel alone, and the Jupyter that serves it."""
        found = self._server(jupyter, environment.prefix)
        if found is None:
            raise UsageError(
                f"{environment.name} has a kernel and no `jupyter-{self._app}`, and this host has no other "
                "Jupyter to serve it",
                self._jupyters.advice(),
            )
        kind, program = found
        served_by = f"{_SERVERS.get(kind, 'the Jupyter')}, {short(Path(program))}"
        return Choice(environment=environment, jupyter=program, kernel=offered, served_by=served_by)

    def _server(self, jupyter: str | None, without: Path | None) -> tuple[Kind, str] | None:
        """Return the Jupyter for a kernel: the named one, else the best of this host."""
        if jupyter is None:
            return self._jupyters.best(without)
        return self._jupyters.named(jupyter, self._where("jupyter"))
