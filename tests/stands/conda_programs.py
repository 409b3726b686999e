"""Stand-ins for conda, mamba, micromamba and pixi, which no registry of the tests has.

Each takes the options of the real one (`conda_options`), and what it makes, rattler makes. The commands
that rps gives conda were run with the real conda of that commit as well, on the same channel.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, NoReturn

import yaml
from rattler import LockChannel, LockFile, LockPlatform, PrefixRecord, RepoDataRecord, Subdir
from rattler.exceptions import SolverError

from tests.stands.conda_channel import put, solved
from tests.stands.conda_options import command_of, parsed


def install(directory: Path, *names: str) -> Path:
    """Write these programs into a directory, for a PATH; return it."""
    directory.mkdir(parents=True, exist_ok=True)
    root = Path(__file__).resolve().parents[2]
    for name in names:
        program = directory / name
        program.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(root)!r})\n"
            f"from tests.stands.conda_programs import main\nmain({name!r}, sys.argv[1:])\n"
        )
        program.chmod(0o755)
    return directory


def main(name: str, words: list[str]) -> None:
    """Run a command as this program."""
    family = "mamba" if name == "micromamba" else name
    with (Path(os.environ["RPS_TEST_COMMANDS"])).open("a") as log:
        log.write(json.dumps([name, *words]) + "\n")
    command = command_of(name, words)
    if command is None:
        _fail(f"{name}: no command {words[:2]}", 2)
    given = parsed(command, words[len(command) - 1 :])
    if isinstance(given, tuple):
        _fail(given[1], given[0])
    try:
        if family == "pixi":
            _Pixi(given).run(command[1])
        else:
            _conda(name, command, given)
    except SolverError as error:
        begin = {"conda": "\nLibMambaUnsatisfiableError: ", "mamba": "error    libmamba "}
        _fail(f"{begin.get(family, 'Error:   x ')}{error}", 1)
    _end(0)


def _conda(name: str, command: tuple[str, ...], given: argparse.Namespace) -> None:
    """Make a prefix, or install into one."""
    prefix = Path(given.prefix[0])
    creates = command[-1] == "create"
    if (
        creates and name == "conda" and re.search(r"[ :#/]", prefix.name)
    ):  # conda/core/prefix_data.py:364
        _fail("CondaValueError: Environment names cannot contain any of these characters", 1)
    if creates and prefix.exists():
        _fail("critical libmamba Non-conda folder exists at prefix - aborting.", 1)
    if command[-1] == "install" and not (prefix / "conda-meta" / "history").is_file():
        _fail(f"EnvironmentLocationNotFound: Not a conda environment: {prefix}", 1)
    asks = command != ("conda", "env", "create") and not os.environ.get("MAMBA_ALWAYS_YES")
    if asks and not given.yes:
        print(
            "Confirm changes: [Y/n] ", end=""
        )  # the end of the input is yes: libmamba/src/core/output.cpp:523-537
    channels = [*getattr(given, "channel", [])]
    specs, pip, content = [*getattr(given, "specs", [])], [], {}
    for file in given.file:
        text = Path(file).read_text()
        if "@EXPLICIT" in text.splitlines():
            urls = [line for line in text.splitlines() if "://" in line]
            asyncio.run(_explicit(urls, prefix))
            return _registered(name, prefix)
        content = yaml.safe_load(text)
        channels += content.get("channels", [])
        specs += [one for one in content["dependencies"] if isinstance(one, str)]
        pip += [
            one for part in content["dependencies"] if isinstance(part, dict) for one in part["pip"]
        ]
    alias = os.environ["CONDA_CHANNEL_ALIAS" if name == "conda" else "MAMBA_CHANNEL_ALIAS"]
    url = next(one if "://" in one else f"{alias}/{one}" for one in channels)
    there = [
        PrefixRecord.from_path(file) for file in sorted((prefix / "conda-meta").glob("*.json"))
    ]
    frozen = there if getattr(given, "freeze_installed", False) else []
    asyncio.run(_installed(url, specs + [record.name.source for record in there], frozen, prefix))
    if "variables" in content:
        (prefix / "conda-meta" / "state").write_text(json.dumps({"env_vars": content["variables"]}))
    if pip:
        subprocess.run([prefix / "bin" / "python", "-m", "pip", "install", "-U", *pip], check=True)
    return _registered(name, prefix)


def _registered(name: str, prefix: Path) -> None:
    """Add it to the user's list (conda/core/envs_manager.py:39)."""
    if name == "conda" and os.environ.get("CONDA_REGISTER_ENVS") == "false":
        return
    known = Path.home() / ".conda" / "environments.txt"
    known.parent.mkdir(exist_ok=True)
    with known.open("a") as file:
        file.write(f"{prefix}\n")


