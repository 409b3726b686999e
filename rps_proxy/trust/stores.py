"""Find the certificate stores of this user's browsers, snap and flatpak included.

On Linux browsers keep them in databases of NSS: Firefox in each profile, Chromium and its relatives in one
for each home. Where they are:

- Firefox: `~/.mozilla/firefox`; new profiles in `$XDG_CONFIG_HOME/mozilla/firefox` (seen of Firefox 153).
- Chromium: `~/.pki/nssdb` (its docs/linux/cert_management.md), or `$XDG_DATA_HOME/pki/nssdb`.
- A snap's home is `~/snap/NAME/current`, or `common` (snapcraft, "Data locations"); a flatpak's is
  `~/.var/app/ID`, with `config` and `data` for the XDG directories, and `.pki` where it asks for it
  (flatpak-metadata(5), `persistent`).
"""

from __future__ import annotations

import configparser
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from rps_core.system import paths
from rps_proxy.trust.nss import Database

_FIREFOX = {
    "Firefox": (".mozilla/firefox",),
    "Firefox (snap)": (
        "snap/firefox/common/.mozilla/firefox",
        "snap/firefox/common/.config/mozilla/firefox",
    ),
    "Firefox (flatpak)": (
        ".var/app/org.mozilla.firefox/.mozilla/firefox",
        ".var/app/org.mozilla.firefox/config/mozilla/firefox",
    ),
    "LibreWolf": (".librewolf", ".var/app/io.gitlab.librewolf-community/.librewolf"),
}
_CHROMIUM = "Chromium, Chrome and relatives"
_CHROMIUM_PROGRAMS = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "brave-browser",
    "microsoft-edge", "microsoft-edge-stable", "opera", "vivaldi", "vivaldi-stable",
)  # fmt: skip
_CHROMIUM_SNAPS = ("brave", "chromium", "opera")
_CHROMIUM_FLATPAKS = {
    "com.brave.Browser": "Brave",
    "com.google.Chrome": "Chrome",
    "com.microsoft.Edge": "Edge",
    "com.opera.Opera": "Opera",
    "com.vivaldi.Vivaldi": "Vivaldi",
    "io.github.ungoogled_software.ungoogled_chromium": "ungoogled-chromium",
    "org.chromium.Chromium": "Chromium",
}


def found() -> list[Database]:
    """Return the stores of browsers that this user has, or has used."""
    home = paths.home()
    unique = {store.directory.resolve(): store for store in (*_chromium(home), *_firefox(home))}
    return list(unique.values())


def _chromium(home: Path) -> Iterator[Database]:
    store = Database(_CHROMIUM, home / ".pki" / "nssdb")
    if store.exists or any(map(shutil.which, _CHROMIUM_PROGRAMS)):
        yield store
    other = Database(_CHROMIUM, _xdg("XDG_DATA_HOME", home / ".local/share") / "pki" / "nssdb")
    if other.exists:
        yield other
    for name in _CHROMIUM_SNAPS:
        place = home / "snap" / name / "current"
        if place.is_dir():
            yield Database(f"{name.capitalize()} (snap)", place / ".pki" / "nssdb")
    for identifier, name in _CHROMIUM_FLATPAKS.items():
        place = home / ".var" / "app" / identifier
        if place.is_dir():
            yield Database(f"{name} (flatpak)", place / ".pki" / "nssdb")
            other = Database(f"{name} (flatpak)", place / "data" / "pki" / "nssdb")
            if other.exists:
                yield other


def _firefox(home: Path) -> Iterator[Database]:
    for name, places in _FIREFOX.items():
        for place in places:
            yield from _profiles(name, home / place)
    yield from _profiles("Firefox", _xdg("XDG_CONFIG_HOME", home / ".config") / "mozilla/firefox")


def _profiles(browser: str, root: Path) -> Iterator[Database]:
    """Yield the profiles below `root`, and those that its profiles.ini has elsewhere."""
    try:
        entries = sorted(root.iterdir())
    except OSError:
        return  # it is not there, or not readable
    listed = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        listed.read(root / "profiles.ini", encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        listed.clear()
    named = [section["Path"] for section in listed.values() if "Path" in section]
    for directory in (*entries, *(root / path for path in named)):
        store = Database(f"{browser}, profile {directory.name}", directory)
        if store.exists:
            yield store


def _xdg(variable: str, default: Path) -> Path:
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else default
