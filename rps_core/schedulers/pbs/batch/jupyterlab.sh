#!/bin/bash -l
# JupyterLab under Torque or PBS. rps inserts its #PBS lines above and the session's directory below.
# rps: session

# Output goes to the log at once: Torque and PBS spool a job's output on the node until the job has ended.
exec >>"$RPS_SESSION/job.log" 2>&1

# Ignored until the agent handles it: `qsig -s USR1` would end a shell that loads modules.
trap '' USR1

# shellcheck source=/dev/null
. "$RPS_SESSION/prepare.sh"

# exec: the scheduler's signals must reach the agent, not a shell above it.
exec /bin/sh "$RPS_SESSION/run-agent.sh" --app lab
