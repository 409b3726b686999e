"""Read and format walltimes, amounts of memory and numbers of GPUs."""

from __future__ import annotations

import math
import re
from datetime import timedelta

from rps_core.errors import UsageError

# A type as Slurm names it, such as a100, 2080ti or 3g.20gb (a slice, MIG); a number alone is a count.
_GPUS = r"(?P<count>\d{1,4})|(?P<type>[A-Za-z0-9][A-Za-z0-9_.+-]{0,62})(?::(?P<of_type>\d{1,4}))?"


def parse_walltime(text: str, what: str = "walltime") -> timedelta:
    """Read a walltime: minutes, HH:MM:SS or D-HH:MM:SS.

    D-HH and D-HH:MM are read as by Slurm (sbatch(1), `--time`).

    Args:
        text: the walltime.
        what: its name in errors.

    Raises:
        UsageError: the text has another form, or the walltime is zero.
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
            "Use minutes (90), HH:MM:SS (01:30:00) or D-HH:MM:SS (1-12:00:00).",
        )
    part = {name: int(value) for name, value in match.groupdict().items() if value}
    walltime = timedelta(
        days=part.get("d", 0),
        hours=part.get("h", 0) + part.get("dh", 0),
        minutes=part.get("minutes", 0) + part.get("m", 0) + part.get("dm", 0),
        seconds=part.get("s", 0) + part.get("ds", 0),
    )
    if not walltime:
        raise UsageError(f"The {what} `{text}` is zero", "Use at least one minute: 1")
    return walltime


def parse_duration(text: str) -> timedelta:
    """Read a duration as people write it (`1h`, `90m`, `1h30m`, `2d`), or as a walltime.

    Raises:
        UsageError: the text has another form, or the duration is zero.
    """
    match = re.fullmatch(r"(?:(\d{1,3})d)?(?:(\d{1,4})h)?(?:(\d{1,6})m)?", text.strip(), re.ASCII)
    if match and any(match.groups()):
        days, hours, minutes = (int(value or 0) for value in match.groups())
        duration = timedelta(days=days, hours=hours, minutes=minutes)
        if duration:
            return duration
    try:
        return parse_walltime(text, "duration")
    except UsageError as error:
        raise UsageError(
            error.message, "Use hours or minutes (1h, 90m), HH:MM:SS or D-HH:MM:SS (1-12:00:00)."
        ) from None


def format_walltime(walltime: timedelta) -> str:
    """Format a walltime as `HH:MM:SS` or `D-HH:MM:SS`, which Slurm reads."""
    seconds = int(walltime.total_seconds())
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock


def parse_memory(text: str) -> int:
    """Read an amount of memory: `2G`, `2048M`, `2g`, `1T`, `512MB`, or GiB.

    Returns:
        MiB, rounded up.

    Raises:
        UsageError: the text has another form, or the amount is zero.
    """
    match = re.fullmatch(
        r"(\d{1,9}(?:\.\d{1,3})?)\s*([mgt]?)(?:i?b)?", text.strip().lower(), re.ASCII
    )
    factor = {"m": 1, "g": 1024, "t": 1024**2, "": 1024}
    # Rounded up: a job must get at least what it asked for.
    memory = math.ceil(float(match[1]) * factor[match[2]]) if match else 0
    if memory <= 0:
        raise UsageError(
            f"`{text}` is not an amount of memory", "For example: 2G, 2048M, or 2 (GB)."
        )
    return memory


def parse_gpus(text: str) -> tuple[int, str | None]:
    """Read a number of GPUs: `2`, `a100` (one of that type), `a100:2`.

    Returns:
        The number, and the type; None: any type.

    Raises:
        UsageError: the text has another form.
    """
    match = re.fullmatch(_GPUS, text.strip(), re.ASCII)
    if not match:
        raise UsageError(
            f"`{text}` is not a number of GPUs",
            "For example: 2, a100, or a100:2 (type and number).",
        )
    if match["count"]:
        return int(match["count"]), None
    return int(match["of_type"] or 1), match["type"]


def parse_gpu_limit(text: str) -> dict[str | None, int]:
    """Read the most GPUs of a node: `4`, or by type `a100:4,v100:2`.

    Returns:
        The number of each type; the key None: of any type.

    Raises:
        UsageError: the text has another form, or names a type twice.
    """
    limits = [parse_gpus(part) for part in text.split(",")]
    found = {kind: count for count, kind in limits}
    if len(found) < len(limits) or (None in found and len(found) > 1):
        raise UsageError(
            f"`{text}` is not a limit of GPUs",
            "Give one number, or one for each type: {a100: 4, v100: 2}.",
        )
    return found
