"""A session at the satellite, with a real job and a real Jupyter."""

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
from tests.stands.satellite import SatelliteServer, running_satellite
from tests.stands.waiting import until

NAME = "aversion-runaround-spearman"
Rps = Callable[..., Any]


@pytest.fixture
def satellite(tmp_path: Path) -> Iterator[SatelliteServer]:
    with running_satellite(tmp_path / "satellite") as service:
        yield service


@pytest.fixture
def ca(satellite: SatelliteServer, installed: Any) -> Path:
    """Return the CA of the service, where the user can read it."""
    place = installed.user.home / "satellite-ca.pem"
    shutil.copyfile(satellite.ca_file, place)
    return Path(place)


@pytest.fixture
def rps(satellite: SatelliteServer, ca: Path, installed: Any) -> Iterator[Rps]:
    """Run rps with a configuration that names the service, but not its protocol."""
    site = {
        "RPS_PROXY_OWN": "false",
        "RPS_PROXY_DOMAIN": "rps.localhost",
        "RPS_PROXY_PORT": str(satellite.port),
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
    installed: Any, rps: Rps, satellite: SatelliteServer, ca: Path
) -> None:
    began = rps("start", "-vv", "--log-format", "json")
    assert "up to two minutes" in began.stderr
    found = status(rps)
    assert began.stdout == found["url"] + "\n"
    assert re.fullmatch("notebook-[0-9a-f]{8}", found["name"])
    url = f"https://{NAME}.rps.localhost:{satellite.port}/"
    assert re.fullmatch(re.escape(url) + r"\?token=[0-9a-f]{32}", found["url"])
    assert satellite.others == [
        ("POST", "/api/v1/sessions")
    ]  # once, to find out which service it is
    assert satellite.asked("linktoken.cgi") == [{"token": NAME, "jobid": found["job_id"]}]

    until(lambda: satellite.names[NAME].target is not None, "the route")
    until(lambda: "two minutes" in (status(rps)["reason"] or ""), "the reason")
    assert status(rps)["state"] == "starting"
    satellite.run_cron()
    until(lambda: status(rps)["state"] == "ready", "the session")
    assert [one["state"] for one in json.loads(rps("list", "--json").stdout)] == ["ready"]
    visitor = Visitor(found["url"], ca)
    assert visitor.get("/api/status")[0] == 200
    assert visitor.get("/api/status", token=False)[0] == 403
    assert visitor.run_cell("print(6 * 7)") == "42\n"  # a websocket, under another Host than ours
    assert rps("url", NAME[:8]).stdout.strip() == found["url"]  # it may be called by its URL too

    # The name is the only secret of this service: only the user and the service see it.
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
    assert "49 hours" not in stopped.stderr  # the agent has destroyed the name
    assert satellite.names == {}
    assert not (directory / "claim.json").exists()
    until(
        lambda: visitor.get("/api/status")[1].startswith("Please see documentation"),
        "the end of the route",
    )
    assert json.loads(rps("list", "--json").stdout) == []
    assert satellite.others == [("POST", "/api/v1/sessions")]


def test_waited_for_it_is_ready_when_it_is_reachable(
    rps: Rps, satellite: SatelliteServer, ca: Path, installed: Any
) -> None:
    satellite.cron_runs_by_itself = True
    began = rps("start", "--wait", "--json", "--set", "proxy.protocol=satellite")
    found = json.loads(began.stdout)
    assert found["state"] == "ready"
    assert satellite.others == []
    assert Visitor(found["url"], ca).get("/api/status")[0] == 200
    cut_off(installed.user.home, found)  # the launcher does what the agent could not
    listed = json.loads(rps("list", "--json").stdout)
    assert [one["state"] for one in listed] in (["ended"], ["failed"])
    assert satellite.names == {}


def test_a_name_that_is_gone_while_the_job_runs_on(
    rps: Rps, satellite: SatelliteServer, installed: Any
) -> None:
    """Test a lost database.

    Neither the session nor its stop is "ending" until the walltime.
    """
    satellite.cron_runs_by_itself = True
    found = json.loads(rps("start", "--wait", "--json").stdout)
    directory = installed.user.home / ".local/state/rps/sessions" / found["name"]
    # From then on the agent asks no more; before that it would end the session.
    until(lambda: '"ready"' in (directory / "events.jsonl").read_text(), "the agent's event")
    kept = dict(satellite.names)
    satellite.names.clear()
    found = status(rps)
    assert (found["state"], found["cause"]) == ("lapsed", "route-gone")
    assert "does not know its name any more" in found["reason"]
    assert "rps stop" in rps("why").stdout
    satellite.names.update(kept)
    satellite.stop()
    assert "may keep its route for up to 49 hours" in rps("stop").stderr


def test_a_job_that_is_not_submitted_gives_its_name_back(
    rps: Rps, satellite: SatelliteServer, installed: Any
) -> None:
    script = installed.user.home / "no-script"
    script.write_text("no first line\n")
    done = rps("start", "-b", str(script), check=False)
    assert done.returncode == 2, done.stderr
    assert satellite.asked("getlink.cgi")
    assert satellite.names == {}


def test_a_refusal_says_what_to_do(rps: Rps, satellite: SatelliteServer) -> None:
    satellite.outside = True
    done = rps("start", check=False)
    assert done.returncode == 4
    assert "not in range" in done.stderr
    assert "login nodes" in done.stderr
