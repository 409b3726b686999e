"""The user's venv over rps's own Jupyter: made, repaired, and what its pip installs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import rps_core
from rps_core.environment import own

JUPYTER = Path(sys.executable).with_name("jupyter")
MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
PREPARE = (
    "import os, sys; os.umask(0); from pathlib import Path; from rps_core.environment import own\n"
    "found = own.prepare('local', Path(sys.argv[1]), [sys.argv[2]]); print(found.path)"
)


def run(*command: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **variables}, capture_output=True, text=True, check=True,
    )  # fmt: skip


def prepared(session: Path) -> tuple[Path, str]:
    """Return the venv's path, and what was printed for the user."""
    done = run(sys.executable, "-c", PREPARE, session, JUPYTER)
    return Path(done.stdout.strip()), done.stderr


def wheel(directory: Path, name: str, version: str) -> Path:
    """Write a wheel of one module, with a program of its name."""
    path = directory / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"version = {version!r}\ndef main(): print(version)\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(file, text)
    return path


def python(place: Path, code: str, **variables: str) -> str:
    return run(place / "bin" / "python", "-c", code, **variables).stdout.strip()


CLICK = "import click; print(click.__file__)"


def test_what_its_pip_installs_is_the_users_and_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test a package that rps imports: the launcher keeps its own, also when this one is removed."""
    configured = Path(os.environ["HOME"]) / ".config" / "pip" / "pip.conf"
    configured.parent.mkdir(parents=True)
    configured.write_text("[install]\nuser = true\n")  # as on clusters without venvs
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    before = run(sys.executable, "-c", CLICK).stdout.strip()
    place, printed = prepared(tmp_path)
    assert place == own.lasting_place("local")
    assert printed == ""
    for directory in (place, *place.parents[:2]):  # whatever the umask
        assert directory.stat().st_mode & 0o077 == 0
    assert python(place, CLICK) == before
    assert python(place, "import ipykernel_launcher, sys; print(sys.prefix)") == str(place)
    pip = place / "bin" / "pip"
    run(pip, "install", "--no-index", "--no-deps", wheel(tmp_path, "click", "7.0"))
    for _ in range(2):
        assert python(place, CLICK).startswith(str(place))
        assert python(place, CLICK, PYTHONNOUSERSITE="1").startswith(str(place))
        assert run(place / "bin" / "click").stdout == "7.0\n"
        assert run(sys.executable, "-c", CLICK).stdout.strip() == before
        # An upgrade of Python took it away, and rps is in another place: what is there is kept.
        for link in place.glob("bin/python*"):
            link.unlink()
        (place / "bin" / "python").symlink_to("/gone/bin/python")
        (place / "pyvenv.cfg").write_text("home = /gone/bin\n")
        (place / "lib" / f"python{MINOR}" / "site-packages" / "rps-jupyter.pth").write_text(
            "/gone\n"
        )
        assert prepared(tmp_path) == (place, "")
    removed = run(pip, "uninstall", "--yes", "click", "pluggy")
    assert "outside environment" in removed.stdout
    assert python(place, CLICK) == before
    assert run(sys.executable, "-c", CLICK).stdout.strip() == before


def test_one_that_is_whole_is_left_alone(tmp_path: Path) -> None:
    place, _ = prepared(tmp_path)
    seen = {path: path.lstat().st_ctime_ns for path in place.rglob("*")}
    assert prepared(tmp_path) == (place, "")
    assert {path: path.lstat().st_ctime_ns for path in place.rglob("*")} == seen
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_several_starts_at_once_make_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PREPARE, str(tmp_path), str(JUPYTER)]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    outputs = [process.communicate(timeout=120) for process in started]
    place = own.lasting_place("local")
    assert outputs == [(f"{place}\n", "")] * 4
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    assert python(place, "import ipykernel_launcher, sys; print(sys.prefix)") == str(place)


@pytest.mark.parametrize("fault", ["a file", "open to others"])
def test_a_home_that_cannot_have_it_leaves_the_session(tmp_path: Path, fault: str) -> None:
    parent = own.lasting_place("local").parent
    parent.parent.mkdir(parents=True)
    if fault == "a file":  # as a read-only home, or a full one
        parent.touch()
    else:
        parent.mkdir()
        parent.chmod(0o777)
    place, printed = prepared(tmp_path)
    assert place == tmp_path / "python"
    assert "what notebooks install ends with this session" in printed
    assert str(parent) in printed
    run(place / "bin" / "pip", "install", "--no-index", wheel(tmp_path, "tinypackage", "1.0"))
    assert python(place, "import tinypackage; print(tinypackage.version)") == "1.0"


def test_another_python_begins_without_the_packages_and_shows_how_to_get_them(
    tmp_path: Path,
) -> None:
    place = own.lasting_place("local")
    older = place.with_name(place.name.replace(MINOR, "3.9")) / "lib/python3.9/site-packages"
    (older / "tinypackage-1.0.dist-info").mkdir(parents=True)
    text = "Metadata-Version: 2.1\nName: tinypackage\nVersion: 1.0\n"
    (older / "tinypackage-1.0.dist-info" / "METADATA").write_text(text)
    other = older.parents[2].with_name(f"elsewhere-{os.uname().machine}-3.9")
    (other / "lib/python3.9/site-packages/x-1.dist-info").mkdir(parents=True)
    found, printed = prepared(tmp_path)
    assert found == place
    words, command = printed.strip().split("\n")
    assert words.startswith(
        f"Notebooks now have Python {MINOR}, without what they installed for python3.9"
    )
    wheel(tmp_path, "tinypackage", "1.0")
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    run("sh", "-c", command, **settings)
    assert python(place, "import tinypackage; print(tinypackage.version)") == "1.0"
    assert prepared(tmp_path) == (place, "")  # said once


def test_rpss_own_jupyter_is_known_by_the_python_that_runs_it(tmp_path: Path) -> None:
    bin_directory = Path(sys.executable).parent
    elsewhere = tmp_path / "jupyter"  # as `pip install --user` has them
    elsewhere.write_text(f"#!{bin_directory}/python{MINOR}\n")
    others = tmp_path / "others"
    others.write_text(f"#!{Path(sys.executable).resolve()}\n")  # what a venv's python leads to
    assert own.of_this_python([None, "jupyter", str(others), str(elsewhere)]) == str(elsewhere)
    assert own.of_this_python([None, "jupyter", str(others), "/nowhere"]) is None


def test_rps_in_a_python_of_the_system(tmp_path: Path) -> None:
    """Test `pip install --user`, where the base's packages and the user's are rps's."""
    base = Path(sys.base_prefix) / "bin" / f"python{MINOR}"
    code = "import sys; from pathlib import Path; from rps_core.environment import own\n"
    code += "own._complete(Path(sys.argv[1]))"
    tree = str(Path(rps_core.__file__).parents[1])
    run(base, "-c", code, tmp_path / "venv", PYTHONPATH=tree)
    answer: dict[str, Any] = json.loads(
        python(
            tmp_path / "venv",
            "import json, site, sys; "
            "print(json.dumps({'prefix': sys.prefix, 'user': site.ENABLE_USER_SITE, 'path': sys.path}))",
        )
    )
    assert answer["prefix"] == str(tmp_path / "venv")
    assert answer["user"]
    assert any(path.startswith(sys.base_prefix) and "-packages" in path for path in answer["path"])
