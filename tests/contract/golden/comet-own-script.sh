#!/bin/bash
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
echo mine
RPS_SESSION=/home/alice/.local/state/rps/sessions/three-random-words
[ -O "$RPS_SESSION" ] || { echo "rps: $RPS_SESSION is not yours on this node" >&2; exit 1; }
exec /bin/sh "$RPS_SESSION/run-agent.sh" --app lab
