"""Errors name the option that they are about."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from rps_core.cli.main import rps
from rps_core.errors import UsageError
from rps_core.system import paths


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("url --ssh --api", "--ssh and --api"),
        ("url --api --app dash", "--api and --app"),
        ("url --ssh --app dash", "--ssh and --app"),
        ("url --ssh --json", "--ssh and --json"),
        ("env remove --all abc", "NAME and --all"),
        ("stop --all abc", "--all and NAME"),
        ("proxy ca --install --remove", "--install and --remove"),
        ("start --dry-run --json", "--dry-run and --json"),
        ("start --dry-run --wait", "--dry-run and --wait"),
        ("start --dry-run --foreground", "--dry-run and --foreground"),
        ("start --dry-run --add-kernel", "--dry-run and --add-kernel"),
        ("start --foreground --no-wait", "--foreground and --no-wait"),
        ("config --check --json", "--check and --json"),
        ("config --check --origins", "--check and --origins"),
        ("config --check --explain=job", "--check and --explain"),
        ("connect host --list --session a-b-c", "--list and --session"),
        ("connect host --list --port 4000", "--list and --port"),
        ("connect host --url --install", "--url and --install"),
        ("connect host --url --browser", "--url and --browser"),
        ("connect host --stop --json", "--stop and --json"),
    ],
)
def test_options_that_exclude_each_other_are_refused(line: str, words: str) -> None:
    found = CliRunner().invoke(rps, line.split(), env={"RPS_CLUSTER": "local"}).exception
    assert isinstance(found, UsageError)
    assert found.message.startswith(f"{words} cannot be combined")
    assert found.hint


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("start --venv a --image b", "--venv and --image are two environments"),
        ("start -s notebook -b local/jupyterlab.sh",
         "--app notebook and --batch local/jupyterlab.sh are two applications"),
        ("start --here -t 5", "--here uses the existing allocation: --time has no effect"),
        ("env --json list", "--json stands before the command `rps env list`, which does not see it"),
        ("env -d /tmp build", "--directory stands before the command `rps env build`, which does not see it"),
    ],
)  # fmt: skip
def test_an_option_without_effect_is_refused(line: str, words: str) -> None:
    found = CliRunner().invoke(
        rps, line.split(), prog_name="rps",
        env={"RPS_CLUSTER": "local", "RPS_ALLOW_ROOT": "true"},
    ).exception  # fmt: skip
    assert isinstance(found, UsageError), found
    assert found.message == words
    assert found.hint


def test_what_this_machine_has_not_is_reported() -> None:
    """Without a scheduler a session gets no GPUs: that was asked for in vain, without a word."""
    environment = {"RPS_CLUSTER": "local"}
    words = ["start", "--dry-run", "-t", "5"]
    asked = CliRunner().invoke(
        rps, [*words, "-g", "a100:2", "-p", "gpu", "-m", "4"], env=environment
    )
    reason = "without a scheduler a session is a process of this machine, and gets no allocation"
    for key, was in (("gpus", "a100:2"), ("partition", "gpu"), ("memory", "4096M")):
        assert f"Changed by local: job.{key} is not set (was {was}): {reason}" in asked.stderr
    for more in ([], ["-g", "0"], ["--nodes", "1"]):
        assert "Changed" not in CliRunner().invoke(rps, [*words, *more], env=environment).stderr


@pytest.mark.parametrize("image", [None, "configured.sif"])
def test_a_bind_without_its_image_is_refused(image: str | None) -> None:
    """`--jupyter` overrides a configured image: what is configured for that counts for nothing."""
    if image is not None:
        paths.config_file().parent.mkdir(parents=True, exist_ok=True)
        paths.config_file().write_text(f"notebook: {{image: {image}, bind: [/data]}}\n")
    line = ["start", "--dry-run", "--jupyter", "rps"]
    environment = {"RPS_CLUSTER": "local"}
    found = CliRunner().invoke(rps, [*line, "--bind", "/scratch"], env=environment).exception
    assert isinstance(found, UsageError)
    assert found.message == "--bind: `notebook.bind` requires a container image"
    assert CliRunner().invoke(rps, line, env=environment).exception is None


WAYS = {
    "option": ("--jupyter nosuch", "--jupyter", "leave --jupyter out."),
    "--set": ("--set notebook.jupyter=nosuch", "--set", "leave --set notebook.jupyter out."),
    "variable": ("", "RPS_NOTEBOOK_JUPYTER", "unset RPS_NOTEBOOK_JUPYTER."),
    "file": ("", "{file}:2", "remove `notebook.jupyter` from {file}:2."),
    "profile": ("mine", "{file}:4", "remove `notebook.jupyter` from {file}:4."),
    "system": ("", "{system}:1", "override it: --set notebook.jupyter=…."),
}


@pytest.mark.parametrize("way", WAYS)
def test_advice_names_the_way_by_which_a_value_was_set(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, system = paths.config_file(), tmp_path / "system.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    texts = {
        "file": "notebook:\n  jupyter: nosuch\n",
        "profile": "profiles:\n  mine:\n    notebook:\n      jupyter: nosuch\n",
    }
    file.write_text(texts.get(way, ""))
    if way == "variable":
        monkeypatch.setenv("RPS_NOTEBOOK_JUPYTER", "nosuch")
    if way == "system":
        system.write_text("notebook: {jupyter: nosuch}\n")
        monkeypatch.setenv("RPS_SYSTEM_CONFIG", str(system))
    monkeypatch.setenv("RPS_ALLOW_ROOT", "true")
    given, where, advice = (text.format(file=file, system=system) for text in WAYS[way])
    line = ["start", *given.split(), "--cluster", "local"]
    found = CliRunner().invoke(rps, line).exception
    assert isinstance(found, UsageError), found
    assert found.message == f"{where}: `nosuch` not found on the PATH"
    assert found.hint.endswith(f"…/bin/jupyter), or {advice}")  # rps's own is there


@pytest.mark.parametrize(
    ("line", "words", "hint"),
    [
        ("--nv", "--nv: `notebook.nv` requires a container image", "Or leave --nv out."),
        ("-b slurm/notebook.sh",
         "--batch: the batch script slurm/notebook.sh is for slurm, but this cluster runs local",
         "Use local/notebook.sh. Or leave --batch out."),
        ("--set notebook.venv=a --set notebook.conda_env=b",
         "--set notebook.venv and --set notebook.conda_env are two environments", ""),
        ("--set limits.share=1:00:00",
         "--set: `limits.share` is for the site's configuration, or the administrator's",
         "Leave --set limits.share out."),
        ("--set notebook.provided=/nosuch --jupyter site", "--set: program not found: /nosuch",
         "leave --set notebook.provided out."),
    ],
)  # fmt: skip
def test_advice_for_other_settings_does_too(line: str, words: str, hint: str) -> None:
    environment = {"RPS_CLUSTER": "local", "RPS_ALLOW_ROOT": "true"}
    found = CliRunner().invoke(rps, ["start", *line.split()], env=environment).exception
    assert isinstance(found, UsageError), found
    assert found.message == words
    assert hint in found.hint


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("start --dry-run -d /no/such", "--directory: directory not found: /no/such"),
        ("start --dry-run -t soon", "--time: `job.walltime`: `soon` is not a walltime"),
        ("start --dry-run --image /no.sif", "--image: container image not found: /no.sif"),
        ("start --dry-run --nv", "--nv: `notebook.nv` requires a container image"),
        ("start --dry-run --set notebook.app=no", "--set: there is no application `no`"),
        ("start --dry-run --set apps.x.titles=y", "--set: unknown key `apps.x.titles`"),
        ("env -d /no/such", "--directory: directory not found: /no/such"),
        ("share --for soon", "`soon` is not a duration"),
    ],
)
def test_a_value_is_refused_by_the_name_of_its_option(line: str, words: str) -> None:
    found = CliRunner().invoke(rps, line.split(), env={"RPS_CLUSTER": "local"}).exception
    assert isinstance(found, UsageError)
    assert found.message == words
    assert found.hint
    assert found.hint == found.hint.strip()
