"""The last minutes of a session, and idle ones: the agent with a real Jupyter.

The scheduler's commands are stand-ins, to say what a real one would have to be made to; the real Slurm is
in tests/cluster, the browser in tests/browser.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rps_core.node.agent.processes import descendants
from tests.agent.test_jupyter import assert_no_secrets_left, ended
from tests.stands.agent import (
    DOMAIN,
    NAME,
    TOKEN,
    Squeue,
    StandIn,
    agent,
    event,
    events,
    job_of,
    make_session,
    stand_in,
)
from tests.stands.aiohttp_client import client_session
from tests.stands.jupyter import call, execute, new_kernel
from tests.stands.waiting import until


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[StandIn]:
    with stand_in(tmp_path / "service") as stand:
        yield stand


class Visitor:
    """A browser's part, in a thread: websockets of the notebook."""

    def __init__(self, session: Path, stand: StandIn) -> None:
        self.url = f"wss://127.0.0.1:{event(session, 'ready')['port']}"
        self.context = ssl.create_default_context(cadata=stand.upstream.certificate.decode())
        self.heard: list[Any] = []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.clients = AsyncExitStack()
        self.listeners: list[asyncio.Future[None]] = []
        self.sockets: dict[str, aiohttp.ClientWebSocketResponse] = {}

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def connect(self, path: str) -> None:
        async def connect() -> None:
            client = await self.clients.enter_async_context(client_session(self.context))
            self.sockets[path] = await client.ws_connect(
                self.url + path,
                server_hostname=f"{NAME}.{DOMAIN}",
                headers={"Host": f"{NAME}.{DOMAIN}", "Authorization": f"token {TOKEN}"},
            )
            self.listeners.append(asyncio.ensure_future(self.listen(self.sockets[path])))

        self.do(connect())

    async def listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            said = json.loads(message.data)
            self.heard.append(said)
            if isinstance(said, dict) and "save" in said:
                await socket.send_json({"saved": said["save"], "left": ["conflict.ipynb"]})

    def say(self, path: str, message: Any) -> None:
        self.do(self.sockets[path].send_json(message))

    def shown(self) -> list[dict[str, Any]]:
        """Return the notices that the tabs show, from all messages of the kernel."""
        return [said["show"] for said in self.heard if isinstance(said, dict) and "show" in said]

    def close(self) -> None:
        self.do(self.clients.aclose())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def test_a_walltime_that_was_moved_is_kept_to_and_then_its_end_is_in_good_order(
    tmp_path: Path, stand: StandIn
) -> None:
    # The last tenth is for the shutdown; tabs have half of it to save their documents.
    session = make_session(
        tmp_path / "session", stand, walltime=30, shutdown_before=60, job=job_of("slurm")
    )
    squeue = Squeue(tmp_path / "bin")
    squeue.answers("1:00:00")
    with agent(session, env=squeue.environment) as process:
        until(squeue.calls.exists, "the question at the end of the walltime that was asked for")
        renewed = stand.count("renew")
        until(lambda: stand.count("renew") >= renewed + 3, "renewals past that")
        assert events(session, "ended") == []
        assert squeue.calls.read_text().splitlines() == ["--noheader --jobs=99 --format=%L"]
        visitor = Visitor(session, stand)
        try:
            visitor.connect("/api/rps/tab")
            squeue.answers("0:08")
            process.send_signal(signal.SIGUSR1)
            assert event(session, "time-left")["left"] in (7, 8)
            (warning,) = until(visitor.shown, "the warning in the tab")
            assert warning.keys() == {"kind", "left"}
            assert warning["kind"] == "time"
            squeue.answers("0:03")
            end = ended(session)
            until(lambda: visitor.shown()[-1]["kind"] == "end", "the end in the tab")
        finally:
            visitor.close()
        assert process.wait(60) == 0
    assert end["cause"] == "time-limit"
    saved = events(session, "saved")[0]
    assert {key: saved[key] for key in ("tabs", "saved", "left")} == {
        "tabs": 1, "saved": 1, "left": ["conflict.ipynb"],
    }  # fmt: skip
    assert "Not saved: conflict.ipynb" in visitor.shown()[-1]["text"]
    assert stand.calls[-1][0] == "revoke"
    assert_no_secrets_left(session)


