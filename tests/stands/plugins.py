"""Small distributions with plugins, as pip would leave them on `sys.path`."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import pytest

_numbers = itertools.count()


@dataclass
class Distributions:
    """Installs distributions into a directory that is on `sys.path`."""

    directory: Path

    def install(self, name: str, body: str, *, version: str = "2.0", points: str = "") -> Path:
        """Install the distribution `rps-NAME`; return the file of its one module.

        `points`: its entry points, with `{module}` for the module's name; by default the plugin NAME.
        """
        # A unique name: an import that hangs holds that module's lock for the rest of this process.
        module = f"rps_{name}_{next(_numbers)}"
        metadata = self.metadata(name, version)
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: rps-{name}\nVersion: {version}\n"
        )
        points = points or f"{name} = {{module}}\n"
        (metadata / "entry_points.txt").write_text(f"[rps]\n{points.format(module=module)}")
        file = self.directory / f"{module}.py"
        file.write_text(body)
        return file

    def metadata(self, name: str, version: str = "2.0") -> Path:
        """Return the directory of a distribution's metadata."""
        return self.directory / f"rps_{name}-{version}.dist-info"


@pytest.fixture
def distributions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Distributions:
    """Put a directory for distributions on `sys.path`."""
    directory = tmp_path / "site-packages"
    directory.mkdir()
    monkeypatch.syspath_prepend(str(directory))
    return Distributions(directory)
