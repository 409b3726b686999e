"""The node agent's processes, threads and ports."""

from __future__ import annotations

import socket
import threading

import pytest

from rps_core.node.agent.events import End
from rps_core.node.agent.jupyter import check_port_range, free_port
from rps_core.node.agent.wake import in_thread


def test_without_a_thread_the_work_is_done_all_the_same() -> None:
    done: list[bool] = []
    worker = in_thread(lambda: done.append(threading.current_thread().daemon))
    assert worker is not None
    worker.join()
    size = threading.stack_size(1 << 46)  # more than there is room for
    try:
        assert in_thread(lambda: done.append(threading.current_thread().daemon)) is None
    finally:
        threading.stack_size(size)
    assert done == [True, False]


def test_a_free_port_is_within_its_range() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", [port, port]) is None
    assert free_port("127.0.0.1", [port, port]) == port
    assert free_port("127.0.0.1", None) not in (None, 0)


@pytest.mark.parametrize(
    "damaged", [7, "20000-40000", [], [20000], [1, 2, 3], [40000, 20000], [0, 9], [9, 65536],
                ["1", "2"], [1.5, 2.5], [True, 9], [None, None]],
)  # fmt: skip
def test_a_port_range_that_is_none_is_reported(damaged: object) -> None:
    with pytest.raises(End, match="port range"):
        check_port_range(damaged)


@pytest.mark.parametrize("given", [None, [1, 65535], [20000, 20000]])
def test_a_port_range(given: object) -> None:
    check_port_range(given)
