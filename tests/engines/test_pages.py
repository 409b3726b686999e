"""The pages through each engine: language, site's additions, the domain's own page, redirects."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.stand import PROGRAMS, Stand, running
from tests.stands.service import DOMAIN, Answer, free_port

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100
GERMAN, SPANISH = "de-CH, de;q=0.9, en;q=0.8", "it, en;q=0.1, es-MX;q=0.7"
ICON_START = b"<svg "


@pytest.fixture(scope="module", params=PROGRAMS)
def stand(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    need: Callable[[str], str],
) -> Iterator[Stand]:
    directory = tmp_path_factory.mktemp("pages")
    (directory / "logo.png").write_bytes(PNG)
    (directory / "texts").mkdir()
    (directory / "texts" / "it.yaml").write_text(
        "headings: {not-answering: Il notebook non risponde}\nnothing: x\n"
    )
    settings: dict[str, Any] = {
        "pages.title": "Comet <HPC>",
        "pages.message": "Maintenance & more on Monday",
        "pages.logo": directory / "logo.png",
        "pages.texts": directory / "texts",
        "support.url": "https://help.example.org/",
        "satellite.calls": "off",
        "listen.redirect_port": free_port(),
    }
    with running(directory, request.param, need, **settings) as stand:
        yield stand


def page(stand: Stand, host: str, language: str | None = None, path: str = "/") -> Answer:
    headers = {"Accept": "text/html"}
    if language is not None:
        headers["Accept-Language"] = language
    return stand.request(host, "GET", path, headers=headers)


def is_in(answer: Answer, language: str, *words: str) -> None:
    """Check an answer's language: its field, its page and its words."""
    text = answer.body.decode()
    assert answer.headers.get_all("Content-Language") == [language]
    varies = {each.strip().lower() for each in (answer.headers["Vary"] or "").split(",")}
    assert "accept-language" in varies
    assert f'<html lang="{language}" dir="ltr"' in text
    for word in words:
        assert word in text, text


def test_each_page_is_in_the_language_that_the_browser_prefers(stand: Stand) -> None:
    waiting = stand.issue()
    with stand.notebook() as (silent, _):
        refused = stand.request(
            silent.host, "POST", "/", b"", {"Accept": "text/html", "Accept-Language": GERMAN, "Origin": "https://evil.example"},
        )  # fmt: skip
    assert refused.status == 403
    is_in(refused, "de", "Anfrage einer anderen Seite abgelehnt")
    for language, tag, waits, answers in (
        (None, "en", "Waiting for your notebook", "Your notebook does not answer"),
        ("en", "en", "Waiting for your notebook", "Your notebook does not answer"),
        (GERMAN, "de", "Warten auf Ihr Notebook", "Ihr Notebook antwortet nicht"),
        ("es-MX;q=0.7, en;q=0.1", "es", "Esperando su cuaderno", "Su cuaderno"),
        ("fr;q=0.3, de;q=0.2", "fr", "En attente de votre notebook", "Votre notebook ne répond"),
        ("nl, *;q=0.1", "en", "Waiting for your notebook", "Your notebook does not answer"),
        (SPANISH, "it", "Waiting for your notebook", "Il notebook non risponde"),
    ):
        answer = page(stand, waiting.host, language)
        assert answer.status == 503
        is_in(answer, tag, waits, "Comet &lt;HPC&gt;", "Maintenance &amp; more on Monday")
        assert f"{waiting.name}</bdi>" in answer.body.decode()
        silence = page(stand, silent.host, language)
        assert silence.status == 502
        is_in(silence, tag, answers)
    state = stand.request(waiting.host, "GET", "/.rps/state", headers={"Accept-Language": GERMAN})
    assert state.json()["title"] == "Warten auf Ihr Notebook"
    assert state.json()["tab"].endswith(f" · {waiting.name}")
    assert "nothing" in stand.log()  # the unknown key, at the start
    assert "it.yaml:2: `nothing`" in stand.log()


