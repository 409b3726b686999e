"""rps(1), the page of the manual, made of the same commands that `--help` shows."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from rps_core.options import common
from rps_core.version import __version__

_FILES = (
    (
        "~/.config/rps/config.yaml",
        "Your configuration; /etc/rps/config.yaml is the administrator's.",
    ),
    ("~/.local/state/rps/sessions/", "Your sessions, a directory each."),
    ("~/.cache/rps/", "What is remembered; may be removed at any time."),
)


def page(command: click.Command) -> str:
    """The page, in the macros of man(7)."""
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
    everywhere = _records(click.command()(common(lambda: None)), context)
    lines += [".SH OPTIONS", *_options(_records(command, context)), ".TP", ".B \\-h, \\-\\-help"]
    lines += ["Describe rps, or a command.", ".SH COMMON OPTIONS"]
    lines += [
        "What the commands take beside their own, but for those of rps proxy.",
        *_options(everywhere),
    ]
    lines += [".SH COMMANDS"]
    for name, sub in _leaves(command, "rps"):
        lines += _section(name, sub, everywhere)
    *_, epilog = _paragraphs(command.epilog or "")
    lines += [".SH EXIT STATUS", _text(epilog.partition(": ")[2]), ".SH FILES"]
    for path, what in _FILES:
        lines += [".TP", f".I {_text(path)}", _text(what)]
    return "\n".join(lines) + "\n"


def _leaves(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that is no group of others, in the order of their names."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    for word, sub in sorted(command.commands.items()):
        if not sub.hidden:
            yield from _leaves(sub, f"{name} {word}")


def _section(name: str, command: click.Command, everywhere: list[tuple[str, str]]) -> Iterator[str]:
    context = click.Context(command, info_name=name)
    yield f".SS {_text(name)} {_text(' '.join(command.collect_usage_pieces(context)))}".rstrip()
    yield from _body(_paragraphs(command.help or ""))
    own = [one for one in _records(command, context) if one not in everywhere]
    yield from _options(own)


def _records(command: click.Command, context: click.Context) -> list[tuple[str, str]]:
    """The options as `--help` has them: how they are written, and what they do."""
    found = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    return [record for record in found if record and record[1] and "--help" not in record[0]]


def _options(records: list[tuple[str, str]]) -> Iterator[str]:
    for flags, what in records:
        yield from (".TP", f".B {_text(flags)}", _text(what))


def _body(paragraphs: list[str]) -> Iterator[str]:
    for number, paragraph in enumerate(paragraphs):
        if number:
            yield ".PP"
        yield _text(paragraph)


def _paragraphs(text: str) -> list[str]:
    """Paragraphs without the mark by which click keeps the lines of one."""
    blocks = inspect.cleandoc(text).replace("\b", "").split("\n\n")
    return [" ".join(block.split()) for block in blocks if block.strip()]


def _text(text: str) -> str:
    """A line of text as roff takes it: what stands in backquotes is bold."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = (
        text.replace("~", "\\(ti").replace("^", "\\(ha").replace("…", "...").replace("'", "\\(aq")
    )
    text = re.sub(r"`([^`]+)`", r"\\fB\1\\fP", text)
    return f"\\&{text}" if text.startswith(".") else text
