"""What completion knows: a cache of the cluster's values, and sessions."""

from __future__ import annotations

from pathlib import Path

from rps_core.cli import completion
from rps_core.system import paths

HERE = {
    "account": ["abc123", "xyz789"],
    "application": ["viewer"],
    "cluster": ["generic", "local"],
    "partition": ["shared", "short-jobs", "gpu", "one; rm -rf ~", "two\u202e"],
    "profile": ["gpu", "big"],
}


def remember() -> Path:
    """Write a fresh cache, and three sessions, two of them running; return the cache."""
    completion.remember(None, HERE)
    for name in ("brave-new-world", "brave-old-one", "other-living-one", ".half-made"):
        directory = paths.sessions_dir() / name
        directory.mkdir(parents=True)
        if name != "brave-old-one":
            (directory / "claim.json").touch()
    return next(paths.cache_dir().glob("completion-*"))
