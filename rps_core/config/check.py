"""`rps config --check`: every mistake in every layer, overridden or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rps_core.config import site_file
from rps_core.config.layers import USER, Layer, Text
from rps_core.config.loading import check_layers, check_profiles, merge_all
from rps_core.config.mistakes import Mistakes
from rps_core.config.settings import SYSTEM, Overrides, key_variables, own_text
from rps_core.system import paths


def check_own_files(mistakes: Mistakes) -> set[str]:
    """Check the administrator's and user's files, with all clusters' sections.

    Returns:
        The clusters that have a section below `sites`.
    """
    clusters: set[str] = set()
    for text in _own_texts(mistakes):
        with mistakes.collected():
            layer = text.parsed(mistakes)
            _check_layer(layer.without("sites"), mistakes)
            for cluster in layer.section("sites").values:
                clusters.add(cluster)
                with mistakes.collected():
                    _check_layer(layer.section(f"sites.{cluster}"), mistakes)
    with mistakes.collected():
        for path in paths.site_files():
            with mistakes.collected():
                site_file.check(site_file.read(path), mistakes)
    return clusters


def check_everything(
    cluster: str,
    packaged: Mapping[str, Sequence[Text]],
    environment: Mapping[str, str],
    given: Overrides,
) -> set[str]:
    """Check each layer by itself, then all merged for `cluster`.

    Args:
        cluster: the cluster of this host.
        packaged: the packaged layers of each known cluster, lowest first; `cluster` is one of them.
        environment: the variables.
        given: the settings that the command was given.

    Returns:
        The clusters that have a section below `sites`.

    Raises:
        ConfigurationError: there are mistakes; names each with file and line.
    """
    mistakes = Mistakes()
    clusters = check_own_files(mistakes)
    for text in _each_once(packaged.values()):
        with mistakes.collected():
            _check_layer(text.parsed(mistakes), mistakes)
    texts = [*packaged[cluster], *_own_texts(mistakes)]
    merge_all(cluster, texts, key_variables(environment), given, mistakes)
    mistakes.check()
    return clusters


def _own_texts(mistakes: Mistakes) -> list[Text]:
    found = []
    for name in (SYSTEM, USER):
        with mistakes.collected():
            text = own_text(name)
            if text is not None:
                found.append(text)
    return found


def _check_layer(layer: Layer, mistakes: Mistakes) -> None:
    check_layers([layer], mistakes)
    check_profiles([layer], mistakes)


def _each_once(groups: Iterable[Sequence[Text]]) -> list[Text]:
    return list(dict.fromkeys(text for group in groups for text in group))
