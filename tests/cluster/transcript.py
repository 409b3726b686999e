"""What somebody typed and saw, kept as a page of documentation."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

_PREFACE = """\
# A session on {site}, as it was

Written by `{test}`
from a run on the test cluster, whose hosts are made of namespaces and share two compute nodes.
{scheduler}
Nothing was edited but {edited}.
"""
_TOKEN = re.compile(r"token=[0-9a-f]{32}")


class Transcript:
    """A page in the making."""

    def __init__(
        self, site: str, test: str, scheduler: str, installation: Path | None = None
    ) -> None:
        """`scheduler` is a sentence on what it really is. Where the page would show where rps is installed,
        `installation`, it shows a path of an administrator's choice."""
        edited = "the path of the installation" if installation else "the token in the URL"
        self._text = _PREFACE.format(site=site, test=test, scheduler=scheduler, edited=edited)
        self._installation = installation

    def say(self, sentence: str) -> None:
        """Prose, between commands."""
        self._text += f"\n{sentence}\n"

    def command(self, prompt: str, done: subprocess.CompletedProcess[str], typed: str) -> None:
        """A command with all that it printed, stderr first, as `rps` does it."""
        self._block("console", f"{prompt} {typed}\n{done.stderr}{done.stdout}")

    def screen(self, text: str, token: str = "") -> None:
        """A terminal as it looked; the token of a URL on it may be broken by the end of a line."""
        broken = re.compile("\n?".join(token))
        self._block("text", broken.sub("…", text) if token else text)

    def cell(self, code: str, output: str) -> None:
        """A cell of a notebook and what it printed."""
        self._block("python", code)
        self._block("text", output)

    def write(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(self._text)

    def _block(self, language: str, text: str) -> None:
        if self._installation:
            text = text.replace(str(self._installation), "/opt/rps")
        shown = _TOKEN.sub("token=…", text.rstrip("\n"))
        self._text += f"\n```{language}\n{shown}\n```\n"
