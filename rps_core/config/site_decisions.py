"""Keys that the site decides: a user's layer may be stricter, and not weaker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rps_core.config.layers import Layer, Origin, value
from rps_core.config.mistakes import Mistakes
from rps_core.config.settings import removal

# The names of layers that are the site's or the administrator's, without those of their sections.
_OF_THE_SITE = ("defaults", "scheduler", "site", "site file", "system")
LINK = "notebook.link"
_SHARE = "limits.share"


def check(layers: Sequence[Layer], mistakes: Mistakes) -> None:
    """Report the layers of the user that weaken what the site decides."""
    decided = _decided(layers)
    for layer, link in _values([each for each in layers if not _is_the_sites(each)], LINK):
        if decided is not None and link == "token":
            mistakes.add(
                f"{layer.where(LINK)}: `{LINK}` is token, but on this cluster links work once "
                f"({decided.where(LINK)})",
                _removal(layer, LINK),
            )
    for layer, _ in _values([each for each in layers if not _is_the_sites(each)], _SHARE):
        mistakes.add(
            f"{layer.where(_SHARE)}: `{_SHARE}` is for the site's configuration, or the administrator's",
            f"{_removal(layer, _SHARE)} Ask the cluster's support to allow shared sessions.",
        )


def without_weaker(earlier: Layer, layers: Sequence[Layer]) -> Layer:
    """Return the layer of an earlier session without what the site has decided since."""
    if _decided(layers) is None or not list(_values([earlier], LINK)):
        return earlier
    section = {key: each for key, each in earlier.values["notebook"].items() if key != "link"}
    return Layer(
        earlier.name, earlier.source, {**earlier.values, "notebook": section}, earlier.lines
    )


def _decided(layers: Sequence[Layer]) -> Layer | None:
    """Return the layer by which the site has decided that links work once."""
    found = None
    for layer, link in _values([each for each in layers if _is_the_sites(each)], LINK):
        found = layer if link == "once" else None
    return found


def _removal(layer: Layer, key: str) -> str:
    text = removal(key, Origin(layer.name, layer.where(key)))
    return f"{text[0].upper()}{text[1:]}."


def _is_the_sites(layer: Layer) -> bool:
    return layer.name.partition(", ")[0] in _OF_THE_SITE


def _values(layers: Sequence[Layer], key: str) -> Iterator[tuple[Layer, object]]:
    for layer in layers:
        try:
            yield layer, value(layer.values, key)
        except KeyError:
            continue
