#!/bin/bash -l
#SBATCH --job-name=rps-three-random-words
#SBATCH --comment=rps:three-random-words
#SBATCH --time=00:30:00
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --partition=compute
#SBATCH --signal=B:USR1@120
#SBATCH --no-requeue
#SBATCH --export=NONE
#SBATCH --output=/home/alice/.local/state/rps/sessions/three-random-words/job.log
#SBATCH --open-mode=append
# JupyterLab under Slurm. rps puts its #SBATCH lines above, and the session's directory below.
RPS_SESSION=/home/alice/.local/state/rps/sessions/three-random-words

# Slurm's word that the time is nearly up is for the agent; to a shell it would be the end.
trap '' USR1

# --export=NONE holds for this script; what the notebook starts with srun gets the notebook's environment.
unset SLURM_EXPORT_ENV

# shellcheck source=/dev/null
. "$RPS_SESSION/prepare.sh"

# The shell is replaced: Slurm signals the first process of the job step, and that must be the agent.
exec /bin/sh "$RPS_SESSION/run-agent.sh" --app lab
