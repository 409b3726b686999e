#!/bin/bash -l
# JupyterLab under Slurm. rps inserts its #SBATCH lines above and the session's directory below.
# rps: session

# Slurm sends USR1 before the walltime limit: the agent handles it, and it would end a shell.
trap '' USR1

# --export=NONE is for this script alone: srun inside the notebook passes on the notebook's environment.
unset SLURM_EXPORT_ENV

# shellcheck source=/dev/null
. "$RPS_SESSION/prepare.sh"

# exec: Slurm signals the first process of the job step, which must be the agent.
exec /bin/sh "$RPS_SESSION/run-agent.sh" --app lab
