"""The catalogue of the pages' texts: a file for each language, and a site's own files.

A text is looked up in the site's file for the language, in ours, and in English. `languages/en.yaml` has all
keys. Texts are plain: what becomes HTML is escaped here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path

from rps_core.errors import UsageError
from rps_core.node.agent.languages import ENGLISH, TAG, preferred

LONGEST_TEXT = 1000  # characters
LARGEST_FILE = 128 << 10  # bytes
DIRECTIONS = ("ltr", "rtl")
# Keys that English lacks: in a site's file they translate `pages.title` and `pages.message`.
SITE_KEYS = ("title", "message")
_PLACE = re.compile(r"\{([a-z]+)\}")
_COMMAND = re.compile(r"`([^`]+)`")

Texts = Mapping[str, str]  # by dotted key


class Language:
    """The texts of one language."""

    def __init__(self, tag: str, texts: Texts) -> None:
        self.tag = tag
        self.direction = texts["direction"]
        self._texts = texts

    def __contains__(self, key: str) -> bool:
        return key in self._texts

    def plain(self, key: str, **values: str) -> str:
        """Return a text, for a title or a script, with its values in place."""
        return _PLACE.sub(lambda place: values[place[1]], self._texts[key].replace("`", ""))

    def html(self, key: str, **values: str) -> str:
        """Return a text in HTML, commands marked; `values` are HTML."""
        text = _COMMAND.sub(r"<code>\1</code>", escape(self._texts[key]))
        return _PLACE.sub(lambda place: values[place[1]], text)


class Catalogue:
    """All languages: ours and those of a site, whose texts are by language and key.

    A packaged file is parsed when its language is first wanted: PyYAML takes 30 ms for one.
    """

    def __init__(self, site: Mapping[str, Texts] | None = None) -> None:
        self._site = site or {}
        self.tags = tuple(sorted({*_packaged_tags(), *self._site}))
        self._languages: dict[str, Language] = {}

    def language(self, tag: str) -> Language:
        """Return a language of `tags`."""
        if tag not in self._languages:
            ours = _packaged(tag) if tag in _packaged_tags() else {}
            english = {**_packaged(ENGLISH), **self._site.get(ENGLISH, {})}
            texts = {**english, **ours, **self._site.get(tag, {})}
            self._languages[tag] = Language(tag, texts)
        return self._languages[tag]

    def preferred(self, accepted: str) -> Language:
        """Return the language for a field Accept-Language; English is the default."""
        return self.language(preferred(accepted, self.tags))


def site_texts(directory: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Read a site's files, `LANGUAGE.yaml` each.

    Returns:
        The usable texts by language and key, and what is not usable, each with file and line. English stands
        in for that; a new language's missing keys are among them.

    Raises:
        UsageError: the directory cannot be read.
    """
    texts: dict[str, dict[str, str]] = {}
    faults: list[str] = []
    try:
        paths = sorted(directory.iterdir())
    except OSError as error:
        raise UsageError(
            f"`pages.texts`: could not read {directory}: {error.strerror}",
            "Create it with a file LANGUAGE.yaml for each language, or do not set the key.",
        ) from error
    for path in paths:
        if path.suffix != ".yaml":
            continue
        tag = path.stem.lower()
        if not TAG.fullmatch(tag):
            faults.append(
                f"{path}: not read: the name is not that of a language, such as pt.yaml or pt-br.yaml"
            )
            continue
        found = _read(path, faults)
        if found is not None:
            texts[tag] = found
            missing = set() if tag in _packaged_tags() else _packaged(ENGLISH).keys() - found.keys()
            if missing:
                listed = ", ".join(sorted(missing)[:5]) + (", …" if len(missing) > 5 else "")
                faults.append(f"{path}: in English, since it lacks {len(missing)} keys: {listed}")
    return texts, faults


def _read(path: Path, faults: list[str]) -> dict[str, str] | None:
    """Read a site's file; None if it cannot be used at all. Add its mistakes to `faults`."""
    from rps_core.config import yaml_text

    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            faults.append(f"{path}: not read: larger than {LARGEST_FILE >> 10} KiB")
            return None
        document = yaml_text.parse(content.decode("utf-8"), str(path))
    except (OSError, UnicodeDecodeError, UsageError) as error:
        faults.append(error.message if isinstance(error, UsageError) else f"{path}: {error}")
        return None
    texts: dict[str, str] = {}
    for key, value in _flat(document.values):
        fault = _fault(key, value)
        if fault is None:
            texts[key] = str(value).strip()
        else:
            faults.append(f"{path}:{_line(document.lines, key)}: `{key}` not used: {fault}")
    return texts


def _fault(key: str, value: object) -> str | None:
    """Return why a site's text cannot be used, or None."""
    english = _packaged(ENGLISH)
    if key not in english and key not in SITE_KEYS:
        return "there is no such key in languages/en.yaml"
    if not isinstance(value, str):
        return "it must be text"
    if key == "direction" and value not in DIRECTIONS:
        return "it must be ltr or rtl"
    text = value.strip()
    if not text or len(text) > LONGEST_TEXT or not text.isprintable():
        return f"it must be one printable line of at most {LONGEST_TEXT} characters"
    unknown = set(_PLACE.findall(text)) - set(_PLACE.findall(english.get(key, "")))
    if unknown:
        return f"the English text has no {{{sorted(unknown)[0]}}}"
    return None


def _line(lines: Mapping[str, int], key: str) -> int:
    """Return the line of a key, or of the nearest key above it."""
    while key not in lines and "." in key:
        key = key.rpartition(".")[0]
    return lines.get(key, 1)


def _flat(values: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


@cache
def _packaged_tags() -> Collection[str]:
    folder = files("rps_proxy") / "pages" / "languages"
    return frozenset(
        each.name.removesuffix(".yaml") for each in folder.iterdir() if each.name.endswith(".yaml")
    )


@cache
def _packaged(tag: str) -> Texts:
    from rps_core.config import yaml_text  # of a worker, only once a page is wanted

    resource = files("rps_proxy") / "pages" / "languages" / f"{tag}.yaml"
    document = yaml_text.parse(resource.read_text("utf-8"), resource.name)
    return {key: str(value) for key, value in _flat(document.values)}
