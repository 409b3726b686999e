"""A session at a service of the older kind, as an ordinary user, with a real job and a real Jupyter."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.power import cut_off
from tests.e2e.visitor import Visitor
from tests.older_service import OlderService, older_service

NAME = "aversion-runaround-spearman"
Rps = Callable[..., Any]


@pytest.fixture
def older(tmp_path: Path) -> Iterator[OlderService]:
    with older_service(tmp_path / "older") as service:
        yield service


@pytest.fixture
def ca(older: OlderService, installed: Any) -> Path:
    """The CA of the service, where the user can read it."""
    place = installed.user.home / "older-service-ca.pem"
    shutil.copyfile(older.ca_file, place)
    return Path(place)


@pytest.fixture
def rps(older: OlderService, ca: Path, installed: Any) -> Iterator[Rps]:
    """`rps` on a machine whose configuration names that service, and says nothing of its kind."""
    site = {
        "RPS_PROXY_OWN": "false",
        "RPS_PROXY_DOMAIN": "rps.localhost",
        "RPS_PROXY_PORT": str(older.port),
        "RPS_PROXY_CA_FILE": str(ca),
    }

    def run(*arguments: str, **options: Any) -> Any:
        return installed.rps(*arguments, env=site, **options)

    yield run
    run("stop", "--all")


def status(rps: Rps) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(rps("status", "--json").stdout)
    return found


def test_from_its_url_to_a_cell_to_its_end(
    installed: Any, rps: Rps, older: OlderService, ca: Path, wait_for: Callable[..., None]
) -> None:
    began = rps("start", "-vv", "--log-format", "json")
    assert "up to two minutes" in began.stderr
    found = status(rps)
    assert began.stdout == found["url"] + "\n"
    assert re.fullmatch("notebook-[0-9a-f]{8}", found["name"])
    url = f"https://{NAME}.rps.localhost:{older.port}/"
    assert re.fullmatch(re.escape(url) + r"\?token=[0-9a-f]{32}", found["url"])
    assert older.others == [("POST", "/api/v1/sessions")]  # once, to find out which service it is
    assert older.asked("linktoken.cgi") == [{"token": NAME, "jobid": found["job_id"]}]

    wait_for(lambda: older.names[NAME].target is not None)
    wait_for(lambda: "two minutes" in (status(rps)["reason"] or ""))
    assert status(rps)["state"] == "starting"
    older.run_cron()
    wait_for(lambda: status(rps)["state"] == "ready")
    assert [one["state"] for one in json.loads(rps("list", "--json").stdout)] == ["ready"]
    visitor = Visitor(found["url"], ca)
    assert visitor.get("/api/status")[0] == 200
    assert visitor.get("/api/status", token=False)[0] == 403
    assert visitor.run_cell("print(6 * 7)") == "42\n"  # a websocket, under another Host than ours
    assert rps("url", NAME[:8]).stdout.strip() == found["url"]  # it may be called by its URL too

    # The name is all that the service asks for: nobody but the user and the service gets to see it.
    seen = [began.stderr.encode(), rps("logs").stdout.encode()]
    for pid in installed.user.processes():
        for part in ("cmdline", "environ"):
            try:
                seen.append(Path(f"/proc/{pid}/{part}").read_bytes())
            except OSError:
                continue
    directory = installed.user.home / ".local/state/rps/sessions" / found["name"]
    seen += [(directory / file).read_bytes() for file in ("batch.sh", "events.jsonl", "job.log")]
    assert [text for text in seen if NAME.encode() in text] == []
    readable = [path for path in (directory, *directory.glob("*")) if path.stat().st_mode & 0o077]
    assert readable == []

    stopped = rps("stop", found["name"][:11])
    assert stopped.stderr.count("\n") == 1
    assert older.names == {}
    assert not (directory / "claim.json").exists()
    wait_for(lambda: visitor.get("/api/status")[1].startswith("Please see documentation"))
    assert json.loads(rps("list", "--json").stdout) == []
    assert older.others == [("POST", "/api/v1/sessions")]


def test_waited_for_it_is_ready_when_it_is_reachable(
    rps: Rps, older: OlderService, ca: Path, installed: Any, wait_for: Callable[..., None]
) -> None:
    older.cron_runs_by_itself = True
    began = rps("start", "--wait", "--json", "--set", "proxy.protocol=satellite")
    found = json.loads(began.stdout)
    assert found["state"] == "ready"
    assert older.others == []
    assert Visitor(found["url"], ca).get("/api/status")[0] == 200
    cut_off(installed.user.home, found, wait_for)  # the launcher does what the agent could not
    listed = json.loads(rps("list", "--json").stdout)
    assert [one["state"] for one in listed] in (["ended"], ["failed"])
    assert older.names == {}


def test_a_job_that_is_not_submitted_gives_its_name_back(
    rps: Rps, older: OlderService, installed: Any
) -> None:
    script = installed.user.home / "no-script"
    script.write_text("no first line\n")
    done = rps("start", "-b", str(script), check=False)
    assert done.returncode == 2, done.stderr
    assert older.asked("getlink.cgi")
    assert older.names == {}


def test_a_refusal_is_told_with_what_to_do(rps: Rps, older: OlderService) -> None:
    older.outside = True
    done = rps("start", check=False)
    assert done.returncode == 4
    assert "not in range" in done.stderr
    assert "login nodes" in done.stderr