def test_the_domain_has_a_page_of_its_own(stand: Stand) -> None:
    apex = f"{DOMAIN}:{stand.port}"
    for language, tag, words in (
        (None, "en", "Notebooks on compute nodes"),
        (GERMAN, "de", "Notebooks auf Rechenknoten"),
    ):
        home = page(stand, apex, language)
        assert home.status == 200
        is_in(home, tag, words, "https://help.example.org/", "<title>Comet &lt;HPC&gt;</title>")
    assert page(stand, apex, path="/lab").status == 404
    plain = stand.request(apex, "GET", "/")
    assert (plain.status, plain.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert plain.body.startswith(b"This is a Reverse Proxy Service")
    assert stand.request(apex, "POST", "/", b"x").status == 405
    for host, path in (
        (apex, "/favicon.ico"),
        (apex, "/.rps/icon.svg"),
        (stand.issue().host, "/.rps/icon.svg"),
    ):
        icon = stand.request(host, "GET", path)
        assert (icon.status, icon.headers["Content-Type"]) == (200, "image/svg+xml")
        assert icon.body.startswith(ICON_START)
    logo = stand.request(apex, "GET", "/.rps/logo")
    assert (logo.status, logo.headers["Content-Type"], logo.body) == (200, "image/png", PNG)
    assert logo.headers["Content-Security-Policy"].endswith("sandbox")
    assert stand.request(apex, "GET", "/.rps/state").status == 404


def test_the_ended_page_names_the_session_and_its_command(stand: Stand) -> None:
    session = stand.issue(cluster="comet")
    stand.revoke(session)
    ended = page(stand, session.host)
    assert ended.status == 410
    is_in(ended, "en", f"<code>rps why {session.name}</code>")
    title = f"<title>This session has ended · {session.name} · comet</title>"
    assert title in ended.body.decode()


def plain_http(stand: Stand, host: str, path: str = "/", method: str = "GET") -> Answer:
    """Make a request by plain HTTP at the port for redirects."""
    port = int(str(stand.given["listen.redirect_port"]))
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        client.putrequest(method, path, skip_host=True)
        client.putheader("Host", host)
        client.endheaders()
        response = client.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        client.close()


def test_plain_http_is_redirected_and_nothing_else(stand: Stand) -> None:
    name = stand.issue().name
    port = stand.given["listen.redirect_port"]
    for host in (
        f"{name}.{DOMAIN}",
        f"{name}.{DOMAIN}:{port}",
        f"{name.upper()}.{DOMAIN}",
        f"{name}.{DOMAIN}.",
    ):
        for method in ("GET", "HEAD"):
            answer = plain_http(stand, host, "/lab/a%2Fb?token=x&y=%20", method)
            assert answer.status == 308, (host, answer)
            at = f"https://{name}.{DOMAIN}:{stand.port}/lab/a%2Fb?token=x&y=%20"
            assert answer.headers.get_all("Location") == [at]
    assert plain_http(stand, DOMAIN).headers["Location"] == f"https://{DOMAIN}:{stand.port}/"
    for host in (
        "evil.example",
        f"{DOMAIN}.evil.example",
        f"evil{DOMAIN}",
        f"a.b.{DOMAIN}",
        f"evil.example/.{DOMAIN}",
        "127.0.0.1",
        "",
    ):
        answer = plain_http(stand, host)
        assert answer.status in (400, 421), host
        assert answer.headers["Location"] is None
    # A call of the API is refused: its claim was sent in the clear.
    for host, method in (
        (f"manage.{DOMAIN}", "GET"),
        (f"manage.{DOMAIN}", "POST"),
        (f"{name}.{DOMAIN}", "POST"),
    ):
        answer = plain_http(stand, host, "/api/v1/health", method)
        assert (answer.status, answer.headers["Location"]) == (403, None)
    for path in ("//evil.example/", "/\\evil.example"):
        answer = plain_http(stand, f"{name}.{DOMAIN}", path)
        location = answer.headers["Location"]
        assert location is None or location == f"https://{name}.{DOMAIN}:{stand.port}{path}"


@pytest.mark.parametrize("kind", ["workers", "haproxy", "apache"])
def test_the_page_of_a_service_that_is_away_has_a_language_too(
    kind: str, tmp_path: Path, need: Callable[[str], str]
) -> None:
    with running(tmp_path, kind, need, **{"pages.message": "Maintenance on Monday"}) as stand:
        host = stand.issue().host
        if kind == "workers":
            (stand.directory / "service" / "service.sock").unlink()
        else:
            stand.kill()
        for language, tag, words in (
            (None, "en", "The service is unavailable"),
            (GERMAN, "de", "nicht verfügbar"),
            ("fr;q=0.2, es;q=0.3", "es", "El servicio no está disponible"),
            ("nl", "en", "The service is unavailable"),
        ):
            away = page(stand, host, language)
            assert away.status == 503
            assert away.headers["Retry-After"] == "10"
            is_in(away, tag, words, "Maintenance on Monday")


@pytest.mark.parametrize("kind", PROGRAMS)
def test_programs_at_the_domain_get_the_answer_of_the_satellite(
    kind: str, tmp_path: Path, need: Callable[[str], str]
) -> None:
    with running(tmp_path, kind, need) as stand:
        apex = f"{DOMAIN}:{stand.port}"
        index = b"Please see documentation on how to use this service.\n"
        for path in ("/", "/index.cgi"):
            assert stand.request(apex, "GET", path).body == index
        assert b"<h1>Notebooks on compute nodes</h1>" in page(stand, apex).body
        manage = f"manage.{DOMAIN}:{stand.port}"
        assert page(stand, manage).body == index
