"""The page of the manual: it has every command, and roff has nothing to complain of."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import click

from rps_core import manual
from rps_core.cli import rps


def test_the_page_has_every_command_with_its_own_options() -> None:
    page = manual.page(rps)
    sections = {part.split(" [")[0].split("\n")[0]: part for part in page.split("\n.SS ")[1:]}
    assert set(sections) == {name for name, _ in manual._leaves(rps, "rps")}
    assert {"rps start", "rps again", "rps proxy serve", "rps proxy engine check"} <= set(sections)
    start = sections["rps start"]
    for parameter in rps.commands["start"].params:
        if isinstance(parameter, click.Option) and parameter.name not in ("cluster", "assignments"):
            flag = max(parameter.opts, key=len).replace("-", "\\-")
            assert flag in start or flag in page.partition(".SH COMMANDS")[0], flag
    assert "\\-\\-refresh" not in page  # hidden


def test_roff_renders_it_without_a_warning(tmp_path: Path, need: Callable[[str], str]) -> None:
    (tmp_path / "rps.1").write_text(manual.page(rps))
    groff = [need("groff"), "-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=100n"]
    done = subprocess.run(
        [*groff, str(tmp_path / "rps.1")], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    shown = " ".join(done.stdout.split())
    assert "-p, --partition NAME The partition or queue." in shown
    assert "rps start finds out which cluster it is on" in shown
    assert "~/.config/rps/config.yaml" in shown
