"""The list of packages of `--with`, and the files that a requirements.txt includes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rps_core.errors import UsageError
from rps_core.values import dataclass

# A comma ends a package, but not within brackets or quotes, nor before a further bound: `numpy>=1,<2`.
_COMMA = re.compile(
    r",(?!\s*(?:[<>=!~]=?|===)\s*[0-9*])(?![^\[]*\])(?![^\"]*\"[^\"]*$)(?![^']*'[^']*$)"
)
_PACKAGE = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\s*(\[[^\]]*\])?\s*([<>=!~@;].*|\(.*\))?"
)
_OPTION = re.compile(
    r"(-r|-c|-e|--requirement|--constraint|--editable)(?:\s*=\s*|\s+|(?<=-[rce]))(.+)"
)
_LOCAL = re.compile(
    r"(?:[A-Za-z0-9._-]+\s*(?:\[[^\]]*\])?\s*@\s*)?(\.{0,2}/\S.*|\.{1,2}|file:\S+|\S+\.(?:whl|zip|tar\.gz|tgz))"
)
# What of a directory decides what an editable installation depends on.
_OF_A_PROJECT = ("pyproject.toml", "setup.py", "setup.cfg")


def split(texts: Iterable[str]) -> list[str]:
    """Return the packages of `--with`, each as pip takes it.

    Raises:
        UsageError: one is no package.
    """
    found = [part.strip() for text in texts for part in _COMMA.split(text) if part.strip()]
    for package in found:
        if not _PACKAGE.fullmatch(package) or not package.isprintable():
            raise UsageError(
                f"--with: {package!r} is not the name of a package",
                "Separate packages by commas: --with numpy,'torch>=2'. For options of pip, use a "
                "requirements.txt: --env requirements.txt.",
            )
    return found


@dataclass(frozen=True, slots=True)
class Included:
    """The files that an environment depends on, and whether their places matter (an editable project)."""

    files: tuple[Path, ...]
    places: bool


def included(file: Path, text: str) -> Included:
    """Return the files that a requirements.txt includes, itself first.

    Raises:
        UsageError: one of them cannot be read, or an entry is a directory that is not editable.
    """
    found: dict[Path, None] = {}
    places = False
    todo = [(file, text)]
    while todo:
        path, content = todo.pop(0)
        found[path] = None
        for line in _lines(content):
            option = _OPTION.fullmatch(line)
            if option and option[1] in ("-e", "--editable"):
                if (project := _local(option[2], path)) is not None and project.is_dir():
                    places = True
                    found.update(
                        dict.fromkeys(p for n in _OF_A_PROJECT if (p := project / n).is_file())
                    )
            elif option and "://" not in option[2]:
                next_one = path.parent / _unquoted(option[2])
                if next_one not in found:
                    todo.append((next_one, read(next_one, f"{path}: ")))
            elif (entry := _LOCAL.fullmatch(line.partition(" ;")[0].strip())) is not None:
                place = _local(entry[1], path)
                if place is not None and place.is_dir():
                    raise UsageError(
                        f"{path}: {line}: a directory, whose changes a built environment does not show",
                        f"Install it as editable: -e {line}",
                    )
                if place is not None and place.is_file():
                    found[place] = None
    return Included(tuple(found), places)


def read(path: Path, what: str = "") -> str:
    """Return the text of a file.

    Args:
        path: the file.
        what: begins the message of an error.

    Raises:
        UsageError: it cannot be read, or is not a text in UTF-8.
    """
    try:
        if not path.is_file():
            missing = "a directory" if path.is_dir() else "no such file"
            raise UsageError(f"{what}{path}: {missing}", "Give the path of a file that exists.")
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{what}{path}: not a text in UTF-8", "Save it in UTF-8.") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"{what}{path}: {reason}", "Give the path of a file that you can read."
        ) from None


def _lines(text: str) -> Iterator[str]:
    """Yield the entries of a requirements.txt: continued lines joined, comments removed."""
    for line in re.sub(r"\\\n", " ", text.replace("\r\n", "\n")).splitlines():
        entry = re.sub(r"(^|\s)#.*", "", line).strip()
        if entry:
            yield entry


def _local(text: str, beside: Path) -> Path | None:
    """Return the path that an entry names; None: it is a URL."""
    entry = _unquoted(text).partition("[")[0]
    if entry.startswith("file:"):
        entry = unquote(urlsplit(entry).path)
    elif "://" in entry or "@" in entry.partition("/")[0]:
        return None
    return beside.parent / entry


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
