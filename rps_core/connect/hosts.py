"""Read ~/.config/rps/connect.yaml: hosts with the options to connect with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rps_core.config.layers import USER, Layer, file_layer
from rps_core.config.mistakes import Mistakes
from rps_core.connect.destination import Destination, check_host, check_module
from rps_core.errors import UsageError
from rps_core.system import paths
from rps_core.text import did_you_mean

KEYS = ("ssh", "rps", "module", "port", "browser", "options")


@dataclass(frozen=True, kw_only=True)
class Host:
    """A host of the file, or one that it does not have.

    Attributes:
        destination: the host.
        port: the port of this computer to use; None: the one that the session suggests.
        browser: whether to open one.
        options: those of `rps start`, as words.
        place: file and line of `options`, for errors.
    """

    destination: Destination
    port: int | None = None
    browser: bool = True
    options: tuple[str, ...] = ()
    place: str = ""


def file() -> Path:
    """Return the path of the configuration of hosts."""
    return paths.config_file().with_name("connect.yaml")


def find(name: str) -> Host:
    """Return what the file has for this host; without an entry, the host itself.

    Raises:
        UsageError: a mistake in the file, with its line.
    """
    mistakes = Mistakes()
    layer = file_layer(USER, file(), mistakes)
    found = {} if layer is None else _Reader(layer, mistakes).hosts()
    mistakes.check()
    return found.get(name) or Host(destination=Destination(name=name, ssh=name))


class _Reader:
    """Checks every entry, so that one run reports all mistakes."""

    def __init__(self, layer: Layer, mistakes: Mistakes) -> None:
        self._values, self._lines, self._mistakes = layer.values, layer.lines, mistakes

    def hosts(self) -> dict[str, Host]:
        for key in self._values.keys() - {"hosts"}:
            self._wrong(
                key, f"`{key}` is not a key of this file", "It holds `hosts:`, and names below it."
            )
        listed = self._values.get("hosts") or {}
        if not isinstance(listed, dict):
            self._wrong("hosts", "`hosts` must be a mapping of names to options")
            return {}
        found = {}
        for name, entry in listed.items():
            with self._mistakes.collected():
                found[name] = self._host(name, {} if entry is None else entry)
        return found

    def _host(self, name: str, entry: Any) -> Host:
        path = f"hosts.{name}"
        if not isinstance(entry, dict):
            raise self._error(path, f"`{path}` must be a mapping", f"Its keys: {', '.join(KEYS)}.")
        for key in entry.keys() - set(KEYS):
            advice = did_you_mean(str(key), KEYS) or f"The keys: {', '.join(KEYS)}."
            self._wrong(f"{path}.{key}", f"`{key}` is not a key of a host", advice)
        texts = {key: self._text(path, key, entry.get(key)) for key in ("ssh", "rps", "module")}
        ssh = texts["ssh"] or name
        for key, check, value in (
            ("ssh", check_host, ssh),
            ("module", check_module, texts["module"]),
        ):
            try:
                if value is not None:
                    check(value)
            except UsageError as error:
                place = f"{path}.{key}" if f"{path}.{key}" in self._lines else path
                raise self._error(place, error.message, error.hint) from None
        command = texts["rps"]
        if command is not None and not command.startswith(("/", "~/")):
            raise self._error(
                f"{path}.rps", f"`rps` is not a path: {command}", "Begin it with / or ~/."
            )
        return Host(
            destination=Destination(name=name, ssh=ssh, module=texts["module"], rps=command),
            port=self._port(path, entry.get("port")),
            browser=self._flag(path, "browser", entry.get("browser")),
            options=self._words(path, entry.get("options")),
            place=self._place(f"{path}.options"),
        )

    def _text(self, path: str, key: str, value: Any) -> str | None:
        if value is None or (
            isinstance(value, str) and 0 < len(value) <= 1024 and value.isprintable()
        ):
            return value
        raise self._error(f"{path}.{key}", f"`{key}` must be a text in one line")

    def _port(self, path: str, value: Any) -> int | None:
        if value is None:
            return None
        if (
            isinstance(value, str)
            and value.isascii()
            and value.isdigit()
            and 1024 <= int(value[:6]) <= 65535
        ):
            return int(value)
        raise self._error(f"{path}.port", "`port` must be a number from 1024 to 65535")

    def _flag(self, path: str, key: str, value: Any) -> bool:
        if value in (None, "true", "yes", "on"):
            return True
        if value in ("false", "no", "off"):
            return False
        raise self._error(f"{path}.{key}", f"`{key}` must be true or false")

    def _words(self, path: str, value: Any) -> tuple[str, ...]:
        if value is None:
            return ()
        if isinstance(value, str):
            import shlex

            try:
                return tuple(shlex.split(value))
            except ValueError as error:
                raise self._error(f"{path}.options", f"`options`: {error}") from None
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            return tuple(value)
        raise self._error(
            f"{path}.options", "`options` must be those of `rps start`: `-t 60 -p debug`"
        )

    def _place(self, key: str) -> str:
        line = self._lines.get(key)
        return f"{file()}:{line}" if line else str(file())

    def _error(self, key: str, message: str, hint: str = "") -> UsageError:
        return UsageError(f"{self._place(key)}: {message}", hint)

    def _wrong(self, key: str, message: str, hint: str = "") -> None:
        self._mistakes.extend(self._error(key, message, hint))
