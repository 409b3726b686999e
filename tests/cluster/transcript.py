"""Record commands and their output as a page of documentation."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

_PREFACE = """\
# A session on {site}

Recorded by `{test}`
on the test cluster, whose hosts are network namespaces and share two compute nodes.
{scheduler}
Only {edited} was edited.
"""
_TOKEN = re.compile(r"token=[0-9a-f]{32}")


class Transcript:
    """A page that is being written."""

    def __init__(
        self, site: str, test: str, scheduler: str, installation: Path | None = None
    ) -> None:
        """Begin the page.

        Args:
            site: the title.
            test: the test that records it.
            scheduler: a sentence that describes the scheduler.
            installation: a path that the page replaces by `/opt/rps`.
        """
        edited = "the token in the URL"
        if installation:
            edited += ", where there is one, and the path of the installation"
        self._text = _PREFACE.format(site=site, test=test, scheduler=scheduler, edited=edited)
        self._installation = installation

    def say(self, sentence: str) -> None:
        """Add prose between commands."""
        self._text += f"\n{sentence}\n"

    def command(self, prompt: str, done: subprocess.CompletedProcess[str], typed: str) -> None:
        """Add a command and its output, stderr first."""
        self._block("console", f"{prompt} {typed}\n{done.stderr}{done.stdout}")

    def screen(self, text: str, token: str = "") -> None:
        """Add a screen; the end of a line may break the token of a URL."""
        broken = re.compile("\n?".join(token))
        self._block("text", broken.sub("…", text) if token else text)

    def cell(self, code: str, output: str) -> None:
        """Add a notebook cell and its output."""
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