async def _installed(url: str, specs: list[str], frozen: list[PrefixRecord], prefix: Path) -> None:
    await put(await solved(url, specs, frozen), prefix)


async def _explicit(urls: list[str], prefix: Path) -> None:
    channel = urls[0].rsplit("/", 2)[0]
    names = [re.sub(r"-[^-]*-[^-]*$", "", url.rsplit("/", 1)[1]) for url in urls]
    await put(await solved(channel, names), prefix)


class _Pixi:
    """pixi in a workspace."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        named = Path(given.manifest_path[0]) if given.manifest_path else Path.cwd()
        names = ("pixi.toml", "pyproject.toml")
        self._manifest = (
            next(named / one for one in names if (named / one).is_file())
            if named.is_dir()
            else named
        )
        self._root = self._manifest.parent
        content = tomllib.loads(self._manifest.read_text())
        self._content: dict[str, Any] = (
            content if self._manifest.name == "pixi.toml" else content["tool"]["pixi"]
        )

    def run(self, command: str) -> None:
        """Run `install` or `add`."""
        variables = {
            name for name in ("FROZEN", "LOCKED", "NO_INSTALL") if os.environ.get(f"PIXI_{name}")
        }
        if command == "install":
            if self._given.locked and "FROZEN" in variables:  # v0.40.0: src/cli/mod.rs:152
                _fail("error: the argument '--locked' cannot be used with '--frozen'", 2)
            if self._given.locked and self._names() - self._locked_names():
                _fail("Error:   x lock file not up-to-date with the workspace", 1)
            self._install((self._given.environment or ["default"])[0])
            return
        with self._manifest.open("a") as file:
            file.write(
                "".join(f'{spec} = "*"\n' for spec in self._given.specs)
            )  # [dependencies] is its last table
        self._content["dependencies"] |= dict.fromkeys(self._given.specs, "*")
        if variables & {"FROZEN", "LOCKED"}:  # workspace_mut.rs:372
            return
        lock(self._root, self._content)
        if len(self._content.get("environments", {})) == 0 and "NO_INSTALL" not in variables:
            self._install("default")

    def _names(self) -> set[str]:
        return set(self._content["dependencies"])

    def _locked_names(self) -> set[str]:
        return {record.name.source for record in _locked(self._root, "default")}

    def _install(self, name: str) -> None:
        environments = self._root / ".pixi" / "envs"
        config = self._root / ".pixi" / "config.toml"
        files = (Path.home() / ".pixi" / "config.toml", config)
        settings: dict[str, Any] = {}
        for file in files:
            settings |= tomllib.loads(file.read_text()) if file.is_file() else {}
        if settings.get("detached-environments"):
            elsewhere = (
                Path.home() / ".cache" / "rattler" / "cache" / "envs" / self._root.name / "envs"
            )
            elsewhere.mkdir(parents=True, exist_ok=True)
            environments.parent.mkdir(exist_ok=True)
            if not environments.is_symlink():
                environments.symlink_to(elsewhere)
        prefix = environments / name
        asyncio.run(put(_locked(self._root, name), prefix))
        # pixi_core/src/environment/mod.rs:503 EnvironmentFile, conda_metadata.rs:19
        made = {"manifest_path": str(self._manifest), "environment_name": name, "pixi_version": "0.75.0",
                "environment_lock_file_hash": "0123456789abcdef"}  # fmt: skip
        (prefix / "conda-meta" / "pixi").write_text(json.dumps(made, indent=2))
        (prefix / "conda-meta" / "pixi_env_prefix").write_text(str(prefix / "conda-meta"))
        print(f"✔ The {name} environment has been installed.", file=sys.stderr)


def lock(root: Path, content: dict[str, Any]) -> None:
    """Write a project's pixi.lock, with the library that writes pixi's."""
    channel = content["workspace"]["channels"][0]
    platform = LockPlatform(str(Subdir.current()))
    found = LockFile([platform])
    for name in ("default", *content.get("environments", {})):
        found.set_channels(name, [LockChannel(channel)])
        for record in asyncio.run(solved(channel, list(content["dependencies"]))):
            found.add_conda_package(name, platform, record)
    found.to_path(root / "pixi.lock")


def _locked(root: Path, name: str) -> list[RepoDataRecord]:
    found = LockFile.from_path(root / "pixi.lock")
    environment = found.environment(name)
    if environment is None:
        _fail(f"Error:   x unknown environment '{name}'", 1)
    records = environment.conda_repodata_records_for_platform(found.platforms()[0])
    return records or []


def _fail(text: str, code: int) -> NoReturn:
    print(text, file=sys.stderr)
    _end(code)


def _end(code: int) -> NoReturn:
    """End at once: threads of rattler's may still return to an interpreter that is being taken down."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
