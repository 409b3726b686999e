"""The wheel that is written of the rps that runs."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rps_core.connect import wheels
from rps_core.connect.wheels import Target
from rps_core.errors import UsageError
from rps_core.version import __version__

TARGET = Target(python="3.11", machine="x86_64", glibc=28)


def test_pip_installs_it_and_it_runs(tmp_path: Path) -> None:
    """pip checks each file by the digests in RECORD."""
    wheel = wheels.write_own(tmp_path)
    assert wheel.name == f"rps_launcher-{__version__}-py3-none-any.whl"
    place = tmp_path / "installed"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-compile",
    ]
    subprocess.run([*pip, "--target", str(place), str(wheel)], check=True)
    code = "import rps_core.version as v, rps_conf; print(v.__version__, v.__file__)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [__version__, str(place / "rps_core" / "version.py")], done.stderr
    assert (place / "bin" / "rps").exists()
    names = zipfile.ZipFile(wheel).namelist()
    assert {"rps_core/py.typed", "rps_conf/defaults.yaml", "rps_core/node/agent/tab.js"} <= set(
        names
    )
    assert not [name for name in names if "__pycache__" in name]


def test_the_others_come_from_the_folder_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, directory = tmp_path / "folder", tmp_path / "gathered"
    folder.mkdir()
    directory.mkdir()
    monkeypatch.setenv("RPS_WHEELS", str(folder))
    with pytest.raises(UsageError, match="no wheels"):
        wheels.gather(directory, TARGET)
    for name in ("sh-2.4.0-py3-none-any.whl", "rps_launcher-0.0.9-py3-none-any.whl"):
        (folder / name).write_bytes(b"")
    wheels.gather(directory, TARGET)
    found = {path.name for path in directory.iterdir()}
    assert found == {"sh-2.4.0-py3-none-any.whl", f"rps_launcher-{__version__}-py3-none-any.whl"}


def test_platforms_are_those_of_the_c_library_there() -> None:
    assert TARGET.platforms == [
        "manylinux_2_17_x86_64", "manylinux_2_24_x86_64", "manylinux_2_26_x86_64", "manylinux_2_27_x86_64",
        "manylinux_2_28_x86_64", "manylinux2014_x86_64", "linux_x86_64",
    ]  # fmt: skip
