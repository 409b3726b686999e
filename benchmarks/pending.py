"""Make sessions that wait, on a login node: `python pending.py NUMBER`.

Each has a name of the service, a record in the store and a job that is linked to it. The job is a small
one, held: what an agent would need is left out.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace

from rps_core import cluster
from rps_core.proxy_client.client import configured_client
from rps_core.state.record import Secrets, SessionRecord
from rps_core.state.store import Store
from rps_core.system import paths

_AT_ONCE = 240  # names of one user that may wait: below the service's `limits.pending_per_user`


def main() -> None:
    """Make them."""
    here = cluster.find(None)
    client = configured_client(here)
    store = Store(paths.sessions_dir())
    site = here.site.cluster
    for number in range(int(sys.argv[1])):
        user = f"pending-{number // _AT_ONCE}"
        issued = client.issue(cluster=site.name, scheduler=site.scheduler, user=user)
        record = SessionRecord(
            name=issued.name, tag=f"rps:{issued.name}:0", cluster=site.name, site=site.site,
            scheduler=site.scheduler, url=issued.url, endpoint=client.endpoint, own_service=False,
            app="lab", directory=str(paths.home()), walltime=1800, created=time.time(),
        )  # fmt: skip
        store.create(record, Secrets(issued.claim, "0" * 32))
        job_id = _submit(record)
        store.save(replace(record, job_id=job_id))
        client.link(issued.name, issued.claim, job_id)


def _submit(record: SessionRecord) -> str:
    options = ["--hold", "--parsable", f"--comment={record.tag}", f"--job-name=rps-{record.name}"]
    options += ["--time=30", "--output=/dev/null", "--wrap=true"]
    done = subprocess.run(["sbatch", *options], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip().partition(";")[0]


if __name__ == "__main__":
    main()
