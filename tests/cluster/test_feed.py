"""A job's place in a real Slurm's queue, on the page that waits for it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.conftest import Login
from tests.cluster.lab import Cluster
from tests.cluster.services import FEED_KEY
from tests.cluster.visitor import OutsideVisitor
from tests.stands.waiting import until

Visit = Callable[[str], OutsideVisitor]
HELD = ("--set", 'job.directives=["--hold"]')


def shown(visitor: OutsideVisitor) -> dict[str, Any]:
    """Return what the page shows to a visitor without the token."""
    status, text = visitor.get("/.rps/state", token=False)
    assert status == 200
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.fixture
def feed(cluster: Cluster, bob: Login) -> Callable[[], str]:
    """Run `rps proxy feed` on a login node as cron does, for a user with the key."""
    key_file = cluster.home / bob.account.name / "feed.key"
    key_file.write_text(FEED_KEY)
    key_file.chmod(0o600)
    os.chown(key_file, bob.account.uid, bob.account.uid)
    named = f"{bob.account.home}/{key_file.name}"  # on that host
    return lambda: bob.rps("proxy", "feed", "--key-file", named).stdout


def test_a_strangers_job_from_the_queue_to_its_end(
    cluster: Cluster, comet: Login, feed: Callable[[], str], visit: Visit
) -> None:
    started = json.loads(comet.rps("start", "--no-wait", "--json", *HELD).stdout)
    visitor = visit(started["url"])
    assert shown(visitor)["phase"] == "pending"
    assert "1 queued" in feed()
    found = shown(visitor)
    assert found["phase"] == "queued"
    assert "it is held" in found["text"], found
    assert visitor.get("/")[0] == 503
    job = started["job_id"]
    cluster.admin("scancel", job)
    assert "1 gone" in feed()
    assert shown(visitor)["text"].startswith("The job was cancelled."), shown(visitor)
    status, page = visitor.get("/")
    assert status == 410
    for secret in ("alice", job):
        assert secret not in page
    assert "gone" not in feed()  # the service asks for it no more


_LINK = """
import json, sys
from rps_core.proxy_client.client import configured_client
from rps_core.cluster import find

client = configured_client(find(None))
for job_id in json.load(sys.stdin):
    issued = client.issue(cluster="comet", scheduler="slurm", user="bob")
    client.link(issued.name, issued.claim, job_id)
    print(json.dumps([issued.url, issued.name, issued.claim]))
"""
_REVOKE = """
import json, sys
from rps_core.proxy_client.client import configured_client
from rps_core.cluster import find

client = configured_client(find(None))
for _, name, claim in map(json.loads, sys.stdin):
    client.revoke(name, claim, "the test is over", "stopped")
