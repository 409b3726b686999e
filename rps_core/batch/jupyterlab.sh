#!/bin/bash
# rps: session
# JupyterLab. The line above becomes RPS_SESSION='<the session's directory>'.

# shellcheck source=/dev/null
. "$RPS_SESSION/prepare.sh"

exec /bin/sh "$RPS_SESSION/run-agent.sh" --app lab
