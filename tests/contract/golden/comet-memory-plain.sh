#!/bin/bash -l
#SBATCH --job-name=rps-three-random-words
#SBATCH --comment=rps:three-random-words
#SBATCH --time=00:30:00
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --partition=compute
#SBATCH --mem=2048M
#SBATCH --signal=B:USR1@120
#SBATCH --no-requeue
#SBATCH --export=NONE
#SBATCH --output=/home/alice/.local/state/rps/sessions/three-random-words/job.log
#SBATCH --open-mode=append
# JupyterLab under Slurm. rps inserts its #SBATCH lines above and the session's directory below.
RPS_SESSION=/home/alice/.local/state/rps/sessions/three-random-words
[ -O "$RPS_SESSION" ] || { echo "rps: $RPS_SESSION is not yours on this node" >&2; exit 1; }

# Slurm sends USR1 before the walltime limit: the agent handles it, and it would end a shell.
trap '' USR1

# --export=NONE is for this script alone: srun inside the notebook passes on the notebook's environment.
unset SLURM_EXPORT_ENV

# shellcheck source=/dev/null
. "$RPS_SESSION/prepare.sh"

# exec: Slurm signals the first process of the job step, which must be the agent.
exec /bin/sh "$RPS_SESSION/run-agent.sh" --app lab
