"""For which processor a program was built."""

import os
import sys
from pathlib import Path

import pytest

from rps_core.node.agent.architecture import other_machine
from rps_core.node.agent.events import End
from rps_core.node.agent.program import found, server_program

# The heads of ELF files (elf.h): 64 bits, little-endian, an executable of this e_machine.
AARCH64, X86_64, MIPS = (
    b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00" + bytes([machine, 0])
    for machine in (183, 62, 8)
)
OTHER, NAME = (X86_64, "x86_64") if os.uname().machine == "aarch64" else (AARCH64, "aarch64")


def program(path: Path, content: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return str(path)


def test_what_runs_here_is_for_this_machine(tmp_path: Path) -> None:
    assert other_machine(os.path.realpath("/bin/sh")) is None
    assert other_machine(program(tmp_path / "script", f"#!{sys.executable}\n".encode())) is None
    for damaged in (b"", b"\x7fELF", b"#!"):
        assert other_machine(program(tmp_path / "damaged", damaged)) is None
    assert other_machine(str(tmp_path / "nowhere")) is None


def test_a_program_for_another_machine_is_named(tmp_path: Path) -> None:
    assert other_machine(program(tmp_path / "python", OTHER)) == NAME
    assert other_machine(program(tmp_path / "m", MIPS)) == "another machine (8)"


def test_a_jupyter_for_another_machine_ends_the_session_in_words(tmp_path: Path) -> None:
    """Test a venv of the login node's kind, on nodes of another kind."""
    python = program(tmp_path / "it's a $(venv) ü" / "python", OTHER)
    jupyter = program(
        tmp_path / "it's a $(venv) ü" / "jupyter",
        f"#!/bin/sh\n'''exec' \"{python}\" \"$0\"\n".encode(),
    )
    with pytest.raises(End) as caught:
        found(jupyter)
    node = os.uname()
    assert (
        caught.value.reason
        == f"`{jupyter}` is for {NAME}, and this node, {node.nodename}, is {node.machine}"
    )
    with pytest.raises(End, match="cannot be run either"):
        server_program("no-such-jupyter", jupyter, "lab", str(tmp_path))
