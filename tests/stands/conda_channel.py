"""A conda channel in a directory, and environments that rattler, pixi's own library, makes from it.

The packages are small, but for Python: its interpreter is a copy of the one that runs the tests, beside
links to its standard library, so that its prefix is its own, as of a Python from conda.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from rattler import MatchSpec, PrefixRecord, RepoDataRecord, Subdir, VirtualPackage, install, solve
from rattler.index import index_fs

PACKAGES = Path(__file__).with_name("conda_packages.py")
VERSION = ".".join(map(str, sys.version_info[:3]))


def write(place: Path, python: str = sys.executable) -> Path:
    """Write the channel; return its directory.

    Args:
        place: the directory.
        python: the Python of its package `python`, beside which ipykernel is installed.
    """
    subprocess.run([python, PACKAGES, place, str(Subdir.current())], check=True)
    asyncio.run(index_fs(place, write_zst=False, write_shards=False))
    return place


async def solved(
    channel: Path | str, specs: list[str], there: list[PrefixRecord] | None = None
) -> list[RepoDataRecord]:
    """Return what rattler's solver finds for these specs.

    Args:
        channel: the channel's directory or URL.
        specs: as conda takes them.
        there: the records of the environment, whose versions stay (`--freeze-installed`).
    """
    url = channel.as_uri() if isinstance(channel, Path) else channel
    return await solve(
        [url], [MatchSpec(spec) for spec in specs], platforms=[Subdir.current(), Subdir("noarch")],
        locked_packages=there, pinned_packages=there, virtual_packages=VirtualPackage.detect(),
    )  # fmt: skip


def make(prefix: Path, channel: Path | str, *specs: str) -> Path:
    """Make an environment with these packages by rattler; return its prefix."""

    async def both() -> None:
        await put(await solved(channel, list(specs)), prefix)

    asyncio.run(both())
    return prefix


async def put(records: list[RepoDataRecord], prefix: Path) -> None:
    """Install these packages into a prefix."""
    await install(
        records, prefix, cache_dir=Path(os.environ["RATTLER_CACHE_DIR"]), show_progress=False
    )
    (prefix / "conda-meta" / "history").touch()  # conda takes a directory for an environment by it