"""


@pytest.fixture
def link(bob: Login) -> Iterator[Callable[..., list[str]]]:
    """Return a function: bob takes names and links each to a job; the URLs."""
    python = str(bob.clone / ".venv/bin/python")
    taken: list[str] = []

    def ask(script: str, text: str) -> list[str]:
        done = bob.host.run(
            [python, "-c", script], bob.account, input=text, capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return list(done.stdout.splitlines())

    def link(*job_ids: str) -> list[str]:
        lines = ask(_LINK, json.dumps(job_ids))
        taken.extend(lines)
        return [json.loads(line)[0] for line in lines]

    yield link
    ask(_REVOKE, "".join(f"{line}\n" for line in taken))


def test_another_users_job_is_unknown(
    cluster: Cluster,
    comet: Login,
    bob: Login,
    feed: Callable[[], str],
    visit: Visit,
    link: Callable[..., list[str]],
) -> None:
    """Test that bob can neither link to alice's job nor forge records by job names.

    Whichever of the jobs squeue lists first.
    """
    named = bob.run("sbatch", "--parsable", "--hold", "--wrap=true").stdout.strip()
    started = json.loads(comet.rps("start", "--no-wait", "--json", *HELD).stdout)
    job = started["job_id"]
    record = (job, "CANCELLED", "N/A", "0:00", "n/a", "None", f"rps-{started['name']}", "alice")
    forged = "x\x1e" + "\x1f".join(record) + "\x1e"
    bob.run("scontrol", "update", f"jobid={named}", f"jobname={forged}")
    bob.run("sbatch", "--hold", f"--job-name={forged}", "--wrap=true")
    shown_name = bob.run("squeue", "--noheader", f"--jobs={named}", "--format=%j").stdout
    assert f"{job}\x1fCANCELLED" in shown_name  # Slurm accepted it
    (url,) = link(job)
    alices, bobs = visit(started["url"]), visit(url)
    try:
        said = feed()
        assert "1 queued, 1 unknown (1 not the session's own); 1 noted" in said, said
        assert shown(alices)["phase"] == "queued"
        assert shown(bobs)["phase"] == "pending"
        cluster.admin("scancel", job)
        assert "1 gone, 1 unknown (1 not the session's own)" in feed()
        assert shown(alices)["phase"] == "ended"
        assert shown(bobs)["phase"] == "pending"
    finally:
        cluster.admin("scancel", "--user=bob")


def test_a_users_script_does_not_rename_the_job(
    comet: Login, feed: Callable[[], str], visit: Visit
) -> None:
    template = comet.run(
        "cat", str(comet.clone / "rps_core/schedulers/slurm/batch/notebook.sh")
    ).stdout
    first, _, rest = template.partition("\n")
    script = comet.sessions.parent.parent.parent.parent / "mine.sh"
    script.write_text(f"{first}\n#SBATCH --job-name=mine\n#PBS -t 0-1\n{rest}")
    script.chmod(0o755)
    own = f"{comet.account.home}/{script.name}"
    started = json.loads(comet.rps("start", "--no-wait", "--json", "-b", own, *HELD).stdout)
    named = comet.run(
        "squeue", "--noheader", f"--jobs={started['job_id']}", "--format=%i %j"
    ).stdout
    assert named.strip() == f"{started['job_id']} rps-{started['name']}"
    assert "1 queued" in feed()
    assert shown(visit(started["url"]))["phase"] == "queued"


ABSURD = ("4294967298", "99999999999999999999", "17_[1-3]", "-5", "abc", "17;comet", "1,2")


def test_an_absurd_id_hides_no_other_job(
    cluster: Cluster, comet: Login, feed: Callable[[], str], link: Callable[..., list[str]]
) -> None:
    """Test an absurd job id, in a record or a link: the other jobs are still reported."""
    good, bad = (
        json.loads(comet.rps("start", "--no-wait", "--json", *HELD).stdout) for _ in range(2)
    )
    record = comet.sessions / bad["name"] / "session.json"
    kept = record.read_text()
    try:
        link(*ABSURD)
        assert f"2 queued, {len(ABSURD)} unknown; 2 noted" in feed()
        for job_id in ABSURD:
            record.write_text(json.dumps({**json.loads(kept), "job_id": job_id}))
            listed = json.loads(comet.rps("list", "--json").stdout)
            states = {one["name"]: one["state"] for one in listed}
            assert states == {good["name"]: "pending", bad["name"]: "unknown"}, job_id
            # Slurm would take the first for job 2, and show that job's data.
            assert "scontrol" not in comet.rps("why", bad["name"], check=False).stdout
        # Accounting reports who cancelled a job that has ended, beside the worst of the absurd ids.
        cluster.admin("scancel", good["job_id"])
        asked = ("sacct", f"--jobs={good['job_id']}", "--noheader", "--format=state%40")
        until(lambda: "CANCELLED by" in cluster.admin(*asked), "accounting")
        comet.rps("list")
        status = comet.status(good["name"])
        assert (status["state"], "cancelled by root" in status["reason"]) == ("ended", True), status
    finally:
        record.write_text(kept)


def test_who_follows_tells_why_the_job_waits(comet: Login, visit: Visit) -> None:
    command = [str(comet.clone / "rps"), "start", "--wait", "--json", *HELD]
    launcher = comet.host.popen(command, comet.account, stderr=subprocess.DEVNULL)
    try:

        def url() -> str | None:
            living = json.loads(comet.rps("list", "--json").stdout)
            return living[0]["url"] if living and living[0]["job_id"] else None

        until(lambda: url() is not None, "its job")
        address = url()
        assert address is not None
        visitor = visit(address)
        until(lambda: shown(visitor)["phase"] == "queued", "the launcher's word")
        assert "it is held" in shown(visitor)["text"]
    finally:
        launcher.terminate()
        launcher.wait(30)
