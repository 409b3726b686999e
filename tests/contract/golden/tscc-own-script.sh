#!/bin/bash
#PBS -N rps-83121e377e
#PBS -l nodes=1:ppn=1
#PBS -l walltime=00:30:00
#PBS -q interactive
#PBS -r n
#PBS -j oe
#PBS -o /home/alice/.local/state/rps/sessions/three-random-words/spool.log
#PBS -S /home/alice/.local/state/rps/sessions/three-random-words/job-shell
echo mine
RPS_SESSION=/home/alice/.local/state/rps/sessions/three-random-words
[ -O "$RPS_SESSION" ] || { echo "rps: $RPS_SESSION is not yours on this node" >&2; exit 1; }
exec /bin/sh "$RPS_SESSION/run-agent.sh" --app lab
