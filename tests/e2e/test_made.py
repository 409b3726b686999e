"""`rps start --env`: from a requirements.txt to a cell that imports what it names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.visitor import Visitor


def test_what_the_file_names_is_there_and_is_built_once(
    installed: Any,
    start: Callable[..., dict[str, Any]],
    visit: Callable[[str], Visitor],
    variables: dict[str, str],
) -> None:
    project = installed.user.home / "a project é $(touch x)"
    installed.user.make(project)
    (project / "requirements.txt").write_text("six\n")
    found = start("--env", str(project), env=variables)
    environment = found["environment"]
    assert (environment["kind"], environment["made_by"]) == ("made", "uv")
    code = "import six, sys; print(six.__version__, sys.prefix)"
    assert visit(found["url"]).run_cell(code) == f"1.17.0 {environment['prefix']}\n"
    log = installed.rps("logs", found["name"]).stdout.splitlines()
    assert f"environment: {environment['line']}" in log[:3]
    # The next one takes it as it is, and what is named is not removed while it is used.
    dry = installed.rps("again", found["name"], "--dry-run", env=variables)
    assert environment["line"].removesuffix(", --env") in dry.stderr
    listed = json.loads(installed.rps("env", "list", "--json").stdout)
    assert [(one["prefix"], one["in_use"]) for one in listed] == [(environment["prefix"], True)]
    refused = installed.rps("env", "remove", listed[0]["name"], check=False)
    assert (refused.returncode, "A session uses the environment" in refused.stderr) == (2, True)
    installed.rps("stop", found["name"])
    installed.rps("env", "remove", listed[0]["name"][:6])
    assert json.loads(installed.rps("env", "list", "--json").stdout) == []
    assert list(Path(environment["prefix"]).parent.iterdir()) == []


def test_one_that_cannot_be_built_submits_nothing(
    installed: Any, variables: dict[str, str]
) -> None:
    before = installed.rps("list", "--all", "--json").stdout
    done = installed.rps("start", "--with", "no-such-package-of-rps", check=False, env=variables)
    assert done.returncode == 6
    assert done.stdout == ""
    assert (
        "Cannot build the environment no-such-package-of-rps: uv could not install" in done.stderr
    )
    assert "No solution found" in done.stderr
    assert installed.rps("list", "--all", "--json").stdout == before


def test_what_env_build_has_built_is_found_without_a_tool(
    installed: Any, start: Callable[..., dict[str, Any]], variables: dict[str, str]
) -> None:
    """Build by the real uv; the session then gets a PATH without uv, and an index that does not answer."""
    first, second = (installed.user.make(installed.user.home / name) for name in ("one ü", "two"))
    (first / "requirements.txt").write_text("six\n")
    (second / "requirements.txt").write_text("six\n")  # the content counts, not the place
    built = installed.rps("env", "build", str(first / "requirements.txt"), env=variables)
    prefix = Path(built.stdout.strip())
    assert (prefix / "bin" / "python").exists()
    assert "Building the environment one ü/requirements.txt" in built.stderr
    assert "Built the environment one ü/requirements.txt in" in built.stderr
    once_more = installed.rps("env", "build", "--json", str(second), env=variables)
    assert json.loads(once_more.stdout)["prefix"] == str(prefix)
    offline = {"PIP_NO_INDEX": "1", "UV_OFFLINE": "1"}
    found = start("--env", str(second), env=offline)
    assert (found["environment"]["kind"], found["environment"]["prefix"]) == ("made", str(prefix))
    table = installed.rps("env", "list").stdout
    assert [word in table for word in ("one ü/requirements.txt", "uv", "by a session")] == [
        True
    ] * 3

    # A newer build is another tree; the session keeps the one that it has.
    newer = installed.rps("env", "build", str(first), "--again", env=variables).stdout.strip()
    assert newer != str(prefix)
    assert prefix.is_dir()
    unknown = installed.rps("env", "remove", "no-such", check=False)
    assert (unknown.returncode, "No environment is called no-such" in unknown.stderr) == (7, True)
    installed.rps("stop", found["name"])
    removed = installed.rps("env", "remove", "--all")
    assert "removed (one ü/requirements.txt)" in removed.stderr
    assert "No environments in" in installed.rps("env", "list").stderr
    assert not Path(newer).exists()
