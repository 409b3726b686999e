"""What the launcher says of the session: launch.json, and the secrets in claim.json (docs/sessions.md)."""

import json
import os
from typing import List, Optional

from rps_core.node.agent.events import End
from rps_core.node.agent.files import check_directory, read_file
from rps_core.node.agent.service import is_printable


class Session:
    """The session's directory, as the launcher made it.

    Raises:
        UnsafeFile: somebody else could have made or read it.
        End: it is damaged.
        OSError: it cannot be read.
    """

    def __init__(self, directory: str) -> None:
        check_directory(directory)
        self.path = directory
        try:
            launch = json.loads(read_file(os.path.join(directory, "launch.json")).decode())
            secrets = read_file(os.path.join(directory, "claim.json"), secret=True)
            keys = json.loads(secrets.decode())
            self.name: str = launch["name"]
            self.host: str = launch["host"]
            self.directory: str = launch["directory"]  # of the notebooks
            self.program: str = launch["jupyter"]
            self.container: Optional[List[str]] = launch.get("container")
            self.port_range: Optional[List[int]] = launch["port_range"]
            self.start_timeout: float = launch["start_timeout"]
            walltime = launch.get("walltime")
            self.walltime = None if walltime is None else float(walltime)
            self.shutdown_before = float(launch.get("shutdown_before", 0))
            self.idle_timeout = float(launch.get("idle_timeout") or 0)
            service = launch["service"]
            ca_file = service["ca_file"] and os.path.join(directory, service["ca_file"])
            self.service = (service["host"], service["port"], service["connect"], ca_file)
            self.protocol: Optional[str] = service.get("protocol")
            self.origin = str(launch["url"]).rstrip("/")
            if not (is_printable(keys["claim"]) and is_printable(keys["token"])):
                raise ValueError
            self.claim: str = keys["claim"]
            self.token: str = keys["token"]
        except (ValueError, KeyError, TypeError) as error:
            # The error's text may quote the file.
            name = type(error).__name__
            raise End("start-failed", "The session's files are damaged (%s)" % name) from None
        # The local scheduler's first: its jobs may be started from within a Slurm job.
        names = ("RPS_JOB_ID", "SLURM_JOB_ID", "PBS_JOBID")
        self.job_id = next((os.environ[name] for name in names if name in os.environ), None)
