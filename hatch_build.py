"""What a build makes beside the packages: the page of the manual, from the commands themselves."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManualPage(BuildHookInterface):  # type: ignore[type-arg]
    """Puts rps(1) into the wheel, below share/man."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the man page into a wheel; an editable installation makes it at each call."""
        if self.target_name != "wheel" or version == "editable":
            return
        sys.path.insert(0, self.root)
        from rps_core.cli import manpage as manual
        from rps_core.cli.main import rps

        page = Path(self.directory) / "rps.1"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(manual.page(rps), encoding="utf-8")
        build_data["shared_data"][str(page)] = "share/man/man1/rps.1"
