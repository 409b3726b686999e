"""`rps proxy`, run: what its help loads, and the personal service's certificate."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stands.namespaces import own_mounts, small_disk


def test_help_loads_nothing_but_click() -> None:
    code = (
        "import sys; from rps_proxy.cli.main import proxy; proxy(['--help'], standalone_mode=False);"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in"
        " ('aiohttp', 'asyncio', 'uvloop', 'cryptography', 'omegaconf', 'yaml', 'sqlite3')))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.splitlines()[-1] == "[]", run.stderr
    for command in ("serve", "ca", "status"):
        assert command in run.stdout


def test_a_service_loads_the_library_of_its_metrics_with_their_first_request() -> None:
    """`rps start` waits for a personal service to start."""
    code = "import sys, rps_proxy.server.serve, rps_proxy.personal.daemon; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = run.stdout.split()
    assert "rps_proxy.control.metrics" in loaded
    assert "prometheus_client" not in loaded


def test_ca_prints_the_path_of_the_certificate() -> None:
    code = "from rps_proxy.cli.main import proxy; proxy()"
    run = subprocess.run(
        [sys.executable, "-c", code, "ca"], capture_output=True, text=True, timeout=60
    )
    path = Path(run.stdout.strip())
    assert path == Path(os.environ["XDG_DATA_HOME"]) / "rps" / "ca" / "rps.localhost" / "ca.pem"
    assert path.read_text().startswith("-----BEGIN CERTIFICATE-----")


def test_ca_is_that_of_the_users_own_service(tmp_path: Path) -> None:
    """Test `tls.ca_directory` of the user's proxy.yaml, which the personal service reads."""
    file = Path(os.environ["XDG_CONFIG_HOME"]) / "rps" / "proxy.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(f"tls: {{ca_directory: {tmp_path}/mine}}\n")
    code = "from rps_proxy.cli.main import proxy; proxy()"
    run = subprocess.run([sys.executable, "-c", code, "ca"], capture_output=True, text=True)
    assert run.stdout == f"{tmp_path}/mine/ca.pem\n", run.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="a disk of a test's own needs root")
def test_ca_on_a_full_disk_is_one_sentence() -> None:
    data = Path(os.environ["XDG_DATA_HOME"])
    data.mkdir(parents=True)
    with own_mounts():
        small_disk(data, "4k")
        (data / "full").write_bytes(bytes(4096))
        run = subprocess.run(
            [sys.executable, "-c", "from rps_core.cli.entry import rps; rps()", "proxy", "ca"],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert run.returncode == 2
    first, second = run.stderr.splitlines()
    assert first.startswith(f"rps: {data}/rps/ca/rps.localhost/")
    assert first.endswith(": No space left on device")
    assert "free some disk space" in second
