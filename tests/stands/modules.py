"""Real Environment Modules and Lmod, as a shell gets them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Debian's packages exclude each other, so `make system` unpacks both here.
UNPACKED = Path("/usr/local/lib/rps-tests")
MODULECMD = UNPACKED / "environment-modules/usr/lib/x86_64-linux-gnu/modulecmd.tcl"
LMOD = UNPACKED / "lmod/usr/share/lmod"
_INIT = {
    "Environment Modules": f'eval "$(tclsh8.6 {MODULECMD} bash autoinit)"\n',
    # The real modulecmd behind the function of init/bash in 3.2.10, which has no exit code of its own: of a
    # load that fails, 3.2's modulecmd prints no text, Debian's (5.2) `test 0 = 1;`.
    "Environment Modules 3.2": (
        f'module() {{ eval `tclsh8.6 {MODULECMD} bash $* | sed "s/^test 0 = 1;$//"`; }}\n'
    ),
}
KINDS = [*_INIT, "Lmod"]


def init(kind: str) -> str:
    """Return what a shell reads to have the command `module`."""
    if not UNPACKED.is_dir():
        message = f"{kind} is not unpacked (`make system` does it as root)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    if kind in _INIT:
        return _INIT[kind]
    text = (LMOD / "lmod/init/bash").read_text()
    return text.replace("/usr/share/lmod", str(LMOD))
