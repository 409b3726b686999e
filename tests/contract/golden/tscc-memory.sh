#!/bin/bash -l
#PBS -N rps-83121e377e
#PBS -l nodes=1:ppn=1
#PBS -l walltime=00:30:00
#PBS -l mem=2048mb
#PBS -q interactive
#PBS -r n
#PBS -j oe
#PBS -o /home/alice/.local/state/rps/sessions/three-random-words/spool.log
#PBS -S /home/alice/.local/state/rps/sessions/three-random-words/job-shell
# JupyterLab under Torque or PBS. rps inserts its #PBS lines above and the session's directory below.
RPS_SESSION=/home/alice/.local/state/rps/sessions/three-random-words
[ -O "$RPS_SESSION" ] || { echo "rps: $RPS_SESSION is not yours on this node" >&2; exit 1; }

# Output goes to the log at once: Torque and PBS spool a job's output on the node until the job has ended.
exec >>"$RPS_SESSION/job.log" 2>&1

# Ignored until the agent handles it: `qsig -s USR1` would end a shell that loads modules.
trap '' USR1

# shellcheck source=/dev/null
. "$RPS_SESSION/prepare.sh"

# exec: the scheduler's signals must reach the agent, not a shell above it.
exec /bin/sh "$RPS_SESSION/run-agent.sh" --app lab
