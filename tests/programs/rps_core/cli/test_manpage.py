"""The manual page, rendered by groff."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from rps_core.cli import manpage as manual
from rps_core.cli.main import rps


def test_roff_renders_it_without_a_warning(tmp_path: Path, need: Callable[[str], str]) -> None:
    (tmp_path / "rps.1").write_text(manual.page(rps))
    groff = [need("groff"), "-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=100n"]
    done = subprocess.run(
        [*groff, str(tmp_path / "rps.1")], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    shown = " ".join(done.stdout.split())
    assert "-p, --partition NAME Partition or queue (default: the scheduler's)." in shown
    assert "rps start detects the cluster" in shown
    assert "~/.config/rps/config.yaml" in shown
