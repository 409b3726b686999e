#!/bin/bash -l
# Jupyter Notebook under PBS. rps puts its #PBS lines above, and the session's directory below.
# rps: session

# Written as it comes: PBS keeps a job's output on the node, and delivers it when the job has ended.
exec >>"$RPS_SESSION/job.log" 2>&1

# shellcheck source=/dev/null
. "$RPS_SESSION/prepare.sh"

# The shell is replaced: nothing stands between the scheduler's signals and the agent.
exec /bin/sh "$RPS_SESSION/run-agent.sh" --app notebook