def test_a_scheduler_that_does_not_answer_ends_nothing_early(
    tmp_path: Path, stand: StandIn
) -> None:
    """Test that only the scheduler's TERM ends it, with the right cause."""
    session = make_session(
        tmp_path / "session", stand, walltime=12, shutdown_before=60, job=job_of("slurm")
    )
    squeue = Squeue(tmp_path / "bin")  # without an answer it fails
    with agent(session, env=squeue.environment) as process:
        until(squeue.calls.exists, "the question")
        logged = (
            "could not ask the scheduler whether the limit was moved: it will end the job itself"
        )
        until(lambda: logged in (session / "job.log").read_text(), "the word that nothing ends")
        renewed = stand.count("renew")
        until(lambda: stand.count("renew") >= renewed + 6, "renewals past the walltime")
        assert events(session, "ended") == []
        process.terminate()
        assert process.wait(60) == 0
    assert ended(session)["cause"] == "time-limit"


def looks(session: Path, process_id: int, seconds: float) -> None:
    """Advance the agent's clock; check that it did not find the session idle."""
    stop = threading.Event()
    stop.wait(seconds)
    assert events(session, "idle-warning") == []
    assert process_id in descendants(os.getpid())


def test_work_keeps_a_session_and_an_open_page_does_not(tmp_path: Path, stand: StandIn) -> None:
    """Test work without a browser, and then an open page without work.

    Work is a busy kernel, a computing process without a terminal, and a user who keeps the session.
    """
    session = make_session(tmp_path / "session", stand, idle_timeout=9)
    log = session / "events.jsonl"
    with agent(session, env={"RPS_JOB_ID": "1.local"}) as process:
        kernel = new_kernel(session, stand)
        busy = 'print("up", flush=True)\nimport time\ntime.sleep(1000)'
        assert execute(session, kernel, busy) == "up\n"
        looks(session, process.pid, 12)

        visitor = Visitor(session, stand)
        try:
            visitor.connect("/api/rps/tab")
            call(session, stand, "POST", f"/api/kernels/{kernel}/interrupt", {})
            announced = event(session, "idle-warning")
            assert 1 <= announced["left"] <= 3
            until(visitor.shown, "the announcement in the tab")
            visitor.say("/api/rps/tab", {"stay": True})
            assert event(session, "idle-over")["work"] == "a user asked to keep the session"
            until(lambda: {"withdraw": "idle"} in visitor.heard, "its end in the tab")

            terminal = call(session, stand, "POST", "/api/terminals", {})["name"]
            path = f"/terminals/websocket/{terminal}"
            visitor.connect(path)
            pid_file = tmp_path / "computing"
            # A process session of its own without a terminal: only its CPU time shows that it works.
            # It takes some fifth of a core, so that it costs the other tests less; 0.03 counts as work.
            loop = "while :; do i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; sleep 0.1; done"
            compute = f"setsid sh -c 'echo $$ >{pid_file}; {loop}' </dev/null >/dev/null 2>&1 &"
            visitor.say(path, ["stdin", compute + "\r"])
            until(lambda: pid_file.exists() and pid_file.read_text(), "the computing process")
            log.write_text("")
            looks(session, process.pid, 12)

            os.kill(int(pid_file.read_text()), signal.SIGKILL)
            end = ended(session)
            until(lambda: visitor.shown()[-1]["kind"] == "end", "the end in the tab")
        finally:
            visitor.close()
        assert process.wait(60) == 0
    assert end["cause"] == "idle"
    assert [one["event"] for one in events(session)] == ["idle-warning", "saved", "ended"]
    assert_no_secrets_left(session)
