"""The request for GPUs, beside directives of the user that concern GPUs.

sbatch keeps one value of an option, the last (opt.c: each `--gres` replaces the one before). Two lines would
therefore lose one of the two requests without a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rps_core.plugin import SessionSpec, UsageError
from rps_core.schedulers.slurm.options import parse


def option(spec: SessionSpec, own: Sequence[Sequence[str]]) -> tuple[str, str] | None:
    """Return the option that requests the GPUs, as name and value; None: no GPUs.

    `--gres` counts those of a node, `--gpus` those of the job. Other resources of the user's `--gres` go into
    the value of ours, and `without_gres` removes theirs.

    Args:
        spec: the session.
        own: the arguments of each directive of the user and the site.

    Raises:
        UsageError: a directive requests GPUs, too.
    """
    wanted = spec.allocation
    if not wanted.gpus:
        return None
    others = []
    for name, value in _given(own):
        if _requests_gpus(name, value):
            raise UsageError(
                f"The directive --{name}={value} requests GPUs, and so does `job.gpus` ({_request(spec, 1)})",
                "Omit one of the two: the directive, or the GPUs (-g 0).",
            )
        if name == "gres":
            others = [value] if value not in ("", "none") else []
    if spec.gpu_directive == "gres":
        return "gres", ",".join([f"gpu:{_request(spec, 1)}", *others])
    return "gpus", _request(spec, wanted.nodes)


def without_gres(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a directive without `--gres` and its value."""
    dropped = {index for one in parse(arguments) if "gres" in one.names for index in one.words}
    return [word for index, word in enumerate(arguments) if index not in dropped]


def clash(spec: SessionSpec, name: str, value: str) -> str | None:
    """Return why an option of the template and the request for GPUs cannot both be; None: they can.

    The template's comes after that of rps, and replaces it without a message.
    """
    if not spec.allocation.gpus:
        return None
    if _requests_gpus(name, value):
        return (
            f"requests GPUs, and so does `job.gpus` ({_request(spec, 1)}). "
            "Omit one of the two: the line, or the GPUs (-g 0)."
        )
    if name == "gres" and spec.gpu_directive == "gres":
        return (
            f"replaces the GPUs of `job.gpus` ({_request(spec, 1)}): sbatch keeps the last --gres. "
            "Move it to `job.directives`, where rps joins the two."
        )
    return None


def _request(spec: SessionSpec, times: int) -> str:
    wanted = spec.allocation
    number = str((wanted.gpus or 0) * times)
    return number if wanted.gpu_type is None else f"{wanted.gpu_type}:{number}"


def _given(own: Sequence[Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Yield the full name and the value of each option."""
    for arguments in own:
        for one in parse(arguments):
            for name in one.names:
                yield name, one.value or ""


def _requests_gpus(name: str, value: str) -> bool:
    if name == "gpus" or name.startswith("gpus-per-"):
        return True
    if name in ("gres", "tres-per-task"):
        kinds = (re.sub("^gres[/:]", "", part) for part in value.split(","))
        return any(re.fullmatch("gpu(?:[:=(].*)?", kind) for kind in kinds)
    return False
