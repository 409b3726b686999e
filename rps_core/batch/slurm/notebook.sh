#!/bin/bash -l
# Jupyter Notebook under Slurm. rps puts its #SBATCH lines above, and the session's directory below.
# rps: session

# Slurm's word that the time is nearly up is for the agent; to a shell it would be the end.
trap '' USR1

# --export=NONE holds for this script; what the notebook starts with srun gets the notebook's environment.
unset SLURM_EXPORT_ENV

# shellcheck source=/dev/null
. "$RPS_SESSION/prepare.sh"

# The shell is replaced: Slurm signals the first process of the job step, and that must be the agent.
exec /bin/sh "$RPS_SESSION/run-agent.sh" --app notebook
