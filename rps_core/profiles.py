"""Profiles: named sets of keys in the configuration, taken by `rps start NAME`.

Any layer may have `profiles: {gpu: {job: {gpus: 1}}}`; layers that have the same one are merged as the rest
of the configuration is. All are checked whenever the configuration is merged, used or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rps_core.config import Layer
from rps_core.errors import UsageError

SECTION = "profiles"
_NAME = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
)  # typed on a command line, part of a dotted key


def names(layers: Iterable[Layer]) -> list[str]:
    """Every profile that some layer has, each once.

    Raises:
        UsageError: a name that could not be typed, or a profile that is no mapping.
    """
    found: list[str] = []
    for layer in layers:
        for name in layer.section(SECTION).values:
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise UsageError(
                    f"{layer.where(f'{SECTION}.{name}')}: `{name}` is no name for a profile",
                    "Take letters, digits, - and _.",
                )
            if name not in found:
                found.append(name)
    return found


def made(layer: str) -> bool:
    """Whether a layer of this name is one that a profile makes."""
    return f", {SECTION}." in layer


def chosen(name: str, layers: Sequence[Layer]) -> list[Layer]:
    """The layers that a profile makes, lowest first.

    Raises:
        UsageError: there is none of that name; lists those that there are.
    """
    known = names(layers)
    if name not in known:
        from rps_core.wording import did_you_mean

        raise UsageError(
            f"There is no profile `{name}`",
            f"{did_you_mean(name, known)}There are: {', '.join(known)}."
            if known
            else "None is configured. They go below `profiles:` in ~/.config/rps/config.yaml "
            "(docs/configuration.md).",
        )
    found = [layer.section(f"{SECTION}.{name}") for layer in layers]
    for layer in found:
        for section in (SECTION, "sites"):
            if section in layer.values:
                raise UsageError(
                    f"{layer.where(section)}: a profile has no `{section}` of its own",
                    "It holds keys like `job` and `notebook`; a profile for one cluster only goes "
                    "below `sites: {<cluster>: {profiles: …}}`.",
                )
    return [layer for layer in found if layer.values]
