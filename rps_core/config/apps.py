"""The table `apps`: its rows, and the rules for them."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import field, fields
from typing import TYPE_CHECKING, Any, get_origin, get_type_hints

from rps_core.config.mistakes import Mistakes
from rps_core.config.packaged_apps import PACKAGED
from rps_core.config.schema import expected, without_none
from rps_core.node.agent.protocol import is_app_name, is_path, is_variable
from rps_core.values import dataclass

if TYPE_CHECKING:
    from rps_core.config.settings import LoadedSettings

NAME = "a name: at most 32 small letters, digits and -"
RESERVED = ("lab", "notebook")  # Jupyter serves these itself
_PLACEHOLDERS = (
    "port", "unix_socket", "arguments", "prefix", "directory", "host", "secret_file", "data",
)  # fmt: skip
_SECRETS = ("secret",)
# As omegaconf reads the flags of the other sections.
_FLAGS = dict.fromkeys(("true", "yes", "y", "on", "1"), True) | dict.fromkeys(
    ("false", "no", "n", "off", "0"), False
)
_HEADER = r"[A-Za-z0-9-]{1,64}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRow:
    """An application behind Jupyter's door; see `apps` in defaults.yaml for the keys."""

    title: str | None = None
    command: tuple[str, ...] = ()
    path: str = ""
    usage: str | None = None
    keeps_prefix: bool = False
    programs: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    install: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    health: str | None = None
    timeout: float = 180


def rows(loaded: LoadedSettings) -> dict[str, AppRow]:
    """Return the applications by name: the packaged ones, and those of the configuration."""
    given = loaded.settings.apps
    return {
        name: _row(name, given.get(name, {}))
        for name in [*PACKAGED, *(n for n in given if n not in PACKAGED)]
    }


def _row(name: str, given: dict[str, Any]) -> AppRow:
    given_or_packaged = {**PACKAGED.get(name, {}), **_typed(given)}
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in given_or_packaged.items()
        if value is not None
    }
    return AppRow(**values)


def _typed(given: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of an application with their types; in a file every scalar is text (`yaml_text`)."""
    typed = dict(given)
    flag, number = given.get("keeps_prefix"), given.get("timeout")
    if isinstance(flag, str):
        typed["keeps_prefix"] = _FLAGS.get(flag.lower(), flag)
    if isinstance(number, str):
        with suppress(ValueError):
            typed["timeout"] = float(number)
    return typed


def is_name(value: str) -> bool:
    """Return whether this is a valid name of an application."""
    return is_app_name(value)


def check_table(loaded: LoadedSettings, mistakes: Mistakes) -> None:
    """Check the applications of the configuration; `mistakes` collects what is wrong with them."""
    for name, given in loaded.settings.apps.items():
        if _check_types(name, _typed(given), loaded, mistakes):
            _check_row(name, _row(name, given), loaded, mistakes)


def _check_types(
    name: str, given: dict[str, Any], loaded: LoadedSettings, mistakes: Mistakes
) -> bool:
    """Return whether every key is known and has a value of its type."""
    kinds = get_type_hints(AppRow)
    known = [each.name for each in fields(AppRow)]
    right = True
    for leaf, value in given.items():
        where = _where(loaded, f"apps.{name}", str(leaf))
        if leaf not in kinds:
            from rps_core.text import did_you_mean

            hint = did_you_mean(str(leaf), known) or f"Known keys: {', '.join(known)}."
            mistakes.add(f"{where}: unknown key `apps.{name}.{leaf}`", hint)
            right = False
        elif value is not None and not _fits(without_none(kinds[leaf]), value):
            wanted = expected(kinds[leaf]) or "a mapping of names to texts"
            mistakes.add(f"{where}: `apps.{name}.{leaf}` must be {wanted}")
            right = False
    return right


def _fits(kind: Any, value: Any) -> bool:
    if get_origin(kind) is tuple:
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    if get_origin(kind) is dict:
        return isinstance(value, dict) and all(
            isinstance(one, str) for pair in value.items() for one in pair
        )
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind)


def _check_row(name: str, row: AppRow, loaded: LoadedSettings, mistakes: Mistakes) -> None:
    """Check one application; `mistakes` collects what is wrong with it."""
    key = f"apps.{name}"

    def wrong(leaf: str, text: str) -> None:
        mistakes.add(f"{_where(loaded, key, leaf)}: `{key}{leaf and '.' + leaf}` {text}")

    if not is_name(name):
        mistakes.add(f"{_where(loaded, key, '')}: `{name}` is not a valid name for an application",
                     f"Use {NAME.removeprefix('a name: ')}.")  # fmt: skip
    if name in RESERVED:
        wrong("", "is Jupyter's own: use another name")
    if not row.command or not row.command[0].strip():
        wrong("command", "is missing: it must be a list, the program and its arguments")
    words = [*row.command, *row.environment.values()]
    text = " ".join(words)
    if row.command and not any(
        f"{{{one}}}" in text for one in ("port", "unix_socket", "arguments")
    ):
        wrong(
            "command", "has neither {port} nor {unix_socket}: the application could not be reached"
        )
    for leaf, values, allowed in (
        ("command", row.command, _PLACEHOLDERS),
        ("environment", tuple(row.environment.values()), (*_PLACEHOLDERS, *_SECRETS)),
        ("headers", tuple(row.headers.values()), (*_PLACEHOLDERS, *_SECRETS)),
    ):
        for value in values:
            if "\0" in value:
                wrong(leaf, "contains a NUL character")
            for found in re.findall(r"\{(\w+)\}", value):
                if found in _SECRETS and leaf == "command":
                    wrong(leaf, f"contains {{{found}}}, which other users of the node would see: "
                                "use {secret_file} or `environment`")  # fmt: skip
                elif found == "arguments" and (leaf != "command" or value != "{arguments}"):
                    wrong(
                        leaf,
                        "contains {arguments}, which must be an argument of `command` by itself",
                    )
                elif found not in allowed:
                    wrong(leaf, f"contains {{{found}}}, which is no placeholder")
    for variable in row.environment:
        if not is_variable(variable):
            wrong("environment", f"contains {variable!r}, which is not a variable's name")
    for header in row.headers:
        if not re.fullmatch(_HEADER, header):
            wrong("headers", f"contains {header!r}, which is not a header's name")
    if not is_path(row.path):
        wrong(
            "path", f"is {row.path}; it must be a path below the application's, without a leading /"
        )
    if row.health is not None and not (row.health.startswith("/") and is_path(row.health[1:])):
        wrong("health", f"is {row.health}; it must be a path with a leading /")
    if not 1 <= row.timeout <= 3600:
        wrong("timeout", f"is {row.timeout}; it must be 1 to 3600 seconds")
    for program in row.programs:
        if not program or "\0" in program:
            wrong("programs", "contains an empty name")


def _where(loaded: LoadedSettings, key: str, leaf: str) -> str:
    """Return where a key of an application was set, else where any of its keys was."""
    exact = f"{key}.{leaf}"
    if leaf and exact in loaded.origins:
        return loaded.origins[exact].where
    beside = [one for one in loaded.origins if one.startswith(f"{key}.")]
    return loaded.where(beside[-1] if beside else key)
