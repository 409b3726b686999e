"""HAProxy's control socket: the map of routes and the streams.

Commands: HAProxy's Management Guide, 9.3. A value of the map is `ADDRESS|PORT|tls` or `ADDRESS|PORT|plain`,
followed by `|ORIGIN` for each origin that is named.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

from rps_proxy.engine import EngineError, Target

TIMEOUT = 2.0  # seconds for one change
_BATCH = 12 * 1024  # bytes of one command; HAProxy takes less than its buffer
_NOT_THERE = "Key not found."


class Control:
    """Send commands on the control socket `path`; `routes` is the map's file.

    Commands are sent within `change`, one change at a time.
    """

    def __init__(self, path: Path, routes: Path) -> None:
        self._path = path
        self._map = routes
        self._lock = asyncio.Lock()  # asyncio's is first come, first served

    @contextlib.asynccontextmanager
    async def change(self) -> AsyncIterator[None]:
        """Wait for earlier changes, and limit the time of this one.

        Raises:
            EngineError: HAProxy does not run, or does not answer.
        """
        try:
            async with asyncio.timeout(TIMEOUT), self._lock:
                yield
        except TimeoutError:
            raise EngineError(f"HAProxy did not answer within {TIMEOUT:g} s") from None
        except OSError as error:
            raise EngineError(
                f"Cannot connect to HAProxy at {self._path}: {error.strerror or error}. "
                "Start it: `systemctl restart rps-proxy-engine`, or `rps proxy engine run`"
            ) from error

    async def ask(self, command: str) -> str:
        """Send one command, or several with `;`; return HAProxy's whole answer."""
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        try:
            writer.write(command.encode() + b"\n")
            await writer.drain()
            return (await reader.read()).decode()
        finally:
            writer.close()

    async def routes(self) -> list[tuple[str, str]]:
        """Read the map: host and value of each entry. A host may be in it twice."""
        entries = []
        for line in (await self.ask(f"show map {self._map}")).split("\n"):
            if not line:
                continue
            _, _, entry = line.partition(" ")
            host, _, value = entry.partition(" ")
            if not value:
                raise EngineError(f"HAProxy has no map of routes: {line.strip()}")
            entries.append((host, value))
        return entries

    async def add(self, targets: Iterable[Target]) -> None:
        """Add routes to the map."""
        entries = (f"{target.host} {map_value(target)}" for target in targets)
        for batch in _batches(entries, "\n"):
            answer = (await self.ask(f"add map {self._map} <<\n{batch}\n")).strip()
            if answer:
                raise EngineError(f"HAProxy refused to add routes: {answer}")

    async def delete(self, hosts: Iterable[str]) -> None:
        """Delete hosts from the map; one that it lacks is no error."""
        for batch in _batches((f"del map {self._map} {host}" for host in hosts), ";"):
            answer = (await self.ask(batch)).replace(_NOT_THERE, "").strip()
            if answer:
                raise EngineError(f"HAProxy refused to delete routes: {answer}")

    async def streams(self) -> list[tuple[str, str, int]]:
        """List the streams to notebooks: id, address and port of each."""
        found = []
        for stream in re.split(r"^(?=0x)", await self.ask("show sess all"), flags=re.MULTILINE):
            to = re.search(r"\bserver=notebook \(id=\d+\) addr=([0-9a-fA-F:.]+):(\d+)", stream)
            if to:
                found.append((stream.partition(":")[0], to[1], int(to[2])))
        return found

    async def shut_down(self, streams: Iterable[str]) -> None:
        """End streams, by their ids."""
        for batch in _batches((f"shutdown session {stream}" for stream in streams), ";"):
            await self.ask(batch)


def map_value(target: Target) -> str:
    """Return a route's value in the map."""
    kind = "tls" if target.verified else "plain"
    return "|".join((target.address, str(target.port), kind, *target.origins))


def _batches(parts: Iterable[str], separator: str) -> Iterator[str]:
    """Join `parts` into batches no longer than HAProxy takes at once."""
    batch: list[str] = []
    size = 0
    for part in parts:
        if batch and size + len(part) + 1 > _BATCH:
            yield separator.join(batch)
            batch, size = [], 0
        batch.append(part)
        size += len(part) + 1
    if batch:
        yield separator.join(batch)
