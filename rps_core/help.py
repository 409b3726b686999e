"""`--help` in sections; click itself lists all commands or options in one block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any, cast

import click

OPTIONS = "Options"
OUTPUT = "Output"
COMMON = "Common options"


# Columns of flags and names beside their meaning, at most; a narrow terminal has a third.
_LEFT = 30


class Formatter(click.HelpFormatter):
    """click's own, for terminals of less than 50 columns too."""

    def __init__(self, width: int | None = None, max_width: int | None = None) -> None:
        if width is None:
            import shutil

            most = max_width or 80
            width = max(min(shutil.get_terminal_size((most, 24)).columns, most) - 2, 20)
        super().__init__(width=width, max_width=max_width)


def version_option(text: str) -> click.Option:
    """Return the option `--version`, which prints this text."""
    return _flag(["--version"], "Show the version and exit.", lambda _: text)


class Context(click.Context):
    """The context of a command, whose help fits its terminal."""

    formatter_class = Formatter


class Option(click.Option):
    """An option that `--help` lists in the named section."""

    def __init__(self, *args: Any, section: str = OPTIONS, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.section = section


def _flag(names: Iterable[str], help_: str, text: Callable[[click.Context], str]) -> click.Option:
    """Return an option that prints a text and ends the command.

    click's own translate their help by gettext, which imports `locale` and looks for files at each start.
    """

    def show(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value and not context.resilient_parsing:
            click.echo(text(context), color=context.color)
            context.exit()

    return click.Option(
        list(names), is_flag=True, expose_value=False, is_eager=True, help=help_, callback=show
    )


class _WithHelp(click.Command):
    """A command with a `--help` of ours."""

    _shown_help: click.Option | None = None

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return the option, the same each time; click calls this."""
        names = self.get_help_option_names(ctx)
        if not names or not self.add_help_option:
            return None
        if self._shown_help is None:
            text = "Show this message and exit."
            self._shown_help = _flag(names, text, lambda context: context.get_help())
        return self._shown_help


class Command(_WithHelp):
    """A command whose `--help` lists its options by section."""

    context_class = Context

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options; click calls this."""
        _write(formatter, option_sections(self, ctx))


class Commands(MutableMapping[str, click.Command]):
    """A group's commands by name. One that was added by its place is imported when it is first read."""

    def __init__(self) -> None:
        self._commands: dict[str, click.Command | str] = {}

    def __getitem__(self, name: str) -> click.Command:
        command = self._commands[name]
        if isinstance(command, str):
            module, _, attribute = command.partition(":")
            command = cast("click.Command", getattr(import_module(module), attribute))
            self._commands[name] = command
        return command

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._commands[name] = command

    def add(self, commands: Mapping[str, click.Command | str]) -> None:
        """Add commands, themselves or by their places."""
        self._commands.update(commands)

    def __delitem__(self, name: str) -> None:
        del self._commands[name]

    def __contains__(self, name: object) -> bool:
        return name in self._commands

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands)

    def __len__(self) -> int:
        return len(self._commands)


class Group(_WithHelp, click.Group):
    """A group whose `--help` shows examples, and lists its options and commands by section."""

    context_class = Context
    command_class = Command

    def __init__(
        self, *args: Any, examples: Iterable[tuple[str, str]] = (), **attributes: Any
    ) -> None:
        super().__init__(*args, **attributes)
        self.examples = tuple(examples)
        self.commands = self._known = Commands()
        self.sections: dict[str, tuple[str, ...]] = {}

    def add_section(self, title: str, *commands: click.Command) -> None:
        """Add commands, to be listed below `title` in this order, after those that it has."""
        self._add(title, {command.name or "": command for command in commands})

    def add_places(self, title: str, places: dict[str, str]) -> None:
        """Add commands by name, each by its place (`module:attribute`).

        Nothing is imported of a command until it is run or listed: to make all options of all commands would
        be a tenth of a start.
        """
        self._add(title, places)

    def _add(self, title: str, commands: Mapping[str, click.Command | str]) -> None:
        self.sections[title] = (*self.sections.get(title, ()), *commands)
        self._known.add(commands)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description and the examples; click calls this."""
        super().format_help_text(ctx, formatter)
        _write(formatter, {"Examples": list(self.examples)} if self.examples else {})

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then the commands; click calls this."""
        _write(formatter, option_sections(self, ctx))
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands; click calls this."""
        del ctx
        width = formatter.width - 6 - max(map(len, self.commands), default=0)
        _write(
            formatter,
            {
                title: [
                    (name, self.commands[name].get_short_help_str(width))
                    for name in names
                    if not self.commands[name].hidden
                ]
                for title, names in self.sections.items()
            },
        )


def option_sections(
    command: click.Command, context: click.Context
) -> dict[str, list[tuple[str, str]]]:
    """Return the flags and the help of a command's options, by section."""
    found: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or not isinstance(parameter, click.Option):
            continue
        section = parameter.section if isinstance(parameter, Option) else OPTIONS
        if "--help" in parameter.opts and COMMON in found:
            section = COMMON
        found.setdefault(section, []).append(record)
    return found


def _write(formatter: click.HelpFormatter, sections: dict[str, list[tuple[str, str]]]) -> None:
    """Write definition lists with one width for the left column of all of them."""
    left = [term for records in sections.values() for term, _ in records]
    most = min(_LEFT, formatter.width // 3 if formatter.width < 2 * _LEFT else _LEFT)
    width = min(max(map(len, left), default=0), most)
    for title, records in sections.items():
        with formatter.section(title):
            formatter.write_dl([(term.ljust(width), meaning) for term, meaning in records], most)
