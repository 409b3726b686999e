"""Layers, types, and errors that name file and line; the YAML traps of the field."""

from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest

from rps_core.config import layers as config
from rps_core.config import settings, yaml_text
from rps_core.config.check import check_own_files
from rps_core.config.layers import Layer
from rps_core.config.merge import merge
from rps_core.config.mistakes import Mistakes
from rps_core.config.schema import keys
from rps_core.config.settings import Settings
from rps_core.errors import UsageError
from rps_proxy.settings import loading as proxy_loading


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
    return merge(Outer, [layer(BASE), layer(text)])[0].inner


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


def test_what_one_merge_sets_is_not_in_the_next() -> None:
    """Test the third, which gets a copy of the lowest layer as merged for the second."""
    for number in range(4):
        assert merged(f"inner: {{several: [only {number}], number: {number}}}").number == number
        found = merged("inner: {text: b}")
        assert (found.number, found.several) == (1, ())
    other = merge(Outer, [layer(BASE.replace("number: 1", "number: 2"))])[0].inner
    assert other.number == 2


def test_an_empty_section_changes_nothing() -> None:
    assert merged("inner:\n  # text: commented out\n").text == "a"
    assert merged("# nothing at all\n").text == "a"


@pytest.mark.parametrize(
    ("text", "line", "output"),
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
        (
            "inner:\n  text: [::1]",
            2,
            "begins a list and { a mapping; put a text that begins with one of them in quotes",
        ),
        ("named: a\n  inner: b", 2, "Is the line indented like those around it?"),
    ],
)
def test_an_error_names_file_line_and_what_to_do(text: str, line: int, output: str) -> None:
    with pytest.raises(UsageError) as caught:
        merge(Outer, [layer(BASE), layer(text)])
    assert caught.value.message.startswith(f"file.yaml:{line}:")
    assert output in str(caught.value)


