"""`rps proxy feed`: from the scheduler to the service, for all jobs at once.

Run by cron or a timer. One question to the service, one to the scheduler, one answer to the service; what is
unknown is not told. Nor is what is said of a job that is not the session's own: the feed may see jobs that
the session's user may not, and the session's page is for anybody.
"""

from __future__ import annotations

import contextlib
import json
import pwd
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rps_core import shell
from rps_core.client import configured_endpoint
from rps_core.errors import ServiceError
from rps_core.job_reports import LONGEST_OWNER, report
from rps_core.models import Gone, Sighting, Unknown
from rps_core.node.agent.service import Service, ServiceAway, ServiceRefused
from rps_proxy import operate
from rps_proxy.files import read_key

if TYPE_CHECKING:
    from rps_core.cluster import Here
    from rps_proxy.settings import Settings

TIMEOUT = 30.0  # seconds that the service may take
_SILENCE = Sighting(status=Unknown(reason="the scheduler said nothing of it"))

# Given what is to be said, tells the service; given None, asks it for the jobs.
Ask = Callable[[dict[str, Any] | None], dict[str, Any]]


def feed(here: Here, service: Ask) -> str:
    """Do all of it; what was done, in a line.

    Raises:
        ServiceError: the service does not answer, or refuses.
        SchedulerError: the scheduler cannot be asked at all.
        RpsError: its plugin cannot be asked for everybody's jobs.
    """
    jobs = service(None)["jobs"]
    sightings: Mapping[str, Sighting] = {}
    if jobs:
        sightings = here.site.poll_everybody(sorted({one["job_id"] for one in jobs}), shell.run)
    known: dict[str, Any] = {}
    foreign: dict[str, Any] = {}
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()  # why the scheduler gave no answer
    for one in jobs:
        job_id, seen = one["job_id"], sightings.get(one["job_id"], _SILENCE)
        said = report(seen.status)
        if isinstance(seen.status, Unknown) and seen.status.cause == "scheduler-away":
            reasons[seen.status.reason] += 1
        if said is not None and not _is_its_own(seen, one, here):
            said = None
            if seen.name is not None:
                foreign[one["name"]] = {"job_id": job_id, "owner": _shown(seen.owner)}
        if said is not None:
            known[one["name"]] = {**said, "job_id": job_id}
        counts[said["state"] if said else "unknown"] += 1
    noted = service({"jobs": known, "foreign": foreign})["noted"] if known or foreign else 0
    told = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
    others = f" ({len(foreign)} not the session's own)" if foreign else ""
    why = "".join(f". {reason}" for reason, _ in reasons.most_common(1))
    return f"{len(jobs)} jobs{f': {told}{others}' if told else ''}; {noted} noted{why}"


def _is_its_own(seen: Sighting, session: Mapping[str, Any], here: Here) -> bool:
    """Whether the job is the session's: it has the name that the session's job has, and belongs to the user,
    where that is proved. One that the scheduler does not show any more was, if it was found to be before.
    """
    if seen.name is None:
        return isinstance(seen.status, Gone) and bool(session["seen"])
    user = session["user"]
    if user is not None and seen.owner != _login_name(user):
        return False
    return seen.name == here.site.job_name(session["name"])


def _login_name(user: str) -> str:
    """The service's host need not know the cluster's users: `uid:1234` is then what it has of one."""
    kind, _, number = user.partition(":")
    if kind == "uid" and number.isdecimal():
        with contextlib.suppress(KeyError, OverflowError):
            return pwd.getpwuid(int(number)).pw_name
    return user


def _shown(owner: str | None) -> str | None:
    if owner is None:
        return None
    return "".join(c if c.isprintable() else "?" for c in owner)[:LONGEST_OWNER]


def over_the_socket(here: Here, settings: Settings) -> Ask:
    """The service on this host, by its admin socket.

    Raises:
        ServiceError: none is running, or it is another account's.
    """
    cluster = here.site.cluster.name

    def ask(said: dict[str, Any] | None) -> dict[str, Any]:
        body: dict[str, Any] = {"cluster": cluster}
        call = "/unfinished-jobs"
        if said is not None:
            body, call = {**body, **said}, "/job-states"
        answer = operate.ask(settings, "POST", call, body)
        if answer is None:
            raise ServiceError(
                "No service is running on this host.",
                "Where it runs elsewhere, give the key with --key-file (docs/operators.md).",
            )
        found: dict[str, Any] = json.loads(answer)
        return found

    return ask


def over_the_api(here: Here, key_file: Path) -> Ask:
    """The service that this cluster's sessions use, by its API.

    Raises:
        ServiceError: the file holds no key.
        UsageError: no service is configured for the cluster.
    """
    key = read_key(key_file, "the feed").decode("ascii", "replace")
    to = configured_endpoint(here.loaded)
    service = Service(to.host, to.port, to.connect, to.ca_file, TIMEOUT, keep=True)
    path = f"/api/v1/clusters/{quote(here.site.cluster.name, safe='')}/jobs"

    def ask(said: dict[str, Any] | None) -> dict[str, Any]:
        try:
            if said is None:
                return service.request("GET", path, None, key)
            return service.request("POST", path, said, key)
        except ServiceAway as error:
            raise ServiceError(
                f"The service at {to.host}:{to.port} does not answer: {error}",
                "The next run tells what this one could not.",
                transient=True,
            ) from None
        except ServiceRefused as error:
            raise ServiceError(
                f"The service at {to.host} refused: {error.message} ({error.code})",
                "See `feed` in its configuration: the addresses, and the key.",
                code=error.code,
            ) from None

    return ask
