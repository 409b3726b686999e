"""Login links at a real Jupyter: they work once, shares end, and the token opens no page."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rps_core.node.agent.login_link import link
from tests.stands.agent import DOMAIN, NAME, TOKEN, StandIn, agent, make_session, stand_in
from tests.stands.aiohttp_client import client_session
from tests.stands.jupyter import Browser
from tests.stands.waiting import until


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[StandIn]:
    with stand_in(tmp_path / "service") as stand:
        yield stand


def once(number: int) -> str:
    return link(TOKEN, f"once-{number}")


def made(session: Path, number: int) -> None:
    """Note the newest link, as `rps url` does."""
    (session / "links").mkdir(mode=0o700, exist_ok=True)
    (session / "links" / "made").write_text(f"{number}\n")


def log(session: Path) -> str:
    return (session / "job.log").read_text()


def test_a_link_works_once(stand: StandIn, tmp_path: Path) -> None:
    session = make_session(tmp_path / "session", stand, link="once")
    made(session, 2)
    with agent(session) as process:
        browser, other = Browser(session, stand), Browser(session, stand)
        assert browser.request("GET", "/lab")[:2] == (302, "/login?next=%2Flab")
        assert browser.visit(once(1))[0] == 403  # a newer one was made
        for _ in range(3):  # a chat's preview, a mail filter, a browser's prefetch
            assert Browser(session, stand).visit(once(2))[0] == 200
        for accepted, button in {
            "de-CH, en;q=0.5": "Notebook öffnen",
            "nl": "Open the notebook",
        }.items():
            page = browser.request("GET", f"/login?token={once(2)}", Accept_Language=accepted)[2]
            assert f">{button}</button>" in page
            assert f"<title>{button} · {NAME}</title>" in page
        german = browser.request("GET", "/login?token=once-1", Accept_Language="de")
        assert german[0] == 403
        assert f"<code>rps url {NAME}</code> gibt auf dem Cluster" in german[2]
        assert not browser.is_in
        status, _, page = browser.visit(once(2))
        assert status == 200
        assert other.visit(once(2))[0] == 200
        assert browser.press(page)[:2] == (302, "/")
        assert browser.is_in
        # It has no more use, to anybody.
        assert other.log_in(once(2)) == 403
        assert other.press(page)[0] == 403
        assert not other.is_in
        # A second tab of this browser, and a button pressed twice whose first answer was lost.
        assert browser.visit(once(2))[:2] == (302, "/")
        assert browser.press(page)[:2] == (302, "/")
        del browser.cookies["__Host-login"]
        assert browser.press(page)[:2] == (302, "/")
        assert browser.is_in
        # A new one; the token is for programs alone, and no page has it.
        made(session, 3)
        assert other.log_in(once(3)) == 302
        assert other.is_in
        assert TOKEN not in browser.request("GET", "/lab")[2]
        assert TOKEN not in browser.request("GET", "/tree")[2]
        program = Browser(session, stand)
        assert program.request("GET", f"/lab?token={TOKEN}")[0] == 302
        assert program.request("GET", f"/login?token={TOKEN}")[0] == 403
        assert program.request("GET", f"/api/status?token={TOKEN}")[0] == 200
        assert program.request("GET", "/lab", Authorization=f"token {TOKEN}")[0] == 200
        assert "__Host-login" not in program.cookies
        assert (session / "links" / "used").read_text() == "3\n"
        process.terminate()
        assert process.wait(60) == 0
    text = log(session)
    assert text.count("rps: the login link once-2 was used, from ") == 1
    assert "refused a login link (once-2)" in text
    for secret in (TOKEN, once(1)[-32:], once(2)[-32:], once(3)[-32:]):
        assert secret not in text


def share(session: Path, name: str, seconds: float) -> str:
    """Make a share as `rps share` does; return its link."""
    now = time.time()
    times = {"created": now, "until": now + seconds}
    (session / "links" / f"share-{name}.json").write_text(json.dumps(times))
    return link(TOKEN, f"share-{name}")


async def close_code(browser: Browser, path: str, then: Any) -> tuple[int | None, bool]:
    """Open a websocket, run `then`; return how it was closed, and whether it answered before."""
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    headers = {"Cookie": cookies, "Origin": browser.origin, "Host": browser.origin[8:]}
    url = f"https://127.0.0.1:{browser.port}{path}"
    name = f"{NAME}.{DOMAIN}"
    async with (
        client_session(browser.trust) as client,
        client.ws_connect(url, headers=headers, server_hostname=name) as socket_,
    ):
        first = await asyncio.wait_for(socket_.receive(), 60)
        await asyncio.to_thread(then)
        while not socket_.closed:
            await asyncio.wait_for(socket_.receive(), 60)
        return socket_.close_code, first.type is aiohttp.WSMsgType.TEXT


@pytest.mark.parametrize("mode", ["token", "once"])
def test_a_share_ends_with_all_that_is_open_by_it(
    stand: StandIn, tmp_path: Path, mode: str
) -> None:
    session = make_session(tmp_path / "session", stand, link=mode, shares=True)
    with agent(session) as process:
        owner, first, second = (Browser(session, stand) for _ in range(3))
        if mode == "token":
            assert owner.request("GET", f"/lab?token={TOKEN}")[0] == 200
        else:
            assert owner.log_in(once(1)) == 302
        links = {name: share(session, name, 3600) for name in ("aaaaaaaa", "bbbbbbbb")}
        assert Browser(session, stand).log_in(link("another token", "share-aaaaaaaa")) == 403
        assert Browser(session, stand).log_in(link(TOKEN, "share-cccccccc")) == 403
        page = first.visit(links["aaaaaaaa"])[2]
        assert "as its owner" in page
        for browser, name in ((first, "aaaaaaaa"), (second, "bbbbbbbb")):
            assert browser.log_in(links[name]) == 302
            assert browser.is_in
            assert TOKEN not in browser.request("GET", "/lab")[2]
            assert browser.log_in(links[name]) == 302  # a share works more than once
        me = json.loads(first.request("GET", "/api/me")[2])
        assert me["identity"]["display_name"] == "Visitor (share-aaaaaaaa)"

        # The channels of a kernel, taken back; another visitor and the owner stay.
        xsrf = {"X_XSRFToken": first.cookies["_xsrf"], "Origin": first.origin}
        status, _, text = first.request("POST", "/api/kernels", "{}", **xsrf)
        assert status == 201, text
        channels = f"/api/kernels/{json.loads(text)['id']}/channels"
        taken_back = (session / "links" / "share-aaaaaaaa.json").unlink
        code, answered = asyncio.run(close_code(first, channels, taken_back))
        assert answered
        assert code in (1008, 1006)
        assert not first.is_in
        assert first.log_in(links["aaaaaaaa"]) == 403
        assert second.is_in
        assert owner.is_in

        # It ends by itself, with a terminal that is open.
        ends_soon = Browser(session, stand)
        assert ends_soon.log_in(share(session, "dddddddd", 8)) == 302
        name = json.loads(owner_terminal(owner))["name"]
        code, answered = asyncio.run(
            close_code(ends_soon, f"/terminals/websocket/{name}", lambda: None)
        )
        assert answered
        assert code in (1008, 1006)
        assert not ends_soon.is_in
        until(lambda: "share-dddddddd has ended; it had 1 open" in log(session), "the audit")
        process.terminate()
        assert process.wait(60) == 0
    text = log(session)
    assert "rps: share-aaaaaaaa was opened, from " in text
    assert "rps: share-aaaaaaaa has ended; it had 1 open connections" in text
    for secret in (TOKEN, *(one[-32:] for one in links.values())):
        assert secret not in text


def owner_terminal(owner: Browser) -> str:
    """Start a terminal; return the answer."""
    fields = {"X_XSRFToken": owner.cookies["_xsrf"], "Origin": owner.origin}
    status, _, text = owner.request("POST", "/api/terminals", "{}", **fields)
    assert status == 200, text
    return text