@pytest.mark.parametrize("text", ["- a list", "just text", "3"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a mapping"):
        yaml_text.parse(text, "file.yaml")


def test_python_objects_in_yaml_are_refused() -> None:
    with pytest.raises(UsageError, match="not valid YAML"):
        yaml_text.parse("a: !!python/object/apply:os.system ['true']", "file.yaml")


ALIAS_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in pairwise("abcdefghi")
)
TOO_MUCH = {
    "aliases": (ALIAS_BOMB, 2, r"\*a stands for what is written elsewhere"),
    "a merge": ("a: &a {b: c}\nd:\n  <<: *a\n", 3, r"\*a stands"),
    "itself": ("a: &a\n  - *a\n", 2, r"\*a stands"),
    "deep lists": ("a: 1\nb: " + "[" * 50_000, 2, "nested more than"),
    "deep mappings": ("a: 1\nb: " + "{c: " * 20_000, 2, "nested more than"),
    "deep lines": ("".join(f"{' ' * depth}a:\n" for depth in range(400)), 16, "nested more than"),
    "an int that is none": ("a: 1\nb: !!int x\n", 2, "read as something else"),
    "a float that is none": ("a: !!float x\n", 1, "read as something else"),
    "a set": ("a: !!set {x}\n", 1, "read as something else"),
    "bytes": ("a: !!binary x\n", 1, "read as something else"),
    "a tag of its own": ("a: !secret x\n", 1, "read as something else"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_yaml_that_stands_for_more_than_is_written_is_refused(name: str, tmp_path: Path) -> None:
    """Test aliases in each kind of file: 618 bytes kept `rps config` busy for 40 s."""
    text, line, output = TOO_MUCH[name]
    path = tmp_path / "file.yaml"
    path.write_text(text)
    assert len(ALIAS_BOMB) < 618
    for read in (
        lambda: yaml_text.parse(text, str(path)),
        lambda: config.packaged_layer("site", path),
        lambda: config.file_layer("user", path),
        lambda: config.file_layer("system", path),
        lambda: proxy_loading.load(path),
    ):
        with pytest.raises(UsageError, match=f"^{path}:{line}: not valid YAML: .*{output}"):
            read()


def test_what_begins_like_an_alias_or_a_tag_can_be_written_in_quotes() -> None:
    found = yaml_text.parse("a: '*'\nb: \"!x\"\nc: [a&b, '&c']\nd: a&b\n", "file.yaml")
    assert found.values == {"a": "*", "b": "!x", "c": ["a&b", "&c"], "d": "a&b"}


@pytest.mark.parametrize("source", ["/dev/zero", "long"])
def test_a_file_that_is_too_long_for_a_configuration_is_refused(
    source: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.yaml"
    if source == "long":
        path.write_text("# a comment\n" * 20_000)
    else:
        path.symlink_to(source)
    with pytest.raises(UsageError, match=f"^{path}: the file has .* characters") as error:
        config.file_layer("system", path)
    assert error.value.hint == "Check that it is a configuration file."
    with pytest.raises(UsageError, match="characters"):
        proxy_loading.load(path)


def test_origins_name_the_highest_layer() -> None:
    low, high = layer(BASE, "low.yaml"), layer("inner:\n  text: b", "high.yaml")
    _, origins = merge(Outer, [low, high])
    assert origins["inner.text"].where == "high.yaml:2"
    assert origins["inner.number"].where == "low.yaml:4"


def test_a_key_that_no_layer_sets_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"`inner\.maybe`"):
        merge(Outer, [layer("inner: {text: a, number: 1, several: [], yes: on}\nnamed: {}")])


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        config.file_layer("user", tmp_path / "config.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        config.file_layer("user", tmp_path / "bytes.yaml")


# ------------------------------------------------------------------------------ the launcher's layers


def check_other_sites() -> None:
    mistakes = Mistakes()
    check_own_files(mistakes)
    mistakes.check()


def load(**arguments: object) -> settings.LoadedSettings:
    environment = arguments.pop("environment", {})
    given = settings.Overrides(**arguments)  # type: ignore[arg-type]
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
    keys = ["account", "partition", "qos", "reservation", "constraint"]

    def text(layer_name: str, count: int) -> str:
        return "job:\n" + "".join(f"  {key}: {layer_name}\n" for key in keys[:count])

    scheduler.write_text(f"{text('scheduler', 5)}node_domain: cluster.example\n")
    site.write_text(text("site", 5))
    system.write_text(text("system", 4))
    user_file(monkeypatch, tmp_path, text("user", 3))
    loaded = settings.load(
        "here",
        scheduler,
        site,
        environment={"RPS_JOB_ACCOUNT": "environment", "RPS_JOB_PARTITION": "environment"},
        given=settings.Overrides(options={"job.account": "option"}),
    )
    job = loaded.settings.job
    assert [getattr(job, key) for key in keys] == [
        "option", "environment", "user", "system", "site",
    ]  # fmt: skip
    assert (loaded.settings.node_domain, job.nodes) == ("cluster.example", 1)
    dotted = [*(f"job.{key}" for key in keys), "node_domain", "job.nodes"]
    origins = [loaded.origins[key].layer for key in dotted]
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
    check_other_sites()


def test_another_sites_section_is_checked_on_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    user_file(monkeypatch, tmp_path, "sites:\n  there:\n    job:\n      acount: x\n")
    assert load().settings.job.account is None
    with pytest.raises(UsageError, match=r"config\.yaml:4: unknown key `job\.acount`"):
        check_other_sites()


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


@pytest.mark.parametrize(
    ("assignments", "output"),
    [
        (["job=1", "job.x=2"], r"`job\.x` is set twice, once as a value"),
        (["job.cpus=1", "job=2"], r"`job` is set twice"),
        (["job.cpus=1", "job.cpus.x=2"], r"`job\.cpus\.x` is set twice"),
        (["profiles.p={job: {cpus: 1}}", "profiles.p.job.cpus.x=1"], "is set twice"),
        (["job=1"], "`job` must be a mapping"),
        (["=1"], "not `key=value`"), ([" =1"], "not `key=value`"), (["job..cpus=1"], "not `key=value`"),
        ([".job=1"], "not `key=value`"), (["job.=1"], "not `key=value`"), ([".=1"], "not `key=value`"),
        (["job.\x1b[2J=1"], "not `key=value`"), (["job.\udcff=1"], "not `key=value`"),
        (["[0]=1"], r"unknown key `\[0\]`"), (["job[0]=1"], "unknown key"), (["\u00fc=1"], "unknown key"),
        (["__class__=1"], "unknown key"), (["a" * 100_000 + "=1"], "unknown key"),
        (["profiles.p." + "a." * 5000 + "a=1"], "it has 5003 parts"),
        (["job.cpus=" + "9" * 5000], "must be a whole number"),
        (["keep_ended=1e999999"], "it must be 0 to 3650 days"), (["keep_ended=nan"], "it must be 0 to"),
        (["job.cpus=${HOME}"], "must be a whole number"), (["job.directives=${HOME}"], "must be a list"),
        (["job.directives={a: 1}"], "must be a list"), (["job.account=[a]"], "must be a text"),
        (["job.account={a: 1}"], "must be a text"), (["notebook.port_range=['${x}']"], "must be a list"),
        (["job.directives=" + "[" * 3000], "nested more than"), (["job.directives=[*a]"], "stands for"),
        (["job.directives=[!!int x]"], "read as something else"),
        (["job.directives=[a]\njob: {}"], "more than one value"),
    ],
    ids=lambda value: ascii(value)[:40],
)  # fmt: skip
def test_odd_assignments_are_errors_of_who_types_them(assignments: list[str], output: str) -> None:
    with pytest.raises(UsageError, match=output):
        load(assignments=assignments)
    # The service's options and the variables are read by the same code.
    with pytest.raises(UsageError):
        proxy_loading.load(None, assignments)
    if len(assignments) == 1 and assignments[0].startswith(
        ("job.cpus=", "job.directives=", "keep_")
    ):
        key, _, value = assignments[0].partition("=")
        with pytest.raises(UsageError, match=output):
            load(environment={f"RPS_{key.replace('.', '_').upper()}": value})


def test_assignments_of_one_mapping_add_up() -> None:
    loaded = load(assignments=["job.qos=high", "job={account: abc123}", "job.cpus=2"])
    job = loaded.settings.job
    assert (job.qos, job.account, job.cpus) == ("high", "abc123", 2)


def test_every_key_is_in_defaults_yaml_with_a_comment() -> None:
    text = (files("rps_conf") / "defaults.yaml").read_text("utf-8")
    document = yaml_text.parse(text, "defaults.yaml")
    lines = text.splitlines()
    assert {key for key in document.lines if key not in document.values or "." in key} | {
        key for key, value in document.values.items() if not (isinstance(value, dict) and value)
    } == set(keys(Settings))
    for key, line in document.lines.items():
        assert lines[line - 2].lstrip().startswith("#"), f"no comment above {key}"


def test_no_two_keys_share_a_variable() -> None:
    names = [key.replace(".", "_") for key in keys(Settings)]
    assert len(names) == len(set(names))
    assert not {f"RPS_{name.upper()}" for name in names} & settings.RESERVED_VARIABLES


def test_the_variables_of_the_bootstrap_script_are_no_keys() -> None:
    """One that is exported also reaches an rps that was not started by the script."""
    for name in ("RPS_PYTHON", "RPS_EXTRAS", "RPS_VENV", "RPS_LOCK", "RPS_WHEELS"):
        assert settings.key_variables({name: "x", "RPS_JOB_WALLTIME": "1"}) == {
            "RPS_JOB_WALLTIME": "1"
        }
