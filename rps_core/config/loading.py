"""Merge the launcher's layers into its settings, with every mistake in them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from rps_core.config import partitions, profiles, site_decisions, yaml_text
from rps_core.config.layers import (
    USER,
    Layer,
    Text,
    flat_layer,
    option_layer,
    packaged_layer,
    put,
)
from rps_core.config.merge import merge
from rps_core.config.mistakes import Mistakes
from rps_core.config.rules import check_values
from rps_core.config.schema import keys
from rps_core.config.settings import (
    DEFAULTS,
    EARLIER,
    ENVIRONMENT,
    OPTIONS,
    RESERVED_VARIABLES,
    SYSTEM,
    LoadedSettings,
    Overrides,
    Settings,
)


def merge_all(
    cluster: str,
    texts: Sequence[Text],
    variables: Mapping[str, str],
    given: Overrides,
    mistakes: Mistakes,
) -> LoadedSettings:
    """Merge all layers for one cluster, and check every value and every profile.

    Args:
        cluster: the name below `sites` that counts.
        texts: the files, lowest first.
        variables: the variables `RPS_*` that set keys.
        given: the settings that a command was given.
        mistakes: collects the mistakes; the result is made of everything else.

    Raises:
        ConfigurationError: the mistakes leave nothing to go on with.
    """
    layers = [
        *file_layers(cluster, texts, mistakes),
        *_environment_layers(variables, mistakes),
    ]
    above = []
    for key, value in given.options.items():
        with mistakes.collected():
            source = given.flags.get(key, "the command line")
            above.append(flat_layer(OPTIONS, source, {key: value}))
    above.append(option_layer(given.assignments, mistakes, OPTIONS))
    check_profiles([*layers, *above], mistakes)
    earlier = flat_layer(EARLIER, f"the settings of {given.session}", given.earlier)
    earlier = site_decisions.without_weaker(earlier, layers)
    profile: list[Layer] = []
    if given.profile is not None:
        with mistakes.collected():
            profile = profiles.chosen(given.profile, [*layers, *above], mistakes)
    layers = partitions.with_defaults([*layers, earlier, *profile, *above])
    site_decisions.check(layers, mistakes)
    loaded = LoadedSettings(*merge(Settings, layers, mistakes=mistakes))
    check_values(loaded, mistakes)
    return loaded


def file_layers(cluster: str, texts: Sequence[Text], mistakes: Mistakes) -> list[Layer]:
    """Return the layers of the files that can be parsed, lowest first."""
    layers: list[Layer] = []
    for text in texts:
        with mistakes.collected():
            layer = text.parsed(mistakes)
            if text.layer in (SYSTEM, USER):
                layers.append(layer.without("sites"))
                layers.append(layer.section(f"sites.{cluster}"))
            else:
                layers.append(layer)
    return layers


def check_profiles(layers: Sequence[Layer], mistakes: Mistakes) -> None:
    """Check each profile alone, on top of the defaults, used or not."""
    for name in profiles.names(layers, mistakes):
        check_layers(profiles.chosen(name, layers, mistakes), mistakes)


def check_layers(layers: Sequence[Layer], mistakes: Mistakes) -> None:
    """Check the keys and values of these layers alone, on top of the defaults."""
    if layers:
        base = packaged_layer("defaults", DEFAULTS)
        loaded = LoadedSettings(*merge(Settings, [base, *layers], mistakes=mistakes))
        check_values(loaded, mistakes)


def _environment_layers(given: Mapping[str, str], mistakes: Mistakes) -> list[Layer]:
    """One layer for each variable, so that a value's origin is the variable's name."""
    variables = {f"RPS_{key.replace('.', '_').upper()}": key for key in keys(Settings)}
    layers = []
    for name, text in given.items():
        if name not in variables:
            near = difflib.get_close_matches(name, [*variables, *RESERVED_VARIABLES], n=1)
            hint = f"Did you mean {near[0]}?" if near else "Unset it; `rps config` shows every key."
            mistakes.add(f"Unknown variable {name}", hint)
            continue
        with mistakes.collected():
            values: dict[str, object] = {}
            put(values, variables[name], yaml_text.parse_value(text, name))
            layers.append(Layer(ENVIRONMENT, name, values))
    return layers
