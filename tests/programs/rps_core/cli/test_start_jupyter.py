"""The default account, asked of the scheduler once."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from rps_core.cli.main import rps


def test_the_default_account_is_cached_and_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first dry run asks `sacctmgr`, the second does not."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sacctmgr").write_text("#!/bin/sh\necho asked >>$0.log\necho 'abc999'\n")
    (programs / "sacctmgr").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("RPS_CLUSTER", "comet")
    for _ in range(2):
        done = CliRunner().invoke(rps, ["start", "--dry-run"], catch_exceptions=False)
        assert "#SBATCH --account=abc999" in done.output
    assert (programs / "sacctmgr.log").read_text() == "asked\n"
