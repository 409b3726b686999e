"""Find the Jupyter programs that can serve a session on this host."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rps_core.config.settings import LoadedSettings
from rps_core.environment.environment import Kind
from rps_core.errors import UsageError
from rps_core.node.agent.files import missing_interpreter
from rps_core.system.programs import which

OWN, PROVIDED = "rps", "site"  # words that `notebook.jupyter` may have in place of a program


class Jupyters:
    """The Jupyter programs of this shell, the site and rps that have an application.

    `app`: Jupyter's application, such as `lab`.
    """

    def __init__(self, loaded: LoadedSettings, app: str, variables: Mapping[str, str]) -> None:
        self._loaded = loaded
        self._app = app
        self._path = variables.get("PATH")

    def found(
        self,
        order: Sequence[Kind] = (Kind.PATH, Kind.SITE, Kind.OWN),
        without: Path | None = None,
    ) -> Iterator[tuple[Kind, str]]:
        """Yield those that can be run: of the PATH, of the site, of rps.

        Args:
            order: in which they are looked for.
            without: an environment whose own is none of them.
        """
        for kind in order:
            if kind == Kind.PATH:
                program = self._of_others(without)
            else:
                program = self._provided() if kind == Kind.SITE else self._own()
            if program is not None and self._has_app(program):
                yield kind, program

    def first(self) -> str | None:
        """Return the first one found."""
        return next((program for _, program in self.found()), None)

    def best(self, without: Path | None) -> tuple[Kind, str] | None:
        """Return the one that serves an environment with a kernel alone.

        It is the site's, else rps's own, else that on the PATH, which may be of any age.
        """
        return next(self.found((Kind.SITE, Kind.OWN, Kind.PATH), without), None)

    def named(self, named: str, where: str) -> tuple[Kind, str]:
        """Return the program that `notebook.jupyter` names.

        Args:
            named: a path, a name on the PATH, or one of the words.
            where: who names it.

        Raises:
            UsageError: it is not there, or cannot be run.
        """
        if named in (OWN, PROVIDED):
            program = self._own() if named == OWN else self._provided()
            if program is None:
                what = (
                    "rps has no Jupyter of its own"
                    if named == OWN
                    else "this site provides no Jupyter"
                )
                raise UsageError(f"{where}: {what}", self.advice())
            self._check(program, "notebook.jupyter" if named == OWN else "notebook.provided")
            return (Kind.OWN if named == OWN else Kind.SITE), program
        program = os.path.expanduser(named)  # noqa: PTH111 - a name on the PATH stays one
        found = which(program, path=self._path)
        if found is None:
            raise self._not_a_program(program)
        self._check(found)
        return Kind.PATH, os.path.abspath(found)  # noqa: PTH100 - links are not followed

    def none_found(self) -> UsageError:
        """Return the error where there is none."""
        on_path = self._on_path()
        if on_path is not None:
            try:
                self._check(on_path)
            except UsageError as error:
                return error
        return UsageError(
            "Jupyter not found: no `jupyter` on the PATH, and none installed with rps",
            self.advice(),
        )

    def advice(self, beside: str = "") -> str:
        """Return how this user gets Jupyter, as sentences."""
        from rps_core.installation import jupyter_advice

        settings = self._loaded.settings
        hint = settings.notebook.install_hint
        return jupyter_advice(hint, self._app, beside, "", settings.proxy.personal)

    def _on_path(self) -> str | None:
        found = which("jupyter", path=self._path)
        return None if found is None else os.path.abspath(found)  # noqa: PTH100 - links are not followed

    def _of_others(self, without: Path | None) -> str | None:
        """Return the one on the PATH, unless it is rps's own or in `without`."""
        found = self._on_path()
        if found is None or _is_same(found, self._own()) or _is_below(found, without):
            return None
        return found

    def _own(self) -> str | None:
        return which("jupyter", path=str(Path(sys.executable).parent))

    def _provided(self) -> str | None:
        named = self._loaded.settings.notebook.provided
        if not named:
            return None
        path = Path(named).expanduser()
        return str(path / "bin" / "jupyter" if path.is_dir() else path)

    def _has_app(self, jupyter: str) -> bool:
        return (
            os.access(jupyter, os.X_OK)
            and not missing_interpreter(jupyter)
            and self._app_of(jupyter)
        )

    def _app_of(self, jupyter: str) -> bool:
        """Return whether the application is beside Jupyter, or on the PATH, where jupyter_core looks too."""
        name, beside = f"jupyter-{self._app}", str(Path(jupyter).parent)
        return bool(which(name, path=beside) or which(name, path=self._path))

    def _check(self, jupyter: str, key: str = "notebook.jupyter") -> None:
        """Check that a Jupyter can be run, and has the application.

        Args:
            jupyter: its path.
            key: the setting that names it.

        Raises:
            UsageError: it cannot, or has not.
        """
        if not os.access(jupyter, os.X_OK):
            raise self._not_a_program(jupyter, key)
        if not self._app_of(jupyter):
            raise UsageError(
                f"Cannot start {self._app}: there is no `jupyter-{self._app}` beside {jupyter}",
                self.advice(beside=jupyter),
            )
        gone = missing_interpreter(jupyter)
        if gone is not None:
            raise UsageError(
                f"Jupyter cannot be run: {jupyter} needs {gone}, which does not exist",
                f"Install it again, or use another one: --jupyter FILE. {self.advice()}",
            )

    def _not_a_program(self, named: str, key: str = "notebook.jupyter") -> UsageError:
        where, removal = self._loaded.where(key), self._loaded.removal(key)
        hint = f"Give the path of Jupyter's program (…/bin/jupyter), or {removal}."
        if "/" not in named:
            advice = "" if self.first() else f" {self.advice()}"
            return UsageError(f"{where}: `{named}` not found on the PATH", f"{hint}{advice}")
        path = Path(named)
        if path.is_dir():
            return UsageError(f"{where}: {path} is a directory, not a program", hint)
        if path.exists():
            return UsageError(f"{where}: {path} is not executable", hint)
        return UsageError(f"{where}: program not found: {path}", hint)


def _is_same(path: str, other: str | None) -> bool:
    return other is not None and os.path.realpath(path) == os.path.realpath(other)


def _is_below(path: str, directory: Path | None) -> bool:
    return directory is not None and Path(path).is_relative_to(directory)
