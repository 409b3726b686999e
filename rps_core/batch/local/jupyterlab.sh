#!/bin/bash
# rps: session
# JupyterLab on this machine. The line above becomes RPS_SESSION='<the session's directory>'.

exec /bin/sh "$RPS_SESSION/run-agent.sh" --app lab
