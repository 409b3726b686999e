"""A session's record, as `rps start` on Comet writes it."""

from __future__ import annotations

from datetime import UTC, datetime

from rps_core.state.record import Endpoint, SessionRecord

NOW = datetime.now(UTC)
RECORD = SessionRecord(
    name="one-two-three", tag="rps:one-two-three:0", cluster="comet", site="comet", scheduler="slurm",
    url="https://one-two-three.example.org/", endpoint=Endpoint(host="manage.example.org", port=443),
    own_service=False, app="lab", directory="/home/alice", walltime=1800, created=NOW.timestamp(),
    job_id="7",
)  # fmt: skip
