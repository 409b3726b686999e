"""The calls of agents that reach no port of this host: files in their sessions' directories.

For a personal service on a login node, whose user's home the compute nodes share. Each file is signed with
the session's claim (`rps_core.node.agent.call_files`), and can be written by the user alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rps_core.errors import ServiceError
from rps_core.log import get_logger
from rps_core.node.agent import call_files
from rps_core.node.agent.protocol import Malformed, is_line
from rps_core.system.files import replace_file
from rps_proxy.private_files import read_private, write_private
from rps_proxy.refusals import BusyError
from rps_proxy.registry.session import Phase

if TYPE_CHECKING:
    from rps_proxy.api.rest import Api
    from rps_proxy.control.service import Service
    from rps_proxy.registry.session import Session

LOOK_EVERY = 1.0  # seconds, at the sessions that make their calls as files
DISCOVER_EVERY = 2.0  # seconds, at those that may begin to; at many of them less often:
DISCOVERED_A_SECOND = 20
# Agents of sessions that have ended ask once more, or after hours, if the job was suspended.
ENDED_LATELY, ENDED_EVERY = 600.0, 60.0  # seconds: as often as the others; and then
NUMBERS_FILE = (
    "file-calls.json"  # in the service's directory: the last request's number, by session
)

_log = get_logger("rps.files")


class _Request(NamedTuple):
    """A request's file, as it was read; `directory` is that of the session's calls."""

    name: str
    directory: Path
    number: int
    content: bytes


class FileCalls:
    """Answers the calls in the directories below `sessions`; its own file is in `directory`.

    Raises:
        ServiceError: another user can read or write that file.
    """

    def __init__(self, service: Service, api: Api, sessions: Path, directory: Path) -> None:
        self._registry = service.registry
        self._routes = service.routes
        self._api = api
        self._sessions = sessions
        self._file = directory / NUMBERS_FILE
        self._last = _numbers(self._file)
        self._callers: set[str] = set()  # sessions that make their calls as files
        self._discover_at = self._ended_at = float("-inf")
        self._writing = asyncio.Lock()

    async def run(self) -> None:
        """Look for requests, and answer them, until cancelled."""
        while True:
            try:
                await self._look()
            except (OSError, BusyError) as error:
                _log.error("file-calls-not-answered", reason=str(error))
            await asyncio.sleep(LOOK_EVERY)

    async def _look(self) -> None:
        names = self._callers
        now = time.monotonic()
        if now >= self._discover_at:
            possible = self._possible()
            names = self._callers | possible
            self._discover_at = now + max(DISCOVER_EVERY, len(possible) / DISCOVERED_A_SECOND)
        if now >= self._ended_at:
            self._ended_at = now + ENDED_EVERY
            self._last = {
                name: number for name, number in self._last.items() if self._registry.find(name)
            }
            names = names | self._last.keys()
        requests = await asyncio.to_thread(_requests, self._sessions, sorted(names))
        await asyncio.gather(*map(self._answer, requests))

    def _possible(self) -> set[str]:
        """Return the sessions whose agent may call: those that no call by the network keeps alive."""
        found = self._registry.every((Phase.ISSUED, Phase.LINKED, Phase.READY))
        alive = {session.name for session in found}
        self._callers = {name for name in self._last if name in alive or self._ended_lately(name)}
        return {session.name for session in found if not self._routes.is_live(session.name)}

    def _ended_lately(self, name: str) -> bool:
        session = self._registry.find(name)
        ended = None if session is None else session.ended
        return ended is not None and time.time() - ended < ENDED_LATELY

    async def _answer(self, request: _Request) -> None:
        """Answer one request; a failure costs no other session."""
        try:
            await self._carry_out(request)
        except (OSError, BusyError) as error:
            _log.error("file-call-not-answered", session=request.name, reason=str(error))

    async def _carry_out(self, request: _Request) -> None:
        session = self._registry.find(request.name)
        if session is None or session.satellite:
            return
        try:
            asked = _read(session, request)
        except Malformed as error:
            _log.warning("file-call-refused", session=request.name, reason=str(error))
            await asyncio.to_thread(_remove, request)
            return
        last = self._last.get(request.name, 0)
        if request.number <= last:
            answer = {"status": 409, "error": call_files.REPLAYED, "message": "", "last": last}
        else:
            # On disk before it is carried out: no later start takes the request again.
            self._last[request.name] = request.number
            self._callers.add(request.name)
            await self._keep_numbers()
            status, body = await self._api.answer_file(
                session, asked["call"], asked["from"], asked["body"]
            )
            answer = {**body, "status": status}
        answer |= {"session": request.name, "number": request.number}
        await asyncio.to_thread(_write_answer, session, request, answer)

    async def _keep_numbers(self) -> None:
        async with self._writing:
            await asyncio.to_thread(write_private, self._file, json.dumps(self._last).encode())


def _numbers(path: Path) -> dict[str, int]:
    """Read the last requests' numbers."""
    content = read_private(path)
    try:
        found = json.loads(content or b"{}")
        return {str(name): int(number) for name, number in found.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ServiceError(
            f"{path} is damaged: the service cannot recognize requests that it has answered.",
            "Stop your sessions with `rps stop --all`, then remove the file.",
        ) from error


def _requests(sessions: Path, names: list[str]) -> list[_Request]:
    """Return the newest request of each session, and remove its older ones."""
    found = []
    for name in names:
        try:
            found += _newest(sessions / name)
        except OSError:  # the directory is gone, or no longer the user's alone
            continue
    return found


def _newest(session: Path) -> list[_Request]:
    """Return a session's newest request, if there is one.

    Its directories are opened for each look: only then does NFS ask its server for changes (nfs(5),
    close-to-open).
    """
    above = os.open(session, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if call_files.DIRECTORY not in os.listdir(above):  # noqa: PTH208 - of a descriptor
            return []
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(call_files.DIRECTORY, flags, dir_fd=above)
    finally:
        os.close(above)
    try:
        _check_private(handle)
        numbers = sorted(
            number
            for each in os.listdir(handle)  # noqa: PTH208
            if (number := call_files.number_of(call_files.REQUEST, each)) is not None
        )
        for number in numbers[:-1]:
            os.unlink(call_files.file_name(call_files.REQUEST, number), dir_fd=handle)
        directory = session / call_files.DIRECTORY
        return [
            _Request(session.name, directory, number, _content(handle, number))
            for number in numbers[-1:]
        ]
    finally:
        os.close(handle)


def _content(directory: int, number: int) -> bytes:
    """Read a request, at most one byte more than one may have."""
    name = call_files.file_name(call_files.REQUEST, number)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, dir_fd=directory), "rb") as file:
        _check_private(file.fileno())
        return file.read(call_files.LONGEST + 1)


