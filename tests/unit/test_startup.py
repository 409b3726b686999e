"""What loads when. Not by the clock: by what is in sys.modules."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rps_core

ROOT = Path(rps_core.__file__).parent.parent
HEAVY = ("aiohttp", "asyncio", "cryptography", "importlib.metadata", "omegaconf", "pluggy", "sh",
         "ssl", "structlog", "subprocess", "yaml")  # fmt: skip


def loaded_by(*arguments: str) -> set[str]:
    code = (
        "import sys\n"
        "sys.argv[0] = 'rps'\n"
        "from rps_core import cli\n"
        "try:\n    cli.run(cli.rps)\nexcept SystemExit:\n    pass\n"
        "print('LOADED', *sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("LOADED"))
    return set(line.split()[1:])


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["start", "--help"], ["proxy", "--help"], ["nonsense"], []],
    ids=" ".join,
)
def test_help_loads_click_and_nothing_else(arguments: list[str]) -> None:
    found = loaded_by(*arguments)
    assert "click" in found
    assert found.isdisjoint(HEAVY)
    ours = {name for name in found if name.startswith("rps_")}
    assert ours <= {
        "rps_core", "rps_core.cli", "rps_core.commands", "rps_core.commands.following",
        "rps_core.commands.sessions",
        "rps_core.commands.setup", "rps_core.commands.start", "rps_core.commands.terminal",
        "rps_core.errors", "rps_core.options", "rps_core.version",
        "rps_proxy", "rps_proxy.cli", "rps_proxy.engine_cli", "rps_proxy.options",
    }  # fmt: skip


def test_listing_no_sessions_loads_no_plugins() -> None:
    found = loaded_by("list")
    assert found.isdisjoint({"pluggy", "omegaconf", "structlog", "sh", "aiohttp"})


def test_a_warm_start_loads_no_more_than_it_needs() -> None:
    """Up to the batch script; what follows is a request and sbatch, by way of sh, which brings asyncio.

    The first merges the configuration. An allocation is given, so that no scheduler is asked for one.
    """
    arguments = ("start", "--dry-run", "--cluster=generic", "--account=abc123", "--set",
                 "proxy.domain=example.org")  # fmt: skip
    assert "omegaconf" in loaded_by(*arguments)
    found = loaded_by(*arguments)
    assert found.isdisjoint(
        {"aiohttp", "argparse", "asyncio", "configparser", "cryptography", "hashlib", "hmac",
         "importlib.metadata", "importlib.resources", "logging", "omegaconf", "secrets",
         "sh", "structlog", "tempfile", "yaml"}
    )  # fmt: skip
    assert "rps_core.schedulers.slurm" in found
    others = {f"rps_core.schedulers.{name}" for name in ("local", "pbs", "torque")}
    assert found.isdisjoint(others)


def test_a_worker_loads_what_carries_traffic() -> None:
    """There is one for each core: what it does not need is paid for that many times."""
    code = "import sys, rps_proxy.worker; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = set(done.stdout.split())
    assert "aiohttp" in found
    assert found.isdisjoint(
        {"click", "cryptography", "omegaconf", "pluggy", "sh", "xkcdpass", "yaml"}
    )
    assert found.isdisjoint(
        {f"rps_proxy.{name}" for name in ("api", "authority", "cgi", "service")}
    )


ONE_IMPORTER = {
    "omegaconf": {"rps_core/config.py"},
    "yaml": {"rps_core/yaml_text.py"},
    "sh": {"rps_core/shell.py"},
    "structlog": {"rps_core/log.py"},
    "pluggy": {"rps_core/plugins.py", "rps_core/hookspecs.py", "rps_core/plugin.py"},
}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def sources() -> list[Path]:
    return [
        path
        for part in ("rps_core", "rps_proxy", "sites", "conf")
        for path in sorted((ROOT / part).rglob("*.py"))
    ]


def test_each_library_has_one_importing_module() -> None:
    importers: dict[str, set[str]] = {name: set() for name in ONE_IMPORTER}
    for path in sources():
        for name in {found.partition(".")[0] for found in imports(path)} & set(ONE_IMPORTER):
            importers[name].add(str(path.relative_to(ROOT)))
    assert importers == ONE_IMPORTER


def test_sites_import_only_the_plugin_interface() -> None:
    for path in (ROOT / "sites").rglob("*.py"):
        ours = {name for name in imports(path) if name.startswith(("rps_core", "rps_proxy"))}
        assert ours <= {"rps_core.plugin", "rps_core.testing"}, path


def test_core_names_no_site() -> None:
    for path in (ROOT / "rps_core").rglob("*.py"):
        text = path.read_text().lower()
        assert not {name for name in ("comet", "stratus", "tscc") if name in text}, path


def test_only_the_command_line_prints() -> None:
    """Standard output is for the URL and for data: everything else stays away from it."""
    for path in (ROOT / "rps_core").glob("*.py"):
        if path.name in ("cli.py", "interface.py", "inspection.py"):
            continue
        assert "print(" not in path.read_text(), path


CTRL_C = """\
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["AT"]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
"""


def interrupted(
    tmp_path: Path, command: str, *arguments: str, at: str, **options: Any
) -> tuple[int, str]:
    """Exit code and stderr of a command as it was installed, with a Ctrl-C where it begins to import `at`."""
    (tmp_path / "sitecustomize.py").write_text(CTRL_C)
    done = subprocess.run(
        [sys.executable, str(Path(sys.executable).with_name(command)), *arguments],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "AT": at},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, **options,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", ["rps", "start-jupyter"])
def test_ctrl_c_while_the_command_line_is_loaded_ends_it_without_a_word(
    tmp_path: Path, command: str
) -> None:
    assert interrupted(tmp_path, command, "--help", at="click") == (-signal.SIGINT, "")


def test_ctrl_c_while_a_command_is_loaded_is_told(tmp_path: Path) -> None:
    code, told = interrupted(tmp_path, "rps", "list", at="rps_core.listing")
    assert (code, told.split()) == (130, ["Interrupted."])


def test_where_ctrl_c_is_ignored_it_stays_so(tmp_path: Path) -> None:
    """As `nohup` and a script's `&` have it."""

    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    for at in ("click", "rps_core.listing"):
        code, told = interrupted(tmp_path, "rps", "list", at=at, preexec_fn=ignore)
        assert (code, told) == (0, "No sessions. `rps start` starts one.\n")
