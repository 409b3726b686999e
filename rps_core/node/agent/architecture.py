"""Find out for which processor a program was built: a home can be shared by machines of several kinds."""

import os
from typing import Optional

from rps_core.node.agent.files import interpreters

# e_machine of ELF (elf.h) by the names of uname(2), each with what that machine runs.
_MACHINES = {"x86_64": (62, 3), "aarch64": (183, 40), "ppc64le": (21,), "riscv64": (243,)}
_NAMES = {62: "x86_64", 3: "i386", 183: "aarch64", 40: "arm", 21: "ppc64le", 243: "riscv64"}


def other_machine(program: str) -> Optional[str]:
    """Return the architecture that a program, or a script's interpreter, is for; None: it runs here."""
    runs = _MACHINES.get(os.uname().machine)
    try:
        with open((interpreters(program) or [program])[-1], "rb") as file:
            head = file.read(20)
    except OSError:
        return None
    if runs is None or head[:4] != b"\x7fELF" or len(head) < 20:
        return None
    machine = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    return None if machine in runs else _NAMES.get(machine, "another machine (%d)" % machine)