def _check_private(handle: int) -> None:
    """Check that a file or directory is this user's alone (PermissionError)."""
    status = os.fstat(handle)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise PermissionError("it is not this user's alone")


def _read(session: Session, request: _Request) -> dict[str, Any]:
    """Return a request that the session's agent wrote (Malformed)."""
    asked = call_files.verified(session.claim, call_files.REQUEST, request.content)
    if (asked.get("session"), asked.get("number")) != (request.name, request.number):
        raise Malformed("it is not what its file's name says")
    if asked.get("call") not in call_files.CALLS:
        raise Malformed("it is no call that a file may make")
    if not (is_line(asked.get("from")) and isinstance(asked.get("body"), dict)):
        raise Malformed("a field has the wrong form")
    return asked


def _write_answer(session: Session, request: _Request, answer: dict[str, Any]) -> None:
    """Write the answer in place of older ones, and remove the request."""
    for path in request.directory.iterdir():
        if call_files.number_of(call_files.ANSWER, path.name) is not None:
            path.unlink(missing_ok=True)
    path = request.directory / call_files.file_name(call_files.ANSWER, request.number)
    content = call_files.sign(session.claim, call_files.ANSWER, answer)
    replace_file(path, content, durable=False)
    _remove(request)


def _remove(request: _Request) -> None:
    name = call_files.file_name(call_files.REQUEST, request.number)
    (request.directory / name).unlink(missing_ok=True)
