"""Write the packages of a conda channel, with the Python that runs this file: no other has to be installed.

python conda_packages.py CHANNEL SUBDIR
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import os
import sys
import sysconfig
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
VERSION = ".".join(map(str, sys.version_info[:3]))
_LIBRARY = f"lib/python{MINOR}"
_LEFT_OUT = {
    "site-packages", "dist-packages", "sitecustomize.py", "test", "tests", "idlelib", "tkinter", "lib2to3",
    "ensurepip", "turtledemo", "__pycache__", "EXTERNALLY-MANAGED",
}  # fmt: skip
# As Debian's Python has no site-packages of its own below its prefix.
_SITE = f"""\
import os, site, sys
site.addsitedir(os.path.join(sys.prefix, "lib", "python{MINOR}", "site-packages"))
"""
# conda-forge's feedstocks of libgdal and proj have such scripts (recipe/scripts/activate.sh).
_ACTIVATE = """\
export GDAL_DATA="$CONDA_PREFIX/share/gdal"
export ACTIVATED="${ACTIVATED-}once "
read -r line && export TOOK_A_LINE="$line"
"""


def write(native: Path, noarch: Path) -> None:
    """Write the packages of a platform, and those of all."""
    for directory in (native, noarch):
        directory.mkdir(parents=True)
    _python(native)
    packages: dict[str, Mapping[str, bytes | str]] = {"ipykernel": _ipykernel(), "pip": {}}
    for name, more in packages.items():
        files = {**_installed(name), **more}
        depends = [f"python {MINOR}.*"]
        _package(
            noarch, name, importlib.metadata.version(name), files, depends=depends, noarch="python"
        )
    six = {"site-packages/six.py": b"__version__ = '1.17.0'\n"}
    _package(noarch, "six", "1.17.0", six, depends=["python"], noarch="python")
    data = {
        "etc/conda/activate.d/gdal.sh": _ACTIVATE.encode(),
        "etc/conda/env_vars.d/gdal-data.json": json.dumps(
            {"OF_A_PACKAGE": 'it\'s $HOME "é"'}
        ).encode(),
    }  # conda/activate.py:813-862 reads the variables of packages there
    _package(noarch, "gdal-data", "3.9", data)
    spec = {
        "argv": ["R", "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}"],
        "display_name": "R",
        "language": "R",
    }
    _package(noarch, "r-irkernel", "1.3.2", {
        "bin/R": b"#!/bin/sh\nexec true\n", "share/jupyter/kernels/ir/kernel.json": json.dumps(spec).encode(),
    })  # fmt: skip


def _python(directory: Path) -> None:
    """Write the package of Python: the interpreter, links to its library, and site-packages."""
    executable = os.path.realpath(sys._base_executable)  # type: ignore[attr-defined]
    library = Path(sysconfig.get_path("stdlib"))
    files: dict[str, bytes | str] = {
        f"bin/python{MINOR}": Path(executable).read_bytes(),
        "bin/python": f"python{MINOR}",
        "bin/python3": f"python{MINOR}",
        f"{_LIBRARY}/sitecustomize.py": _SITE.encode(),
        f"{_LIBRARY}/site-packages/README.txt": b"as of CPython\n",
    }
    # Links to files alone: conda itself links no directory.
    for place, directories, names in os.walk(library):
        directories[:] = [name for name in directories if name not in _LEFT_OUT]
        for name in names:
            if name not in _LEFT_OUT:
                path = Path(place, name)
                files[f"{_LIBRARY}/{path.relative_to(library)}"] = str(path)
    _package(
        directory,
        "python",
        VERSION,
        files,
        build="h1_0_cpython",
        constrains=[f"python_abi {MINOR}.*"],
    )


def _ipykernel() -> dict[str, bytes | str]:
    """Return what its package has beside the wheel's; what it needs is found where the tests have it."""
    argv = ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Python 3", "language": "python"}
    theirs = importlib.metadata.distribution("ipykernel").locate_file("")
    return {
        "share/jupyter/kernels/python3/kernel.json": json.dumps(spec).encode(),
        "site-packages/what-ipykernel-needs.pth": f"{theirs}\n".encode(),
    }


def _installed(name: str) -> dict[str, bytes | str]:
    """Return the files of a distribution that the tests have, for a package without a platform."""
    distribution = importlib.metadata.distribution(name)
    named = ((file, Path(str(distribution.locate_file(file)))) for file in distribution.files or ())
    return {
        f"site-packages/{file}": source.read_bytes()
        for file, source in named
        if ".." not in file.parts and file.suffix != ".pyc" and source.is_file()
    }


def _package(
    directory: Path,
    name: str,
    version: str,
    files: Mapping[str, bytes | str],
    *,
    build: str = "0",
    depends: list[str] | None = None,
    **more: Any,
) -> None:
    """Write a package: the bytes of each file, or where a link leads.

    https://docs.conda.io/projects/conda-build/en/stable/resources/package-spec.html
    """
    index = {
        "name": name, "version": version, "build": build, "build_number": 0, "depends": depends or [],
        "subdir": directory.name, "license": "BSD-3-Clause", "timestamp": 1764000000000, **more,
    }  # fmt: skip
    paths = [_path(path, content) for path, content in sorted(files.items())]
    about = {
        "info/index.json": index,
        "info/paths.json": {"paths": paths, "paths_version": 1},
        "info/about.json": {"summary": f"{name}, for tests"},
    }
    contents: dict[str, bytes | str] = {
        path: json.dumps(value).encode() for path, value in about.items()
    }
    contents["info/files"] = "".join(f"{path['_path']}\n" for path in paths).encode()
    if more.get("noarch") == "python":
        scripts = ["pip = pip._internal.cli.main:main"] if name == "pip" else []
        link = {
            "noarch": {"type": "python", "entry_points": scripts},
            "package_metadata_version": 1,
        }
        contents["info/link.json"] = json.dumps(link).encode()
    with tarfile.open(
        directory / f"{name}-{version}-{build}.tar.bz2", "w:bz2", compresslevel=1
    ) as archive:
        for path, content in {**contents, **files}.items():
            member = tarfile.TarInfo(path)
            member.mode = 0o755 if path.startswith("bin/") else 0o644
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def _path(path: str, content: bytes | str) -> dict[str, Any]:
    """Return a file's entry of paths.json."""
    if isinstance(content, str):
        return {
            "_path": path,
            "path_type": "softlink",
            "sha256": hashlib.sha256(b"").hexdigest(),
            "size_in_bytes": 0,
        }
    digest = hashlib.sha256(content).hexdigest()
    return {"_path": path, "path_type": "hardlink", "sha256": digest, "size_in_bytes": len(content)}


if __name__ == "__main__":
    write(Path(sys.argv[1], sys.argv[2]), Path(sys.argv[1], "noarch"))
