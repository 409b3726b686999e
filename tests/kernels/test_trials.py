"""How the way to a kernel is found by trying, with Jupyter's own kernel manager and real kernels."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from jupyter_server.services.kernels.kernelmanager import (
    AsyncMappingKernelManager,
    MappingKernelManager,
)

from rps_core.node.agent import kernel_start
from rps_core.node.agent.sockets import make_sockets_directory, remove_sockets_directory

sys.modules.setdefault("rps_kernel_start", kernel_start)  # as jupyter_config.py does
from rps_core.node.agent.kernel_transport import Transports, install  # noqa: E402

CURVE = {"supported_encryption": "curve"}
# Starts, and neither listens nor ends, if its connection file asks for Unix sockets.
SILENT = f"""grep -q '"ipc"' "$0" && exec sleep 600; exec {sys.executable} -m ipykernel_launcher -f "$0" """
# Without the packages of its environment.
BROKEN = (sys.executable, "-S", "-m", "ipykernel_launcher", "-f", "{connection_file}")


@pytest.fixture
def transports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Transports]:
    """Yield what a session gives its kernels, in this process."""
    monkeypatch.setattr(KernelManager, "__init__", KernelManager.__init__)
    monkeypatch.setattr(MappingKernelManager, "start_kernel", MappingKernelManager.start_kernel)
    sockets = make_sockets_directory(str(tmp_path))
    one = Transports(sockets, True, str(tmp_path / "kernels.json"), True)
    install(one, KernelManager, MappingKernelManager)
    yield one
    remove_sockets_directory(str(tmp_path))


def started(directory: Path, *argv: str, **metadata: object) -> tuple[Any, bool]:
    """Start a kernel; return its manager, and whether it lives."""
    spec = {"argv": argv, "display_name": "tried", "language": "any", "metadata": metadata}
    (directory / "kernels/tried").mkdir(parents=True, exist_ok=True)
    (directory / "kernels/tried/kernel.json").write_text(json.dumps(spec))

    async def start() -> tuple[Any, bool]:
        specs = KernelSpecManager(kernel_dirs=[str(directory / "kernels")])
        make: Any = AsyncMappingKernelManager
        kernels = make(
            kernel_spec_manager=specs, root_dir=str(directory), connection_dir=str(directory)
        )
        kernel = await kernels.start_kernel(kernel_name="tried")
        manager: Any = kernels.get_kernel(kernel)
        lives = await manager.is_alive()
        await kernels.shutdown_kernel(kernel, now=True)
        return manager, lives

    return asyncio.run(start())


def test_a_kernel_that_does_not_keep_its_word_about_encryption(
    transports: Transports, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    need: Callable[[str], str],
) -> None:  # fmt: skip
    """Test IRkernel, which listens without encryption whatever its connection file says."""
    argv = (need("R"), "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}")
    manager, lives = started(tmp_path, *argv, **CURVE)
    assert lives
    assert manager.transport == "ipc"
    assert list(transports.learned.values()) == ["ipc"]
    said = "did not start over encrypted TCP: it listens and does not answer. Trying Unix sockets"
    assert said in capfd.readouterr().err
    started(tmp_path, *argv, **CURVE)
    assert capfd.readouterr().err.count("did not start") == 0  # it is known


def test_a_kernel_that_only_waits(
    transports: Transports, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    transports.patience = 0.5
    manager, lives = started(tmp_path, "/bin/sh", "-c", SILENT, "{connection_file}")
    assert lives
    assert manager.transport == "tcp"
    error = capfd.readouterr().err
    assert (
        "kernel tried did not start over Unix sockets: no heartbeat within 0 s. Trying TCP" in error
    )


@pytest.mark.parametrize("argv", [("/bin/false", "{connection_file}"), BROKEN])
@pytest.mark.parametrize("metadata", [{}, CURVE])
def test_of_a_kernel_that_always_ends_nothing_is_learned(
    transports: Transports, tmp_path: Path, argv: tuple[str, ...], metadata: dict[str, object]
) -> None:
    """Test that Jupyter reports it as it does without rps, which restarts it."""
    lives = started(tmp_path, *argv, **metadata)[1]
    assert not lives
    assert transports.learned == {}
    assert transports.failed == {}


def test_a_broken_ipykernel_is_not_refused_where_tcp_is_forbidden(
    transports: Transports, tmp_path: Path
) -> None:
    """Test that Jupyter shows why it ended, and not that it needs TCP."""
    transports.tcp = False
    assert started(tmp_path, *BROKEN)[1] is False
