"""The kernelspec that launch.json gives for a session."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rps_core.node.agent.kernelspec import KernelSpec, OwnPython, write_kernelspecs

GOOD: dict[str, Any] = {
    "name": "python3",
    "display_name": "Größe (Python 3.12.3)",
    "language": "python",
    "argv": ["/with a blank/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
}


def test_it_is_written_below_the_sessions_directory_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_PATH", "/inherited")
    pictures = tmp_path / "prefix" / "kernels" / "python3"
    pictures.mkdir(parents=True)
    for name in ("logo-64x64.png", "kernel.json", "logo-svg.svg"):
        (pictures / name).write_text(name)
    also = [f"{tmp_path}/prefix", "/nowhere/share/jupyter"]
    spec = KernelSpec({**GOOD, "env": {"A": "${PATH}"}, "also": also})
    before = os.umask(0)
    try:
        found = write_kernelspecs([spec], str(tmp_path))
        assert write_kernelspecs([spec], str(tmp_path)) == found  # on another port
    finally:
        os.umask(before)
    assert found == f"{tmp_path}/jupyter:{tmp_path}/prefix:/nowhere/share/jupyter:/inherited"
    written = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    kept = {key: GOOD[key] for key in ("argv", "display_name", "language")}
    assert json.loads(written.read_text()) == {**kept, "env": {"A": "${PATH}"}}
    assert written.stat().st_mode & 0o777 == 0o600
    assert (written.parent / "logo-64x64.png").read_text() == "logo-64x64.png"
    assert len([*written.parent.iterdir()]) == 3
    assert written.parent.stat().st_mode & 0o777 == 0o700


CURVE = {"supported_encryption": ["curve"]}


@pytest.mark.parametrize(
    ("stated", "added"),
    [
        (json.dumps({"metadata": {"debugger": False, **CURVE}}), CURVE),
        ('{"metadata": 1}', {}),
        ("[", {}),
    ],
)
def test_the_environments_own_kernelspec_says_what_the_kernel_can(
    tmp_path: Path, stated: str, added: dict[str, object]
) -> None:
    """Test what it says of the debugger and of encryption; the command stays the launcher's."""
    own = tmp_path / "prefix" / "kernels" / "python3"
    own.mkdir(parents=True)
    (own / "kernel.json").write_text(stated)
    entry = {**GOOD, "metadata": {"debugger": True}, "also": [f"{tmp_path}/prefix"]}
    write_kernelspecs([KernelSpec(entry)], str(tmp_path))
    written = json.loads((tmp_path / "jupyter/kernels/python3/kernel.json").read_text())
    assert (written["metadata"], written["argv"]) == ({"debugger": True, **added}, GOOD["argv"])


def test_a_later_one_replaces_the_one_of_the_same_name(tmp_path: Path) -> None:
    """Test the environment's kernel, where rps's own Jupyter has one of that name."""
    ours = KernelSpec({**GOOD, "display_name": "ours", "also": ["/ours"]})
    other = KernelSpec({**GOOD, "name": "ir", "also": ["/r"]})
    found = write_kernelspecs([ours, other, KernelSpec(GOOD)], str(tmp_path)).split(os.pathsep)
    assert found[:3] == [f"{tmp_path}/jupyter", "/r", "/ours"]
    specs = {
        path.parent.name: json.loads(path.read_text()) for path in tmp_path.rglob("kernel.json")
    }
    assert specs.keys() == {"python3", "ir"}
    assert specs["python3"]["display_name"] == GOOD["display_name"]


def test_rpss_own_jupyter_is_known_by_its_file(tmp_path: Path) -> None:
    """A link leads to it, as pipx and uv make it."""
    program, link = tmp_path / "jupyter", tmp_path / "link"
    program.touch()
    link.symlink_to(program)
    own = OwnPython({"jupyter": str(program), "prefix": "/data/python", "kernel": GOOD})
    assert own.is_served_by(str(link))
    assert not own.is_served_by(str(tmp_path / "another"))
    for entry in ({"jupyter": 7, "prefix": "/"}, {"jupyter": "/", "prefix": None}, {}):
        with pytest.raises((ValueError, TypeError, KeyError)):
            OwnPython({**entry, "kernel": GOOD})


@pytest.mark.parametrize(
    "change",
    [
        {"name": ".."},
        {"name": "../up"},
        {"name": "a b"},
        {"name": ""},
        {"name": "café"},
        {"name": 7},
        {"argv": "python"},
        {"argv": []},
        {"argv": ["python", 7]},
        {"argv": ["python\0"]},
        {"display_name": None},
        {"language": ["python"]},
        {"env": {"A": 1}},
        {"env": ["A"]},
        {"metadata": "x"},
        {"also": "/prefix"},
        {"also": [7]},
    ],
)
def test_what_is_no_kernelspec_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        KernelSpec({**GOOD, **change})
    with pytest.raises(TypeError):
        KernelSpec("kernel")  # type: ignore[arg-type]
