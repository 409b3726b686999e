"""A shell's completions, and the modules loaded for them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rps_core.system import paths
from tests.programs.rps_core.cli.test_startup import HEAVY
from tests.stands.completions import remember
from tests.stands.waiting import until


@pytest.fixture
def cache() -> Path:
    return remember()


def complete(*words: str) -> tuple[list[str], set[str]]:
    """Return bash's completions of the last word, and the loaded modules."""
    code = (
        "import sys\n"
        "sys.argv[0] = 'rps'\n"
        "from rps_core.cli import main as cli\n"
        "try:\n    cli.run(cli.rps)\nexcept SystemExit:\n    pass\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    variables = {
        "COMP_WORDS": " ".join(("rps", *words)),
        "COMP_CWORD": str(len(words)),
        "_RPS_COMPLETE": "bash_complete",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    offered = [line.partition(",")[2] for line in done.stdout.splitlines() if line]
    return offered, set(done.stderr.split())


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (("sta",), ["start", "status"]),
        (("stop", ""), ["brave-new-world", "other-living-one"]),
        (("stop", "b"), ["brave-new-world"]),
        (("again", "b"), ["brave-new-world", "brave-old-one"]),
        (("start", ""), ["gpu", "big"]),
        (("start", "--profile", "b"), ["big"]),
        (("start", "-p", ""), ["shared", "short-jobs", "gpu"]),
        (("start", "gpu", "-A", "x"), ["xyz789"]),
        (("start", "--cluster", ""), ["generic", "local"]),
        (("start", "-s", "n"), ["notebook"]),
        (("start", "-s", "v"), ["vscode", "voila", "viewer"]),
        (("url", "--app", "str"), ["streamlit"]),
    ],
    ids=" ".join,
)
def test_what_is_offered_and_that_little_is_loaded(
    words: tuple[str, ...], messages: list[str]
) -> None:
    offered, loaded = complete(*words)
    assert offered == messages
    assert loaded.isdisjoint({*HEAVY, "json"})
    assert loaded.isdisjoint(
        {"rps_core.config.settings", "rps_core.hooks.manager", "rps_core.state.store"}
    )


def test_environments_that_conda_made(tmp_path: Path) -> None:
    listed = paths.home() / ".conda" / "environments.txt"
    listed.parent.mkdir()
    listed.write_text("/opt/conda\n/home/a/envs/science\n/home/a/envs/it's\n")
    assert complete("start", "--conda-env", "s")[0] == ["science"]


def test_paths_are_left_to_the_shell() -> None:
    assert complete("start", "-d", "/va")[0] == ["/va"]


def test_what_is_not_known_is_asked_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test that it is there the next time; old values are offered until then."""
    config = paths.config_file()
    config.parent.mkdir(parents=True)
    config.write_text("profiles: {gpu: {}}\n")
    monkeypatch.setenv("RPS_CLUSTER", "local")
    assert complete("start", "")[0] == []
    cache = paths.cache_dir() / "completion-local"
    until(cache.exists, "the answers")
    assert complete("start", "")[0] == ["gpu"]
    assert set(complete("start", "--cluster", "")[0]) >= {"generic", "local"}
