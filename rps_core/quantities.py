"""Walltimes and amounts of memory, as people write them and as schedulers read them."""

from __future__ import annotations

import math
import re
from datetime import timedelta

from rps_core.errors import UsageError


def parse_walltime(text: str, what: str = "walltime") -> timedelta:
    """A walltime from minutes, HH:MM:SS or D-HH:MM:SS (also D-HH and D-HH:MM, as Slurm reads them). `what`
    is what errors call it.

    Raises:
        UsageError: anything else, or no time at all.
    """
    match = re.fullmatch(
        r"(?P<minutes>\d{1,7})"
        r"|(?P<h>\d{1,4}):(?P<m>[0-5]?\d):(?P<s>[0-5]?\d)"
        r"|(?P<d>\d{1,3})-(?P<dh>[01]?\d|2[0-3])(:(?P<dm>[0-5]?\d)(:(?P<ds>[0-5]?\d))?)?",
        text.strip(),
        re.ASCII,
    )
    if not match:
        raise UsageError(
            f"`{text}` is not a {what}",
            "Give minutes (90), HH:MM:SS (01:30:00) or D-HH:MM:SS (1-12:00:00).",
        )
    part = {name: int(value) for name, value in match.groupdict().items() if value}
    walltime = timedelta(
        days=part.get("d", 0),
        hours=part.get("h", 0) + part.get("dh", 0),
        minutes=part.get("minutes", 0) + part.get("m", 0) + part.get("dm", 0),
        seconds=part.get("s", 0) + part.get("ds", 0),
    )
    if not walltime:
        raise UsageError(f"A {what} of `{text}` is no time at all", "Give at least one minute: 1")
    return walltime


def format_walltime(walltime: timedelta) -> str:
    """`HH:MM:SS`, from 24 hours on `D-HH:MM:SS`; both are read alike by Slurm and by people."""
    seconds = int(walltime.total_seconds())
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock


def parse_memory(text: str) -> int:
    """MiB from `2G`, `2048M`, `2g`, `1T`, `512MB` or a plain number, which means GiB.

    Raises:
        UsageError: anything else, or zero.
    """
    match = re.fullmatch(
        r"(\d{1,9}(?:\.\d{1,3})?)\s*([mgt]?)(?:i?b)?", text.strip().lower(), re.ASCII
    )
    factor = {"m": 1, "g": 1024, "t": 1024**2, "": 1024}
    # Rounded up: a job that asked for 1.5G must get it.
    memory = math.ceil(float(match[1]) * factor[match[2]]) if match else 0
    if memory <= 0:
        raise UsageError(
            f"`{text}` is not an amount of memory", "For example: 2G, 2048M, or 2 (GB)."
        )
    return memory
