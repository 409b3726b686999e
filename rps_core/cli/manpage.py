"""The man page rps(1), made from the same commands as `--help`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator

import click

from rps_core.cli.options import common
from rps_core.help import COMMON, Group, option_sections
from rps_core.version import __version__

_FILES = (
    (
        "~/.config/rps/config.yaml",
        "Your configuration. /etc/rps/config.yaml is the administrator's.",
    ),
    ("~/.local/state/rps/sessions/", "Your sessions, one directory each."),
    ("~/.cache/rps/", "Cached data; may be removed at any time."),
)


def page(command: click.Command) -> str:
    """Return the page in the macros of man(7)."""
    context = click.Context(command, info_name="rps")
    first, *rest = _paragraphs(command.help or "")
    lines = [
        f'.TH RPS 1 "" "rps {__version__}" "User Commands"',
        ".SH NAME",
        f"rps \\- {_text(first).rstrip('.')}",
        ".SH SYNOPSIS",
        f".B rps\n{_text(' '.join(command.collect_usage_pieces(context)))}",
        ".SH DESCRIPTION",
    ]
    lines += _body(rest or [first])
    shared = click.command()(common(lambda: None))
    lines += [".SH OPTIONS", *_options(command, context), ".TP", ".B \\-h, \\-\\-help"]
    lines += ["Show the help of rps or of a command.", ".SH COMMON OPTIONS"]
    lines += [
        "All commands except those of rps proxy take these options.",
        *_options(shared, context),
    ]
    if isinstance(command, Group):
        lines += [".SH EXAMPLES", *_list(command.examples)]
        for title, names in command.sections.items():
            lines.append(f".SH {_text(title.upper())}")
            for each in names:
                for name, sub in _leaves(command.commands[each], f"rps {each}"):
                    lines += _section(name, sub)
    *_, epilog = _paragraphs(command.epilog or "")
    lines += [".SH EXIT STATUS", _text(epilog.partition(": ")[2]), ".SH FILES"]
    lines += _list(_FILES, "I")
    return "\n".join(lines) + "\n"


def _leaves(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something by itself, by name."""
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield name, command
    if not isinstance(command, click.Group):
        return
    for word, sub in sorted(command.commands.items()):
        if not sub.hidden:
            yield from _leaves(sub, f"{name} {word}")


def _section(name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=name)
    yield f".SS {_text(name)} {_text(' '.join(command.collect_usage_pieces(context)))}".rstrip()
    yield from _body(_paragraphs(command.help or ""))
    yield from _options(command, context, without=COMMON)


def _options(command: click.Command, context: click.Context, without: str = "") -> Iterator[str]:
    """Yield the options by section; titles only where there is more than one section."""
    sections = option_sections(command, context)
    sections.pop(without, None)
    for title, records in sections.items():
        if len(sections) > 1:
            yield from (".PP", f"{_text(title)}:")
        yield from _list([record for record in records if "--help" not in record[0]])


def _list(records: Iterable[tuple[str, str]], font: str = "B") -> Iterator[str]:
    for term, meaning in records:
        yield from (".TP", f".{font} {_text(term)}", _text(meaning))


def _body(paragraphs: list[str]) -> Iterator[str]:
    for number, paragraph in enumerate(paragraphs):
        if number:
            yield ".PP"
        yield _text(paragraph)


def _paragraphs(text: str) -> list[str]:
    """Split a help text into paragraphs, without click's mark against wrapping."""
    blocks = inspect.cleandoc(text).replace("\b", "").split("\n\n")
    return [" ".join(block.split()) for block in blocks if block.strip()]


def _text(text: str) -> str:
    """Quote a line of text for roff; text in backquotes becomes bold."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = (
        text.replace("~", "\\(ti").replace("^", "\\(ha").replace("…", "...").replace("'", "\\(aq")
    )
    text = re.sub(r"`([^`]+)`", r"\\fB\1\\fP", text)
    return f"\\&{text}" if text.startswith(".") else text
