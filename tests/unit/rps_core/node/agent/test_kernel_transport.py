"""How a kernel is reached: what its kernelspec says, what was learned, what the site allows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpec
from tornado.web import HTTPError

from rps_core.node.agent import kernel_start

sys.modules.setdefault("rps_kernel_start", kernel_start)  # as jupyter_config.py does
from rps_core.node.agent.kernel_transport import (  # noqa: E402
    CURVE,
    IPC,
    TCP,
    Transports,
    digest,
    knows_ipc,
    read_memory,
)

ENCRYPTS = {"supported_encryption": ["curve"]}


def spec(*argv: str, **metadata: object) -> KernelSpec:
    return KernelSpec(argv=list(argv), display_name="x", language="x", metadata=metadata)


def transports(memory: Path | None = None, *, tcp: bool = True, curve: bool = True) -> Transports:
    return Transports("/tmp/rps-01234567", tcp, str(memory or ""), curve)


def prepared(one: Transports, kernel: KernelSpec) -> Any:
    """Return a manager of this kernel as Jupyter makes it, prepared."""
    manager = SimpleNamespace(kernel_spec=kernel, kernel_name="x", transport="tcp", ip="")
    one.prepare(manager)
    return manager


@pytest.mark.parametrize(
    ("argv", "known"),
    [
        (["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"], True),
        (["/opt/python3.12", "-Xfrozen_modules=off", "-m", "ipykernel", "-f", "x"], True),
        (["/env/bin/python3", "-m", "bash_kernel", "-f", "x"], True),
        (["R", "--slave", "-e", "IRkernel::main()", "--args", "x"], True),
        (["/usr/bin/java", "-jar", "ijava.jar", "x"], False),
        (["/opt/deno", "jupyter", "--kernel", "--conn", "x"], False),
        (["python", "-m", "run_kotlin_kernel", "x"], False),
        (["python", "-m", "remote_ikernel", "x"], False),
        # What runs the kernel elsewhere is not the kernel.
        (["apptainer", "exec", "image", "python", "-m", "ipykernel_launcher", "-f", "x"], None),
        (["/home/java/bin/python", "-m", "xpython_launcher", "-f", "x"], None),
        (["python", "-m"], None),
        ([], None),
    ],
)
def test_a_kernel_is_known_by_its_program(argv: list[str], known: bool | None) -> None:
    assert knows_ipc(argv) is known


@pytest.mark.parametrize(
    ("argv", "metadata", "ways"),
    [
        (("python", "-m", "ipykernel_launcher"), ENCRYPTS, [CURVE, IPC, TCP]),
        (("python", "-m", "ipykernel_launcher"), {}, [IPC, TCP]),
        (("python", "-m", "ipykernel_launcher"), {"supported_encryption": "curve"}, [CURVE, IPC, TCP]),
        (("python", "-m", "ipykernel_launcher"), {"supported_encryption": ["other"]}, [IPC, TCP]),
        (("java",), {}, [TCP]),
        (("java",), ENCRYPTS, [CURVE, TCP]),
        (("java",), {"rps": {"transport": "ipc"}}, [IPC]),
        (("unknown",), {"rps": {"transport": "tcp"}}, [TCP]),
        (("unknown",), {"rps": {"transport": "udp"}}, [IPC, TCP]),
        (("unknown",), {"rps": "tcp"}, [IPC, TCP]),
    ],
)  # fmt: skip
def test_the_ways_to_try(
    argv: tuple[str, ...], metadata: dict[str, object], ways: list[str]
) -> None:
    assert transports().ways(spec(*argv, **metadata)) == ways
    without = [way for way in ways if way != CURVE]
    assert transports(curve=False).ways(spec(*argv, **metadata)) == without


def test_what_was_learned_is_remembered_for_this_kernelspec_alone(tmp_path: Path) -> None:
    memory = tmp_path / "kernels.json"
    one = transports(memory)
    one.remember(digest(spec("unknown")), TCP)
    transports(memory).remember(digest(spec("encrypts", **ENCRYPTS)), CURVE)
    later = transports(memory)
    assert later.ways(spec("unknown")) == [TCP]
    assert later.ways(spec("unknown", changed=True)) == [IPC, TCP]
    assert later.ways(spec("encrypts", **ENCRYPTS)) == [CURVE]
    # An older Jupyter, which cannot encrypt.
    assert transports(memory, curve=False).ways(spec("encrypts", **ENCRYPTS)) == [IPC, TCP]
    assert memory.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.glob("kernels*")) == [memory]


@pytest.mark.parametrize("content", ["", "[]", '{"a": "udp"}', '{"a": ["tcp"]}', "[" * 5000])
def test_a_damaged_memory_is_none(tmp_path: Path, content: str) -> None:
    memory = tmp_path / "kernels.json"
    memory.write_text(content)
    assert read_memory(str(memory)) == {}


def test_a_memory_that_cannot_be_written_stops_no_kernel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = transports(tmp_path / "nowhere" / "kernels.json")
    one.remember("a", TCP)
    assert "rps: could not remember how kernels start: " in capsys.readouterr().err
    assert one.learned == {"a": TCP}


def test_a_kernel_gets_its_way() -> None:
    one = transports()
    first, second = prepared(one, spec("unknown")), prepared(one, spec("unknown"))
    assert (first.transport, first.ip) == ("ipc", "/tmp/rps-01234567/1")
    assert second.ip == "/tmp/rps-01234567/2"  # its own
    assert (first.rps_trial.way, first.rps_trial.others) == (IPC, [TCP])
    manager = prepared(one, spec("encrypts", **ENCRYPTS))
    assert (manager.transport, manager.ip) == ("tcp", "127.0.0.1")
    assert manager.transport_encryption == "auto"


def test_the_log_says_who_reads_a_tcp_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    manager = prepared(transports(), spec("java"))
    assert (manager.transport, manager.ip, manager.rps_trial) == ("tcp", "127.0.0.1", None)
    assert "other users of this node can read what it prints" in capsys.readouterr().err


def test_a_site_forbids_kernels_over_tcp() -> None:
    one = transports(tcp=False)
    with pytest.raises(HTTPError, match=r"limits.tcp_kernels\), and kernel x needs it"):
        prepared(one, spec("java"))
    with pytest.raises(HTTPError, match="its provisioner slurm connects it"):
        prepared(one, spec("python", kernel_provisioner={"provisioner_name": "slurm"}))
    assert prepared(one, spec("unknown")).transport == "ipc"
    assert prepared(one, spec("java", **ENCRYPTS)).transport_encryption == "auto"


@pytest.mark.parametrize("provisioner", ["local-provisioner", None])
def test_a_provisioner_for_other_hosts_connects_its_kernels(provisioner: str | None) -> None:
    elsewhere = spec("python", kernel_provisioner={"provisioner_name": "slurm"})
    manager = prepared(transports(), elsewhere)
    assert (manager.transport, manager.ip) == ("tcp", "")  # Jupyter's own, untouched
    local = spec("python", kernel_provisioner={"provisioner_name": provisioner})
    assert prepared(transports(), local).transport == "ipc"


def test_the_memory_keeps_the_newest(tmp_path: Path) -> None:
    memory = tmp_path / "kernels.json"
    memory.write_text(json.dumps({str(number): IPC for number in range(300)}))
    transports(memory).remember("new", TCP)
    kept = read_memory(str(memory))
    assert len(kept) == 200
    assert kept["new"] == TCP
    assert "0" not in kept
