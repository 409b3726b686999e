"""The workspace that an environment of pixi is of.

pixi notes it in the environment, in conda-meta/pixi (pixi_core/src/environment/mod.rs, EnvironmentFile).
Where the setting `detached-environments` has environments elsewhere, the path does not show it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from rps_core.values import dataclass

_ENVIRONMENTS = "/.pixi/envs/"
_LONGEST = 1 << 16  # bytes of the note
_GLOBAL = "pixi-global.toml"  # the manifest of `pixi global`
_SEVERAL = r"(?m)^\s*\[(tool\.pixi\.)?environments\b|^\s*environments\s*="


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A workspace of pixi.

    Attributes:
        manifest: its pixi.toml or pyproject.toml; None: unknown, `directory` has it.
        directory: its directory.
        environment: the environment's name in it.
    """

    manifest: Path | None
    directory: Path
    environment: str

    @property
    def is_global(self) -> bool:
        """Whether it is that of `pixi global`."""
        return self.manifest is not None and self.manifest.name == _GLOBAL

    @property
    def has_several(self) -> bool:
        """Whether it has other environments too: `pixi add` then installs none of them."""
        try:
            text = self._manifest().read_text("utf-8", "replace")
        except OSError:
            return False
        return bool(re.search(_SEVERAL, text))

    def adds(self, package: str) -> list[list[str]]:
        """Return the commands that add a package to the environment."""
        if self.is_global:
            return [["pixi", "global", "add", "--environment", self.environment, package]]
        manifest = str(self._manifest())  # a directory is taken from pixi 0.39.5 on alone
        commands = [["pixi", "add", "--manifest-path", manifest, package]]
        if self.has_several:
            commands.append(
                ["pixi", "install", "--manifest-path", manifest, "--environment", self.environment]
            )
        return commands

    def _manifest(self) -> Path:
        if self.manifest is not None:
            return self.manifest
        beside = self.directory / "pyproject.toml"
        own = self.directory / "pixi.toml"
        return beside if beside.is_file() and not own.is_file() else own


def workspace(prefix: Path) -> Workspace | None:
    """Return the workspace of an environment; None: pixi did not make it."""
    note = prefix / "conda-meta" / "pixi"
    try:
        with note.open("rb") as file:
            content = json.loads(file.read(_LONGEST))
        manifest, name = Path(content["manifest_path"]), content["environment_name"]
        if manifest.is_absolute() and isinstance(name, str) and name:
            return Workspace(manifest=manifest, directory=manifest.parent, environment=name)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass  # there is none, or it is damaged
    directory, found, name = str(prefix).partition(_ENVIRONMENTS)
    if found:
        return Workspace(
            manifest=None, directory=Path(directory), environment=name.partition("/")[0]
        )
    if note.is_file():
        return Workspace(manifest=None, directory=prefix.parent, environment=prefix.name)
    return None
