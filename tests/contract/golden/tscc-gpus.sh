#!/bin/bash -l
#PBS -N rps-83121e377e
#PBS -l nodes=1:ppn=4:gpus=2
#PBS -l walltime=00:30:00
#PBS -q gpu-hotel
#PBS -r n
#PBS -j oe
#PBS -o /home/alice/.local/state/rps/sessions/three-random-words/spool.log
# JupyterLab under Torque. rps puts its #PBS lines above, and the session's directory below.
RPS_SESSION=/home/alice/.local/state/rps/sessions/three-random-words

# Written as it comes: Torque keeps a job's output on the node, and delivers it when the job has ended.
exec >>"$RPS_SESSION/job.log" 2>&1

# shellcheck source=/dev/null
. "$RPS_SESSION/prepare.sh"

# The shell is replaced: nothing stands between the scheduler's signals and the agent.
exec /bin/sh "$RPS_SESSION/run-agent.sh" --app lab
