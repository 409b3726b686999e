#!/bin/bash
# JupyterLab under Toy. rps inserts its #TOY lines above and the session's directory below.
# rps: session

echo "this is job $TOY_JOBID of Toy"
# shellcheck source=/dev/null
. "$RPS_SESSION/prepare.sh"

exec /bin/sh "$RPS_SESSION/run-agent.sh" --app lab
