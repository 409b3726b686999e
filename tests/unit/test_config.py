"""Layers, types, and errors that name file and line; the YAML traps of the field."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest

from rps_core import config, settings, yaml_text
from rps_core.config import Layer
from rps_core.errors import UsageError
from rps_core.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    text: str
    number: int
    maybe: str | None
    several: tuple[str, ...]
    yes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    inner: Inner
    named: dict[str, settings.PartitionLimits]


BASE = """
inner:
  text: a
  number: 1
  maybe: null
  several: []
  yes: false
named: {}
"""


def layer(text: str, name: str = "file.yaml") -> Layer:
    document = yaml_text.parse(text, name)
    return Layer("test", name, document.values, document.lines)


def merged(text: str) -> Inner:
    return config.merge(Outer, [layer(BASE), layer(text)])[0].inner


@pytest.mark.parametrize(
    "text",
    ["12:00:00", "1:30:00", "00123", "017", "on", "yes", "1e5", "1.10", "0x1F", "2026-01-01",
     "${HOME}", "${SLURM_JOB_ID:-0}", '${a[@]}', r"\${x}", "$(cmd) $HOME $$", "null-ish", "=",
     r"back\slash", "${a} and ${b}"],
)  # fmt: skip
def test_text_stays_the_text_that_was_written(text: str) -> None:
    assert merged(f"inner: {{text: '{text}'}}").text == text
    if not set(text) & set("{}[]=,"):
        assert merged(f"inner:\n  text: {text}").text == text


def test_the_schema_decides_types() -> None:
    found = merged("inner: {number: 042, yes: on, maybe: 5, several: [12:00:00, 007]}")
    assert (found.number, found.yes, found.maybe) == (42, True, "5")
    assert found.several == ("12:00:00", "007")


def test_an_empty_section_changes_nothing() -> None:
    assert merged("inner:\n  # text: commented out\n").text == "a"
    assert merged("# nothing at all\n").text == "a"


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("inner:\n  txt: b", 2, "Did you mean `inner.text`?"),
        ("iner:\n  text: b", 1, "Did you mean `inner`?"),
        ("inner:\n  number: many", 2, "inner.number"),
        ("inner: 3", 1, "must be a mapping"),
        ("named:\n  debug:\n    walltme: 3", 3, "Did you mean `named.debug.walltime`?"),
        ("named: {debug: 3}", 1, "must be a mapping"),
        ("inner:\n  number: null", 2, "inner.number"),
        ("inner:\n  several: b", 2, "inner.several"),
        ("inner:\n  text: a\n  text: b", 3, "given twice, first in line 2"),
        ("inner:\n  text: [", 2, "not valid YAML"),
        ("inner:\n\ttext: b", 2, "not valid YAML"),
        ("inner:\n\ttext: b", 2, "spaces: put them in place of the tab"),
        ("inner:\n  text: @b", 2, "Put the value in quotes"),
        ("inner:\n  text: [::1]", 2, "is a list or a mapping; a text that does goes in quotes"),
        ("named: a\n  inner: b", 2, "Is the line indented like those around it?"),
    ],
)
def test_an_error_names_file_line_and_what_to_do(text: str, line: int, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        config.merge(Outer, [layer(BASE), layer(text)])
    assert caught.value.message.startswith(f"file.yaml:{line}:")
    assert told in str(caught.value)


@pytest.mark.parametrize("text", ["- a list", "just text", "3"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a mapping"):
        yaml_text.parse(text, "file.yaml")


def test_python_objects_in_yaml_are_refused() -> None:
    with pytest.raises(UsageError, match="not valid YAML"):
        yaml_text.parse("a: !!python/object/apply:os.system ['true']", "file.yaml")


def test_origins_name_the_highest_layer() -> None:
    low, high = layer(BASE, "low.yaml"), layer("inner:\n  text: b", "high.yaml")
    _, origins = config.merge(Outer, [low, high])
    assert origins["inner.text"].where == "high.yaml:2"
    assert origins["inner.number"].where == "low.yaml:4"


def test_a_key_that_no_layer_sets_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"`inner\.maybe`"):
        config.merge(Outer, [layer("inner: {text: a, number: 1, several: [], yes: on}\nnamed: {}")])


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        config.file_layer("user", tmp_path / "config.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        config.file_layer("user", tmp_path / "bytes.yaml")


# ------------------------------------------------------------------------------ the launcher's layers


def load(**arguments: object) -> settings.Loaded:
    environment = arguments.pop("environment", {})
    given = settings.Given(**arguments)  # type: ignore[arg-type]
    return settings.load("here", None, None, environment=environment, given=given)  # type: ignore[arg-type]


def user_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = tmp_path / "rps" / "config.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_the_seven_layers_in_their_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scheduler, site, system = (
        tmp_path / f"{name}.yaml" for name in ("scheduler", "site", "system")
    )
    monkeypatch.setenv("RPS_SYSTEM_CONFIG", str(system))
    keys = ["account", "partition", "qos", "reservation", "constraint", "walltime"]

    def text(layer_name: str, count: int) -> str:
        return "job:\n" + "".join(f"  {key}: {layer_name}\n" for key in keys[:count])

    scheduler.write_text(text("scheduler", 6))
    site.write_text(text("site", 5))
    system.write_text(text("system", 4))
    user_file(monkeypatch, tmp_path, text("user", 3))
    loaded = settings.load(
        "here",
        scheduler,
        site,
        environment={"RPS_JOB_ACCOUNT": "environment", "RPS_JOB_PARTITION": "environment"},
        given=settings.Given(options={"job.account": "option"}),
    )
    job = loaded.settings.job
    assert [getattr(job, key) for key in keys] == [
        "option", "environment", "user", "system", "site", "scheduler",
    ]  # fmt: skip
    assert job.nodes == 1
    origins = [loaded.origins[f"job.{key}"].layer for key in [*keys, "nodes"]]
    assert origins == ["options", "environment", "user", "system", "site", "scheduler", "defaults"]
    assert loaded.where("job.partition") == "RPS_JOB_PARTITION"
    assert loaded.where("job.qos").endswith("config.yaml:4")


def test_one_file_serves_several_clusters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    user_file(
        monkeypatch,
        tmp_path,
        "job: {account: everywhere, qos: normal}\n"
        "sites:\n  here:\n    job: {account: only-here}\n  there:\n    job: {account: only-there}\n",
    )
    loaded = load()
    assert (loaded.settings.job.account, loaded.settings.job.qos) == ("only-here", "normal")
    assert loaded.where("job.account").endswith("config.yaml:4")
    settings.check_other_sites()


def test_another_sites_section_is_checked_on_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    user_file(monkeypatch, tmp_path, "sites:\n  there:\n    job:\n      acount: x\n")
    assert load().settings.job.account is None
    with pytest.raises(UsageError, match=r"config\.yaml:4: unknown key `job\.acount`"):
        settings.check_other_sites()


def test_variables_are_text_and_lists_are_yaml() -> None:
    environment = {"RPS_JOB_ACCOUNT": "00123", "RPS_JOB_DIRECTIVES": "[--exclusive, '-x a,b']"}
    job = load(environment=environment).settings.job
    assert job.account == "00123"
    assert job.directives == ("--exclusive", "-x a,b")


def test_a_misspelt_variable_is_an_error() -> None:
    with pytest.raises(UsageError, match="RPS_JOB_WALLTME") as caught:
        load(environment={"RPS_JOB_WALLTME": "3"})
    assert "RPS_JOB_WALLTIME" in caught.value.hint


def test_set_overrules_everything() -> None:
    loaded = load(options={"job.walltime": "1"}, assignments=["job.walltime=12:00:00"])
    assert loaded.settings.job.walltime == "12:00:00"
    with pytest.raises(UsageError, match="not `key=value`"):
        load(assignments=["job.walltime"])
    with pytest.raises(UsageError, match=r"unknown key `job\.wall`"):
        load(assignments=["job.wall=1"])


def test_every_key_is_in_defaults_yaml_with_a_comment() -> None:
    text = (files("rps_conf") / "defaults.yaml").read_text("utf-8")
    document = yaml_text.parse(text, "defaults.yaml")
    lines = text.splitlines()
    assert {key for key in document.lines if key not in document.values or "." in key} | {
        key for key, value in document.values.items() if not (isinstance(value, dict) and value)
    } == set(config.keys(Settings))
    for key, line in document.lines.items():
        assert lines[line - 2].lstrip().startswith("#"), f"no comment above {key}"


def test_no_two_keys_share_a_variable() -> None:
    names = [key.replace(".", "_") for key in config.keys(Settings)]
    assert len(names) == len(set(names))
    assert not {f"RPS_{name.upper()}" for name in names} & settings.RESERVED_VARIABLES
