"""`rps proxy`: the service's own commands, and the one that is the launcher's."""

from __future__ import annotations

from rps_proxy.cli.main import RUN, proxy

proxy.add_places(RUN, {"feed": "rps_core.cli.commands.feed:feed"})

__all__ = ["proxy"]
