"""`rps proxy feed`: from the scheduler to the service, for all jobs at once.

Run by cron or a timer. One question to the service, one to the scheduler, one answer to the service; what is
unknown is not told.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rps_core import shell
from rps_core.client import configured_endpoint
from rps_core.errors import ServiceError
from rps_core.job_reports import report
from rps_core.models import Unknown
from rps_core.node.agent import Service, ServiceAway, ServiceRefused
from rps_proxy import operate
from rps_proxy.files import read_key

if TYPE_CHECKING:
    from rps_core.cluster import Here
    from rps_core.models import JobStatus
    from rps_proxy.settings import Settings

TIMEOUT = 30.0  # seconds that the service may take

# Given reports by session name, tells the service; given None, asks it for the jobs.
Ask = Callable[[dict[str, Any] | None], dict[str, Any]]


def feed(here: Here, service: Ask) -> str:
    """Do all of it; what was done, in a line.

    Raises:
        ServiceError: the service does not answer, or refuses.
        SchedulerError: the scheduler cannot be asked at all.
        RpsError: its plugin cannot be asked for everybody's jobs.
    """
    jobs = {one["name"]: one["job_id"] for one in service(None)["jobs"]}
    statuses: dict[str, JobStatus] = {}
    if jobs:
        statuses.update(here.site.poll_everybody(sorted(set(jobs.values())), shell.run))
    silent = Unknown(reason="the scheduler said nothing of it")
    said = {name: report(statuses.get(job_id, silent)) for name, job_id in jobs.items()}
    known = {name: one for name, one in said.items() if one is not None}
    noted = service(known)["noted"] if known else 0
    counts = Counter(one["state"] if one else "unknown" for one in said.values())
    told = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
    return f"{len(jobs)} jobs{f': {told}' if told else ''}; {noted} noted"


def over_the_socket(here: Here, settings: Settings) -> Ask:
    """The service on this host, by its admin socket.

    Raises:
        ServiceError: none is running, or it is another account's.
    """
    cluster = here.site.cluster.name

    def ask(reports: dict[str, Any] | None) -> dict[str, Any]:
        body: dict[str, Any] = {"cluster": cluster}
        call = "/unfinished-jobs"
        if reports is not None:
            body, call = {**body, "jobs": reports}, "/job-states"
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

    def ask(reports: dict[str, Any] | None) -> dict[str, Any]:
        try:
            if reports is None:
                return service.request("GET", path, None, key)
            return service.request("POST", path, {"jobs": reports}, key)
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
