"""Profiles: named sets of keys in the configuration, taken by `rps start NAME`.

Any layer may have `profiles: {gpu: {job: {gpus: 1}}}`; layers that have the same one are merged as the rest
of the configuration is. All are checked whenever the configuration is merged, used or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rps_core.config.layers import Layer
from rps_core.config.mistakes import Mistakes
from rps_core.errors import UsageError

SECTION = "profiles"
_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"  # typed on a command line, part of a dotted key


def names(layers: Iterable[Layer], mistakes: Mistakes) -> list[str]:
    """Return the profiles' names, each once; `mistakes` collects invalid ones."""
    found: list[str] = []
    for layer in layers:
        with mistakes.collected():
            for name in layer.section(SECTION).values:
                if not isinstance(name, str) or not re.fullmatch(_NAME, name):
                    mistakes.add(
                        f"{layer.where(f'{SECTION}.{name}')}: `{name}` is not a valid name for a profile",
                        "Use letters, digits, - and _.",
                    )
                elif name not in found:
                    found.append(name)
    return found


def made(layer: str) -> bool:
    """Whether a layer of this name is one that a profile makes."""
    return f", {SECTION}." in layer


def chosen(name: str, layers: Sequence[Layer], mistakes: Mistakes) -> list[Layer]:
    """Return a profile's layers, lowest first; `mistakes` collects errors.

    Raises:
        UsageError: there is no such profile; lists the known ones.
    """
    known = names(layers, Mistakes())  # `loading.check_profiles` reports the invalid ones
    if name not in known:
        from rps_core.text import did_you_mean

        raise UsageError(
            f"There is no profile `{name}`",
            f"{did_you_mean(name, known)}Your profiles: {', '.join(known)}."
            if known
            else "None is configured. They go below `profiles:` in ~/.config/rps/config.yaml "
            "(docs/configuration.md).",
        )
    found = []
    for layer in layers:
        with mistakes.collected():
            profile = layer.section(f"{SECTION}.{name}")
            for section in (SECTION, "sites"):
                if section in profile.values:
                    mistakes.add(
                        f"{profile.where(section)}: a profile cannot contain `{section}`",
                        "It has keys like `job` and `notebook`. A profile for one cluster goes below "
                        "`sites: {<cluster>: {profiles: …}}`.",
                    )
                    profile = profile.without(section)
            found.append(profile)
    return [profile for profile in found if profile.values]
