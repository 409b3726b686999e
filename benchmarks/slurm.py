"""On a login node of the tests' Comet, with a real Slurm: only root can start it, so other
users skip it. The default partition is down, so that no submitted job takes CPU time from the measurement;
each job is cancelled before the next.

`rps start --no-wait` as `./rps` of a clone, warm (the default account and the merged configuration are
remembered) and cold (neither is), beside a shell script with the steps of start-jupyter
(`benchmarks/seed.sh`, which names its source: curl, openssl, `jupyter --config-dir`, sbatch, and awk, sed,
date, mktemp and the like between them); 9 of each, interleaved, medians, after one of each that does not
count; sessions are removed before the next. Both verify the service's certificate, each as where it is in
use: curl reads the file of the system's CAs (with this service's added), rps the CA that its site names;
with a certificate of a public CA it reads that CA alone, from the system's directory.

The script asks this service for its name (`GET /getlink.cgi`), which answers in some milliseconds. Where
start-jupyter is deployed, a satellite answers: Perl, started by Apache for each call. What that program does
for a name (`benchmarks/satellite_issue.pl`, without Apache's part) is timed by itself, in the same rounds. A
user of start-jupyter waits for both, a user of `rps start` for its service's answers: so the target of the
wall time is the sum, and the script's own stands below it. Further rows are the lower bound of a Python
program with click, TLS and sbatch: an interpreter that imports their modules, and sbatch alone.

200 pending sessions: 5 by `rps start`, the others by a script (`benchmarks/pending.py`) with a name of
the service, a record, and a small held job in place of an agent's. Wrappers first in the PATH count
Slurm's programs; times are taken without them. `rps list` also queries the service for each session.
A command follows one session: `rps start --wait`, for 40 s, with the 200 in the queue. And ten minutes of
following a pending session, on a simulated clock (`benchmarks/ten_minutes.py`): as many queries as in ten
minutes, to the real Slurm and the real service, and as many redraws; the CPU is that of rps and its
children, and 0.6 s are 0.1% of a core.

Detection is `Plugins.load().detect(this_host())` in a fresh interpreter, minus an interpreter that
only imports its module (which `rps` needs anyway), and minus a bare one; medians of 15."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from benchmarks.login import Cost, Login, logged_in
from benchmarks.processes import FailedError
from benchmarks.report import Row, at_least, at_most, beside, exactly
from tests.cluster.lab import Cluster
from tests.cluster.network import SITES

NEEDS: tuple[str, ...] = ("curl", "openssl", "perl")
TIMES = 9
SESSIONS = 200
STARTED = 5  # of these by rps itself
LISTINGS = 5
INTERVAL = 15  # seconds between two rounds, at least
FOLLOWING = 40  # seconds: three rounds
TEN_MINUTES_LIMIT = 0.6  # seconds of CPU
CPU_LIMIT = 1.2  # times the script's
LIST_LIMIT = 0.35
FIRST_LIMIT = 0.5
DETECTIONS = 15
DETECTION_LIMIT = 0.05
_START = ("start", "--no-wait", "--quiet")
_BARE = "pass"
_FLOOR = "import click, dataclasses, http.client, json, pathlib, sh, ssl"
_IMPORT = "from rps_core.hooks.manager import Plugins, this_host"
_DETECT = f"{_IMPORT}; assert Plugins.load().detect(this_host()).cluster.name == 'comet'"
_SYSTEMS_CAS = "/etc/ssl/certs/ca-certificates.crt"  # the file that Debian's curl reads
_BATCH = "#!/bin/bash\nexec jupyter lab --config=$config\n"


def measure(scratch: Path) -> list[Row]:
    """Measure a start, the detection, and 200 sessions, which stay until the cluster ends."""
    with logged_in(scratch / "slurm") as (alice, cluster):
        return [*_starting(alice, cluster), *_detection(alice), *_many(alice)]


def _starting(alice: Login, cluster: Cluster) -> list[Row]:
    batch = alice.home / "batch.sh"
    batch.write_text(_BATCH)
    batch.chmod(0o755)
    domain = SITES["comet"]
    scripts = alice.clone / "benchmarks"
    cas = "systems-cas.pem"
    alice.run("sh", "-c", f"cat {_SYSTEMS_CAS} /etc/rps/{domain}.pem >{cas}")
    seed = [str(scripts / "seed.sh"), domain, cas, batch.name]
    words = alice.clone / "rps_proxy" / "registry" / "eff_long_wordlist.txt"
    satellite = [str(scripts / "satellite_issue.pl"), "127.0.0.1", str(words), "names.sqlite"]
    start = [alice.rps, *_START]
    floor = [alice.python, "-I", "-c", _FLOOR]
    sbatch = ["sbatch", "--partition=compute", "--time=30", "batch.sh"]
    commands = {
        "cold": start, "script": seed, "satellite": satellite, "warm": start, "floor": floor,
        "sbatch": sbatch,
    }  # fmt: skip
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(1 + TIMES):
        shutil.rmtree(alice.home / ".cache" / "rps", ignore_errors=True)
        for name, command in commands.items():
            costs[name].append(alice.cost(*command))
            alice.run(alice.rps, "stop", "--all")
            cluster.admin("scancel", "--user=alice")
            # Of jobs that have ended there are none: the script looks at each, and `rps start` too.
            for place in (".jupyter/rps", ".local/state/rps/sessions"):
                shutil.rmtree(alice.home / place, ignore_errors=True)
    cold, script, issue, warm, imports, submission = (_median(costs[name][1:]) for name in commands)
    return [
        at_most(
            "`rps start --no-wait`, warm, wall",
            warm.wall,
            script.wall + issue.wall,
            "s",
            of="the script and a satellite's program",
        ),
        beside("… the script, which asks this service, wall", script.wall, "s"),
        beside("… a satellite's program for a name, wall", issue.wall, "s"),
        beside("… cold, wall", cold.wall, "s"),
        at_most(
            "`rps start --no-wait`, warm, CPU",
            warm.cpu,
            CPU_LIMIT * script.cpu,
            "s",
            of=f"{CPU_LIMIT} x the script's",
        ),
        beside("… cold, CPU", cold.cpu, "s"),
        beside("… the script, CPU", script.cpu, "s"),
        beside("… Python with click, sh, http.client and ssl imported, wall", imports.wall, "s"),
        beside("… sbatch alone, wall", submission.wall, "s"),
    ]


def _detection(alice: Login) -> list[Row]:
    codes = (_BARE, _IMPORT, _DETECT)
    costs: dict[str, list[Cost]] = {code: [] for code in codes}
    for _ in range(DETECTIONS):
        for code in codes:
            costs[code].append(alice.cost(alice.python, "-I", "-c", code))
    bare, imported, detected = (_median(costs[code]).cpu for code in codes)
    alice.run(alice.python, "-I", "-c", _DETECT, counted=True)
    return [
        at_most("detection, CPU above importing it", detected - imported, DETECTION_LIMIT, "s"),
        beside("… CPU above a bare interpreter", detected - bare, "s"),
        exactly("… calls of Slurm's programs", len(alice.calls()), 0, ""),
    ]


def _many(alice: Login) -> list[Row]:
    for _ in range(STARTED):
        alice.run(alice.rps, *_START)
    pending = str(alice.clone / "benchmarks" / "pending.py")
    alice.run(alice.python, "-I", pending, str(SESSIONS - STARTED))
    # The first command that finds these programs asks which cluster they are of, once for all.
    alice.run(alice.rps, "list", counted=True)
    listed = json.loads(alice.run(alice.rps, "list", "--json", counted=True))
    if [session["state"] for session in listed] != ["pending"] * SESSIONS:
        raise FailedError(f"`rps list` does not show {SESSIONS} sessions that wait: {listed}")
    calls = len(alice.calls())
    cost = _median([alice.cost(alice.rps, "list") for _ in range(LISTINGS)])
    return [
        exactly(f"`rps list`, {SESSIONS} sessions, calls of Slurm's programs", calls, 1, ""),
        at_most("… CPU", cost.cpu, LIST_LIMIT, "s"),
        beside("… wall", cost.wall, "s"),
        *_on_a_terminal(alice),
        *_following(alice),
        *_ten_minutes(alice, listed[0]["name"]),
    ]


def _following(alice: Login) -> list[Row]:
    # It ends itself: 130 after an interrupt, which leaves the job alone.
    command = (alice.rps, "start", "--wait", "--quiet")
    timeout = ("timeout", "--preserve-status", "--signal=INT", str(FOLLOWING))
    alice.run(*timeout, *command, counted=True, code=130)
    submission, *rounds = alice.calls()
    programs = {call.program for call in rounds}
    if submission.program != "sbatch" or programs != {"squeue"} or len(rounds) < 3:
        raise FailedError(f"`rps start --wait` did not poll as it should: {rounds}")
    first, second, *_ = (later.time - earlier.time for earlier, later in pairwise(rounds))
    return [
        at_least("`rps start --wait`, first round to second", first, INTERVAL, "s"),
        at_least("… second round to third", second, first, "s", of="first to second"),
    ]


def _on_a_terminal(alice: Login) -> list[Row]:
    script = str(alice.clone / "benchmarks" / "first_output.py")
    command = (alice.python, "-I", script, alice.rps, "list")
    found = [json.loads(alice.run(*command)) for _ in range(LISTINGS)]
    first = statistics.median(one["first"] for one in found)
    return [at_most("… on a terminal, until the records are shown", first, FIRST_LIMIT, "s")]


def _ten_minutes(alice: Login, name: str) -> list[Row]:
    script = str(alice.clone / "benchmarks" / "ten_minutes.py")
    found = [json.loads(alice.run(alice.python, "-I", script, name)) for _ in range(LISTINGS)]
    return [
        at_most(
            "following for ten minutes, CPU of rps and its children",
            statistics.median(one["cpu"] for one in found),
            TEN_MINUTES_LIMIT,
            "s",
        ),
        beside("… polls of Slurm", found[0]["polls"], ""),
        beside("… questions to the service", found[0]["looks"], ""),
    ]


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(
        wall=statistics.median(cost.wall for cost in costs),
        cpu=statistics.median(cost.cpu for cost in costs),
    )
