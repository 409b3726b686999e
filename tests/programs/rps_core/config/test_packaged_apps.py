"""The shell of the packaged row of RStudio, with programs in place of `rserver`."""

from __future__ import annotations

import getpass
import os
import subprocess
from pathlib import Path

from rps_core.config.packaged_apps import PACKAGED

# What `rserver --help` has of `www-socket` from 2024.12 on (rstudio/rstudio, pull request 14938).
OPTION = "  --www-socket arg            The Unix domain socket to listen on."


def start(tmp_path: Path, known: str) -> tuple[int, str]:
    """Run the row with an `rserver` whose help has that line; return its exit code and output."""
    program = tmp_path / "rserver"
    program.write_text(
        f"#!/bin/sh\nif [ \"$1\" = --help ]; then echo '{known}'; exit; fi\nprintf '%s\\n' \"$@\"\n"
    )
    program.chmod(0o755)
    data = tmp_path / "data $(x)"
    data.mkdir()
    values = {"{data}": str(data), "{unix_socket}": str(tmp_path / "socket"), "{prefix}": "/app/x"}
    command = [values.get(word, word) for word in PACKAGED["rstudio"]["command"]]
    done = subprocess.run(
        command, env={"PATH": f"{tmp_path}:{os.defpath}"}, capture_output=True, text=True
    )
    return done.returncode, done.stdout


def test_an_rserver_without_unix_sockets_is_refused_in_words(tmp_path: Path) -> None:
    code, shown = start(tmp_path, "  --www-port arg              The port to bind to.")
    assert code == 1
    assert "RStudio Server 2024.12 or newer is needed" in shown


def test_another_gets_its_socket_its_data_and_the_user_without_the_variable(tmp_path: Path) -> None:
    code, shown = start(tmp_path, OPTION)
    assert code == 0
    data = tmp_path / "data $(x)"
    options = shown.splitlines()
    assert f"--www-socket={tmp_path}/socket" in options
    assert "--www-root-path=/app/x/" in options
    assert f"--server-user={getpass.getuser()}" in options
    assert f"--server-data-dir={data}" in options
    assert (data / "database.conf").read_text() == f"provider=sqlite\ndirectory={data}\n"
    assert (data / "database.conf").stat().st_mode & 0o777 == 0o600
