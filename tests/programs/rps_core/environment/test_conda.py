"""Environments of conda, mamba, micromamba and pixi: made, found, activated, and given a kernel.

The environments are rattler's, pixi's own library; the programs are stand-ins that take what the real
ones take (tests/stands/conda_programs.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path

import pytest
from rattler.shell import ActivationVariables, Shell, activate

from rps_core.environment import kernel, pixi, prefix, tools
from rps_core.environment.environment import Kind
from rps_core.environment.made import here, order, place
from rps_core.errors import EnvironmentBuildError, UsageError
from rps_core.launch import plan as planning
from rps_core.launch.choice import NoKernelError
from rps_core.node.agent import activation
from rps_core.node.builder.cache import Cache
from rps_core.system.signals import DeferredSignals
from tests.stands import conda_channel, conda_programs, wheels

PREPARE = Path(planning.__file__).parents[1] / "batch" / "prepare.sh"
ODD = "p é $(touch x) '\" `id`"
CONDAS = ("micromamba", "mamba", "conda")


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the channel, which the stand-ins' channel_alias makes conda-forge."""
    return conda_channel.write(tmp_path_factory.mktemp("alias é") / "conda-forge")


@pytest.fixture(autouse=True)
def commands(
    tmp_path: Path,
    channel: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Let no program of the family be on the PATH; return the file of the commands that were run."""
    log = tmp_path / "commands"
    for name, value in {
        "PATH": "/usr/bin:/bin", "RPS_TEST_COMMANDS": str(log),
        "RATTLER_CACHE_DIR": str(channel.parent / "cache"),
        "CONDA_CHANNEL_ALIAS": channel.parent.as_uri(), "MAMBA_CHANNEL_ALIAS": channel.parent.as_uri(),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    for name in ("CONDA_EXE", "MAMBA_EXE", "CONDA_PREFIX", "VIRTUAL_ENV"):
        monkeypatch.delenv(name, raising=False)
    return log


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return place.cache(str(tmp_path / "caches" / ODD), "notebook.cache")


def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Put these programs on the PATH."""
    where = conda_programs.install(tmp_path / "programs", *names)
    monkeypatch.setenv("PATH", f"{where}:/usr/bin:/bin")


def built(file: Path, cache: Cache) -> dict[str, object]:
    with DeferredSignals() as held:
        return here.built(order.recipe(str(file), []), cache, held, lambda _line: None)


def listing(cache: Cache) -> list[str]:
    return sorted(path.name for path in Path(cache.root).iterdir())


def run(commands: Path) -> list[list[str]]:
    return [json.loads(line) for line in commands.read_text().splitlines()]


def printed(place: object, code: str) -> str:
    command = [f"{place}/bin/python", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


ENVIRONMENT = """\
name: another  # --prefix comes before it
channels:
  - conda-forge
dependencies:
  - python
  - six
  - pip
  - pip:
      - traitlets
variables:
  WORD: "it's a $word"
"""


@pytest.mark.parametrize("name", CONDAS)
def test_an_environment_yml_is_built_once_with_a_kernel(
    name: str, tmp_path: Path, cache: Cache, commands: Path, monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    for key, value in wheels.offline(wheels.shared(tmp_path_factory)).items():
        monkeypatch.setenv(key, value)
    programs(tmp_path, monkeypatch, name)
    file = tmp_path / ODD / "environment-gpu.yml"
    file.parent.mkdir()
    file.write_text(ENVIRONMENT)
    found = built(file, cache)
    assert (found["made_by"], found["python"]) == (name, conda_channel.VERSION)
    code = "import six, traitlets, ipykernel, sys; print(sys.prefix)"
    assert printed(found["prefix"], code) == f"{found['prefix']}\n"
    assert [command[:2] for command in run(commands)] == [
        [name, "create" if name == "micromamba" else "env"],
        [name, "install"],
    ]
    read = prefix.read(Path(str(found["prefix"])), "--env")
    assert (read.kind, read.made_by, read.python_version) == (
        Kind.CONDA,
        "conda",
        conda_channel.VERSION,
    )
    built(file, cache)
    assert len(run(commands)) == 2


@pytest.mark.parametrize("name", ["micromamba", "conda"])
def test_a_list_of_packages_is_built(
    name: str,
    tmp_path: Path,
    cache: Cache,
    channel: Path,
    commands: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Test what `conda list --explicit` prints."""
    programs(tmp_path, monkeypatch, name)
    file = tmp_path / "list.txt"
    packages = sorted(channel.glob("*/*.tar.bz2"))
    names = [path for path in packages if path.name.startswith(("python-", "pip-", "ipykernel-"))]
    file.write_text(
        "".join(["# platform: linux-64\n@EXPLICIT\n", *(f"{path.as_uri()}\n" for path in names)])
    )
    found = built(file, cache)
    assert (
        printed(found["prefix"], "import ipykernel, sys; print(sys.prefix)")
        == f"{found['prefix']}\n"
    )
    assert [command[1:3] for command in run(commands)] == [["create", "--yes"]]


@pytest.mark.parametrize("name", ["mamba", "conda"])
def test_what_does_not_resolve_leaves_nothing(
    name: str, tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path, monkeypatch, name)
    file = tmp_path / "environment.yml"
    file.write_text("channels: [conda-forge]\ndependencies: [python, six<1]\n")
    with pytest.raises(
        EnvironmentBuildError, match=rf"{name} could not install what environment\.yml"
    ) as caught:
        built(file, cache)
    assert "six <1" in caught.value.message
    assert listing(cache) == []


WORKSPACE = """\
[workspace]
name = "proj"
channels = ["{channel}"]
platforms = ["linux-64"]
{more}
[dependencies]
python = "*"
"""


def workspace(directory: Path, channel: Path, *packages: str, more: str = "") -> Path:
    """Make a workspace of pixi with its lock."""
    directory.mkdir(parents=True)
    manifest = directory / "pixi.toml"
    text = WORKSPACE.format(channel=channel.as_uri(), more=more)
    manifest.write_text(text + "".join(f'{name} = "*"\n' for name in packages))
    conda_programs.lock(directory, tomllib.loads(manifest.read_text()))
    return manifest


def test_a_pixi_lock_is_built_in_the_cache_alone(
    tmp_path: Path, cache: Cache, channel: Path, commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test a user who has environments elsewhere, and options of pixi in the shell."""
    programs(tmp_path, monkeypatch, "pixi")
    settings = Path.home() / ".pixi" / "config.toml"
    settings.parent.mkdir()
    settings.write_text("detached-environments = true\n")
    monkeypatch.setenv("PIXI_FROZEN", "true")
    manifest = workspace(tmp_path / ODD, channel, "ipykernel", "six")
    found = built(manifest, cache)
    place = Path(str(found["prefix"]))
    assert (found["made_by"], place.resolve().is_relative_to(cache.root)) == ("pixi", True)
    assert printed(place, "import six, ipykernel, sys; print(sys.prefix)") == f"{place}\n"
    assert run(commands) == [["pixi", "install", "--locked"]]
    assert not (manifest.parent / ".pixi").exists()

    # A lock that does not fit its manifest is refused, in pixi's own words.
    with manifest.open("a") as file:
        file.write('gdal-data = "*"\n')
    before = listing(cache)
    with pytest.raises(EnvironmentBuildError, match="lock file not up-to-date with the workspace"):
        built(manifest, cache)
    assert listing(cache) == before


@pytest.mark.parametrize("name", CONDAS)
def test_a_kernel_is_added_by_the_tool_that_is_there(
    name: str, tmp_path: Path, channel: Path, commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path, monkeypatch, name)
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "of another"))
    there = prefix.read(
        conda_channel.make(tmp_path / "envs" / "my ml é", channel, "python"), "--venv"
    )
    assert kernel.first(there, there.name) is None
    assert (
        f"{name} install --yes --prefix '{there.path}' -c conda-forge ipykernel"
        in NoKernelError(there).hint
    )
    tools.add(there, "ipykernel")
    offered = kernel.first(prefix.read(there.path, "--venv"), there.name)
    assert offered is not None
    assert offered.display_name == f"my ml é (Python {conda_channel.VERSION})"
    assert printed(there.path, "import ipykernel, sys; print(sys.prefix)") == f"{there.path}\n"


@pytest.mark.parametrize("several", [False, True], ids=["one environment", "several"])
def test_pixi_adds_a_kernel_to_its_workspace_and_installs_it(
    several: bool, tmp_path: Path, channel: Path, commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pixi add` installs nothing where there are several environments, or where a variable says so."""
    programs(tmp_path, monkeypatch, "pixi")
    more = "[environments]\ncuda = []\n" if several else ""
    manifest = workspace(tmp_path / ODD, channel, more=more)
    named = ["--environment", "cuda"] if several else []
    subprocess.run(
        ["pixi", "install", *named], cwd=manifest.parent, check=True, capture_output=True
    )
    there = prefix.read(
        manifest.parent / ".pixi" / "envs" / ("cuda" if several else "default"), "the project"
    )
    assert (there.kind, there.name) == (Kind.PIXI, f"{ODD}:cuda" if several else ODD)
    assert NoKernelError(there).hint.count("pixi install --manifest-path") == int(several)
    for name in ("PIXI_NO_INSTALL", "PIXI_FROZEN"):
        monkeypatch.setenv(name, "true")
    tools.add(there, "ipykernel")
    assert kernel.first(prefix.read(there.path, "--venv"), there.name) is not None
    assert [command[1] for command in run(commands)] == [
        "install",
        "add",
        *(["install"] if several else []),
    ]


def test_a_tool_that_fails_is_shown_with_its_own_words(
    tmp_path: Path, channel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path, monkeypatch, "conda")
    there = prefix.read(conda_channel.make(tmp_path / "ml", channel, "python"), "--venv")
    with pytest.raises(UsageError, match=r"`conda` ended with exit code 1:\n.*no-such-kernel"):
        tools.add(there, "no-such-kernel")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(UsageError, match="`conda` is not on the PATH of this host"):
        tools.add(there, "ipykernel")


def test_environments_of_pixi_are_known_wherever_they_are(
    tmp_path: Path, channel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test a detached one, and one of `pixi global`: by what pixi notes in them, not by their path."""
    for note, name, command in (
        ({"manifest_path": "/home/a/proj/pyproject.toml", "environment_name": "default"}, "proj",
         ["pixi", "add", "--manifest-path", "/home/a/proj/pyproject.toml", "x"]),
        ({"manifest_path": "/home/a/.pixi/manifests/pixi-global.toml", "environment_name": "lab"}, "lab",
         ["pixi", "global", "add", "--environment", "lab", "x"]),
    ):  # fmt: skip
        place = conda_channel.make(tmp_path / name / "envs" / "e", channel, "python")
        (place / "conda-meta" / "pixi").write_text(json.dumps(note))
        found = prefix.read(place, "CONDA_PREFIX")
        assert (found.kind, found.name, found.made_by) == (Kind.PIXI, name, "pixi")
        assert tools.commands_that_add(found, "x") == [command]
    for damaged in ("", "{", "[]", '{"manifest_path": 7, "environment_name": "e"}', "\0"):
        (place / "conda-meta" / "pixi").write_text(damaged)
        assert pixi.workspace(place) is not None


def test_a_kernel_of_another_language_is_found_by_its_path(tmp_path: Path, channel: Path) -> None:
    """Test an environment of R without a Python, as conda-forge's r-irkernel makes it."""
    there = prefix.read(conda_channel.make(tmp_path / "r", channel, "r-irkernel"), "--venv")
    assert (there.python, there.python_version) == (None, None)
    offered = kernel.first(there, "r")
    assert offered is not None
    assert (offered.name, offered.argv[0]) == ("ir", f"{there.path}/bin/R")


def shown(script: str, home: Path, **more: str) -> dict[str, str]:
    """Return the variables that a script leaves in a shell, which has one line on its standard input."""
    done = subprocess.run(
        ["bash", "-c", f"{script}\nenv -0"], check=True, capture_output=True, text=True, input="a line\n",
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", **more},
    )  # fmt: skip
    pairs = [pair.partition("=") for pair in done.stdout.split("\0") if pair]
    return {
        name: value for name, _, value in pairs if name not in ("_", "SHLVL", "PWD", "RPS_SESSION")
    }


def test_the_job_activates_it_as_rattler_does(tmp_path: Path, channel: Path) -> None:
    """Where there is no conda: the variables of packages and of the environment, and the scripts."""
    place = conda_channel.make(tmp_path / ODD, channel, "python", "gdal-data")
    own = {
        "MINE": "it's\n$HOME",
        "OF_A_PACKAGE": "the user's",
        "GONE": "***unset***",
        "PATH": "/no",
    }
    state = {"env_vars": own}
    (place / "conda-meta" / "state").write_text(json.dumps(state))
    session = tmp_path / "session"
    session.mkdir()
    (session / "modules").touch()
    (session / "conda-env").write_text(f"{place}\n")
    pairs = activation.variables(str(place)).items()
    (session / "conda-variables").write_text("".join(f"{name}={value}\0" for name, value in pairs))
    ours = shown(f". '{PREPARE}'", tmp_path, RPS_SESSION=str(session))
    assert ours["GDAL_DATA"] == f"{place}/share/gdal"
    assert (ours["MINE"], ours["OF_A_PACKAGE"], ours["ACTIVATED"]) == (
        "it's\n$HOME",
        "the user's",
        "once ",
    )
    assert "TOOK_A_LINE" not in ours

    state["env_vars"] = {"MINE": "yes"}  # what follows is of names that rattler writes as they are
    (place / "conda-meta" / "state").write_text(json.dumps(state))
    plainer = conda_channel.make(tmp_path / "plain", channel, "python", "gdal-data")
    (plainer / "etc/conda/env_vars.d/gdal-data.json").unlink()  # a hard link to rattler's cache
    (plainer / "etc/conda/env_vars.d/gdal-data.json").write_text('{"OF_A_PACKAGE": "data"}')
    (plainer / "conda-meta" / "state").write_text(json.dumps(state))
    (session / "conda-env").write_text(f"{plainer}\n")
    pairs = activation.variables(str(plainer)).items()
    (session / "conda-variables").write_text("".join(f"{name}={value}\0" for name, value in pairs))
    ours = shown(f". '{PREPARE}'", tmp_path, RPS_SESSION=str(session))
    script = activate(plainer, ActivationVariables(None, ["/usr/bin", "/bin"]), Shell.bash).script
    theirs = shown(script, tmp_path)
    theirs.pop("TOOK_A_LINE", None)  # rps gives the scripts no standard input
    names = {"CONDA_DEFAULT_ENV", "CONDA_SHLVL", "CONDA_PREFIX", "PATH"}
    assert {name: ours[name] for name in ours if name not in names} == {
        name: theirs[name] for name in theirs if name not in names
    }
    assert ours["CONDA_PREFIX"] == theirs["CONDA_PREFIX"]
    assert ours["PATH"].split(":")[0] == theirs["PATH"].split(":")[0] == f"{plainer}/bin"


def test_the_agent_activates_what_the_job_has_built(
    tmp_path: Path, channel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = conda_channel.make(tmp_path / ODD, channel, "python", "gdal-data")
    monkeypatch.setattr(os, "environ", os.environ.copy())

    def output_of(command: list[str], _seconds: float) -> str | None:
        done = subprocess.run(command, env=os.environ, check=False)
        return "" if done.returncode == 0 else None

    activation.activate(str(place), str(tmp_path / "activated"), output_of)
    assert os.environ["GDAL_DATA"] == f"{place}/share/gdal"
    assert os.environ["OF_A_PACKAGE"] == 'it\'s $HOME "é"'
    assert os.environ["PATH"].startswith(f"{place}/bin:")
    assert not (tmp_path / "activated").exists()
    for damaged in (
        "{",
        "[]",
        '{"env_vars": 3}',
        '{"env_vars": {"A B": "1", "C": 2, "D": "x\\u0000"}}',
    ):
        (place / "conda-meta" / "state").write_text(damaged)
        assert set(activation.variables(str(place))) == {"OF_A_PACKAGE"}
