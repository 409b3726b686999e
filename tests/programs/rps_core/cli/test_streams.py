"""Standard output as a user's locale has it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rps_core.state.record import Secrets
from rps_core.state.store import Store
from tests.stands.record import RECORD


def test_a_log_with_characters_that_the_locale_does_not_have(tmp_path: Path) -> None:
    """Jupyter draws with them; a locale of ISO 8859-1 is no reason to end."""
    store = Store(tmp_path / "rps" / "sessions")
    store.directory.mkdir(parents=True)
    files = store.create(RECORD, Secrets("claim", "token"))
    files.log_file.write_text("caf\u00e9 \u2588\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "rps_core.cli.main", "logs", RECORD.name],
        env={"XDG_STATE_HOME": str(tmp_path), "PYTHONIOENCODING": "iso8859-1"},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"caf\xe9 \\u2588\n"
