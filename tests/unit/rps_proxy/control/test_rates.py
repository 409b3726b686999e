"""The rate of issuing names: token buckets and their users."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from dataclasses import replace

import pytest

from rps_proxy.control import rates as rates_module
from rps_proxy.control.rates import IssueRates, Rate, TooFastError
from rps_proxy.refusals import BusyError, Refusal, RefusedError
from rps_proxy.registry.session import Request
from rps_proxy.settings.sections import Limits

LIMITS = Limits(
    issues_per_minute=6, issues_per_minute_of_user=4, pending_per_source=0, pending_per_user=0
)


def take(rate: Rate, caller: str) -> None:
    rate.take(caller)


async def issue(rates: IssueRates, times: int = 1, **asked: object) -> None:
    for _ in range(times):
        async with rates.one_name(Request(**{"source": "a", **asked})):  # type: ignore[arg-type]
            pass


def test_a_bucket_fills_again() -> None:
    now = 100.0
    rate = Rate(6, clock=lambda: now)
    for _ in range(6):
        take(rate, "a")
    with pytest.raises(TooFastError) as refused:
        take(rate, "a")
    assert refused.value.after == 10
    take(rate, "b")
    now += 9
    with pytest.raises(TooFastError) as refused:
        take(rate, "a")
    assert refused.value.after == 1
    now += 1
    take(rate, "a")
    now += 3600
    for _ in range(6):
        take(rate, "a")
    with pytest.raises(TooFastError):
        take(rate, "a")


def test_buckets_of_many_sources_are_forgotten() -> None:
    now = 0.0
    rate = Rate(1, clock=lambda: now)
    for number in range(10_000):
        take(rate, str(number))
    with pytest.raises(TooFastError):
        take(rate, "5")
    now += 61
    take(rate, "another")
    assert len(rate._buckets) == 1


def test_no_limit() -> None:
    rate = Rate(0)
    for _ in range(1000):
        take(rate, "a")


@pytest.mark.parametrize("error", [RefusedError(Refusal.LIMIT), BusyError("disk full")])
async def test_what_is_refused_takes_no_token(error: Exception) -> None:
    rates = IssueRates(LIMITS, clock=lambda: 0.0)
    for _ in range(20):
        with pytest.raises(type(error)):
            async with rates.one_name(Request(source="a", user="alice")):
                raise error
    await issue(rates, 4, user="alice")


async def test_users_share_their_address_unless_they_are_proved() -> None:
    rates = IssueRates(LIMITS, clock=lambda: 0.0)
    await issue(rates, 4, user="alice")
    with pytest.raises(TooFastError):
        await issue(rates, user="alice")
    await issue(rates, 2, user="bob")  # which alice's refusal left
    with pytest.raises(TooFastError):
        await issue(rates, user="carol")
    await issue(rates, user="alice", source="b")
    await issue(rates, 4, user="carol", authenticated=True)
    with pytest.raises(TooFastError):
        await issue(rates, user="carol", authenticated=True, source="b")
    await issue(rates, user="alice", authenticated=True)


async def test_invented_users_make_no_more_buckets_than_the_address_has_tokens() -> None:
    rates = IssueRates(LIMITS, clock=lambda: 0.0)
    for number in range(1000):
        with suppress(TooFastError):
            await issue(rates, user=f"invented-{number}")
    assert len(rates._of_user._buckets) == LIMITS.issues_per_minute


class Crowd:
    """Requests at one address that wait for tokens, one a second."""

    def __init__(self) -> None:
        limits = replace(LIMITS, issues_per_minute=60, issues_per_minute_of_user=0)
        self.now = 0.0
        self.rates = IssueRates(limits, clock=lambda: self.now)
        self.issued: list[str | None] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def ask(self, user: str | None, times: int = 1) -> list[asyncio.Task[None]]:
        async def request() -> None:
            await issue(self.rates, user=user)
            self.issued.append(user)

        tasks = [asyncio.create_task(request()) for _ in range(times)]
        self._tasks += tasks
        await asyncio.sleep(0)
        return tasks

    async def second(self) -> None:
        """Advance the clock by one token."""
        self.now += 1
        if "a" in self.rates._of_source._waiting:
            self.rates._of_source._grant("a")
        for _ in range(5):
            await asyncio.sleep(0)

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def test_who_waits_is_served_by_lot_among_users(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = Crowd()
    await issue(crowd.rates, 60, user="greedy")
    await crowd.ask("greedy", 200)
    await crowd.ask("alice")
    lots: list[list[str]] = []

    def draw(users: list[str]) -> str:
        lots.append(users)
        return users[-1]

    monkeypatch.setattr(secrets, "choice", draw)
    await crowd.second()
    assert lots == [["greedy", "alice"]]
    assert crowd.issued == ["alice"]
    await crowd.leave()


async def test_a_new_request_does_not_pass_those_that_wait() -> None:
    crowd = Crowd()
    await issue(crowd.rates, 60, user="greedy")
    (waits,) = await crowd.ask("alice")
    crowd.now += 1  # there is a token again, which is alice's
    await crowd.ask("greedy")
    assert crowd.issued == []
    await crowd.second()
    await crowd.second()
    assert waits.done()
    assert sorted(map(str, crowd.issued)) == ["alice", "greedy"]


async def test_a_token_is_not_lost_with_who_leaves() -> None:
    crowd = Crowd()
    await issue(crowd.rates, 60, user="greedy")
    (leaves,) = await crowd.ask("alice")
    crowd.now += 1
    crowd.rates._of_source._grant("a")
    leaves.cancel()  # the token is its, and it has not heard of it
    await asyncio.gather(leaves, return_exceptions=True)
    await issue(crowd.rates, user="bob")


async def test_so_many_wait_and_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = Crowd()
    await issue(crowd.rates, 60, user="greedy")
    await crowd.ask("greedy", rates_module.MOST_WAITING)
    with pytest.raises(TooFastError):
        await issue(crowd.rates, user="alice")
    await crowd.leave()
    monkeypatch.setattr(rates_module, "PATIENCE", 0.05)
    crowd.now += 0.97  # the next token is nearer, but does not come: the clock stands
    with pytest.raises(TooFastError) as refused:
        await issue(crowd.rates, user="alice")
    assert refused.value.after == 1
