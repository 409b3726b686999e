"""The program that serves a session: what the job made, else what the launcher found, else what is there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from rps_core.node.agent.events import End
from rps_core.node.agent.program import server_program


def jupyter(directory: Path, *apps: str, interpreter: str = sys.executable) -> str:
    directory.mkdir(parents=True)
    for name in ("jupyter", *(f"jupyter-{app}" for app in apps)):
        (directory / name).write_text(f"#!{interpreter}\n")
        (directory / name).chmod(0o755)
    return str(directory / "jupyter")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function: the program for a job that began with one PATH and has another now."""

    def found(
        before: str | None,
        now: str,
        fallback: str | None,
        program: str = "jupyter",
        app: str = "lab",
    ) -> str:
        if before is not None:
            (tmp_path / "path-before").write_text(f"{before}\n")
        monkeypatch.setenv("PATH", now)
        return server_program(program, fallback, app, str(tmp_path))

    return found


def test_a_prologue_that_makes_no_jupyter_leaves_the_one_that_was_found(
    job: Any, tmp_path: Path
) -> None:
    ours = jupyter(tmp_path / "ours", "lab")
    assert job("/nowhere", "/nowhere", ours) == ours
    # The node's own, which the job had anyway, is not what the user chose.
    nodes = jupyter(tmp_path / "node", "lab")
    path = str(Path(nodes).parent)
    assert job(path, f"/tools:{path}", ours) == ours


def test_the_jupyter_that_the_job_made_comes_first(job: Any, tmp_path: Path) -> None:
    ours, nodes = jupyter(tmp_path / "ours", "lab"), jupyter(tmp_path / "node", "lab")
    made = jupyter(tmp_path / "made", "lab")
    path = str(Path(nodes).parent)
    assert job(path, f"{Path(made).parent}:{path}", ours) == made
    # A batch script of the user's own may record no PATH.
    (tmp_path / "path-before").unlink()
    assert job(None, path, ours) == nodes


@pytest.mark.parametrize("fault", ["another application alone", "its Python is gone"])
def test_one_that_cannot_serve_does_not_count(job: Any, tmp_path: Path, fault: str) -> None:
    ours = jupyter(tmp_path / "ours", "lab")
    gone = {"interpreter": "/gone/bin/python"} if fault == "its Python is gone" else {}
    made = jupyter(tmp_path / "made", "lab" if gone else "nbconvert", **gone)
    assert job("/nowhere", str(Path(made).parent), ours) == ours


def test_without_the_one_that_was_found_the_nodes_is_used(job: Any, tmp_path: Path) -> None:
    """Test an installation that this node does not see."""
    nodes = jupyter(tmp_path / "node", "lab")
    path = str(Path(nodes).parent)
    assert job(path, path, "/nowhere/bin/jupyter") == nodes
    with pytest.raises(End, match=r"no program `jupyter`.* and /nowhere/bin/jupyter cannot be run"):
        job("/empty", "/empty", "/nowhere/bin/jupyter")
    with pytest.raises(End, match=r"no program `jupyter` on this node\. The job's PATH is /empty$"):
        job("/empty", "/empty", None)


def test_a_path_that_was_named_is_the_one(job: Any, tmp_path: Path) -> None:
    ours, named = jupyter(tmp_path / "ours", "lab"), jupyter(tmp_path / "named")
    assert job("/nowhere", "/nowhere", ours, program=named) == named
    with pytest.raises(End, match="no program `/nowhere/jupyter`"):
        job("/nowhere", "/nowhere", ours, program="/nowhere/jupyter")
