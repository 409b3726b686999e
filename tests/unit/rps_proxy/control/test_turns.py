"""Turns that sources share fairly."""

from __future__ import annotations

import asyncio

import pytest

from rps_proxy.control.turns import FairTurns
from rps_proxy.refusals import Refusal, RefusedError


class Stage:
    """Requests that hold a turn until released; `began` has their sources in order."""

    def __init__(self, at_once: int, most_waiting: int) -> None:
        self.turns = FairTurns(at_once, most_waiting, Refusal.MUNGE_BUSY)
        self.began: list[str] = []
        self._on: dict[asyncio.Task[None], asyncio.Event] = {}

    async def ask(self, source: str) -> asyncio.Task[None]:
        go_on = asyncio.Event()

        async def request() -> None:
            async with self.turns.of(source):
                self.began.append(source)
                await go_on.wait()

        task = asyncio.create_task(request())
        self._on[task] = go_on
        await settle()
        return task

    async def end_all(self) -> None:
        while self._on:
            for task, go_on in list(self._on.items()):
                go_on.set()
                await settle()
                if task.done():
                    del self._on[task]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_asks_most_waits_longest() -> None:
    stage = Stage(1, 10)
    for _ in range(8):
        await stage.ask("hostile")
    for source in ("a", "b", "a"):
        await stage.ask(source)
    await stage.end_all()
    assert stage.began[:6] == ["hostile", "hostile", "a", "b", "hostile", "a"]
    assert len(stage.began) == 11


async def test_a_source_has_a_short_queue() -> None:
    stage = Stage(1, 3)
    tasks = [await stage.ask("hostile") for _ in range(4)]
    refused = await stage.ask("hostile")
    error = refused.exception()
    assert isinstance(error, RefusedError)
    assert error.code is Refusal.MUNGE_BUSY
    other = await stage.ask("a")
    assert not other.done()
    await stage.end_all()
    await asyncio.gather(*tasks, other)


async def test_a_turn_is_not_lost_with_who_leaves() -> None:
    stage = Stage(1, 10)
    first, second = await stage.ask("a"), await stage.ask("a")
    second.cancel()  # while it waits
    await settle()
    third, fourth = await stage.ask("b"), await stage.ask("c")
    first.cancel()  # its turn goes to `third`, which leaves as it comes
    third.cancel()
    await settle()
    assert stage.began == ["a", "c"]
    fourth.cancel()
    await settle()
    await stage.ask("d")
    assert stage.began == ["a", "c", "d"]
    await stage.end_all()
    with pytest.raises(asyncio.CancelledError):
        await third
