"""Run programs in the session's container, and find out what its image has."""

import os
import shutil
from typing import List, Optional

from rps_core.node.agent.events import End, EndCause
from rps_core.node.agent.files import native
from rps_core.node.agent.kernelspec import KernelSpec
from rps_core.node.agent.program import found
from rps_core.node.agent.watch import Watch
from rps_core.node.agent.words import log

# Prints what the image has: the application, else a Python with a kernel, else nothing.
_LOOK = """
exec 2>/dev/null
if command -v "$0" >/dev/null && command -v "jupyter-$1" >/dev/null; then echo jupyter; exit; fi
for python in python3 python; do
    if "$python" -c "import ipykernel_launcher" >/dev/null; then echo "$python"; exit; fi
done
echo nothing
"""


class Container:
    """An image, and Apptainer or Singularity to run programs in it.

    Args:
        words: Apptainer's options and the image, which comes last.
        places: directories that it sees by the same path.

    Raises:
        End: neither is on this node.
    """

    def __init__(self, words: List[str], places: List[str]) -> None:
        self._runner = shutil.which("apptainer") or found("singularity")
        self._binds = [word for place in places for word in ("--bind", place)]
        self._words = [native(word) for word in words]
        self.image = words[-1]

    def command(self, *words: str) -> List[str]:
        """Return the command that runs a program inside."""
        return [self._runner, "exec", *self._binds, *self._words, *(native(word) for word in words)]

    def kernel_alone(
        self, program: str, app: str, watch: Watch, seconds: float
    ) -> Optional[KernelSpec]:
        """Return the image's kernel if it has no Jupyter to serve it; else None.

        Args:
            program: Jupyter's.
            app: its application.
            watch: waits for the answer.
            seconds: how long that may take: Apptainer may fetch the image.

        Raises:
            End: it has neither.
        """
        look = ["sh", "-c", _LOOK, program, app]
        answer = (watch.output_of(self.command(*look), seconds) or "").split()
        if not answer or answer[-1] == "jupyter":
            return None  # also if it cannot be run: its messages follow in the log
        if answer[-1] == "nothing":
            neither = "There is no program `jupyter-%s` and no ipykernel in the image %s"
            raise End(EndCause.START_FAILED, neither % (app, self.image))
        name = os.path.basename(self.image.rstrip("/"))
        log("the image %s has no jupyter-%s: serving its kernel from outside" % (name, app))
        kernel = [answer[-1], "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(
            {
                "name": "python3",
                "display_name": "%s (Python)" % name,
                "language": "python",
                "argv": self.command(*kernel),
                "metadata": {"debugger": True},
                "interrupt_mode": "message",  # a signal may reach Apptainer alone
            }
        )
