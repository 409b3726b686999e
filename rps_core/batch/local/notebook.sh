#!/bin/bash
# rps: session
# Notebook on this machine. The line above becomes RPS_SESSION='<the session's directory>'.

exec /bin/sh "$RPS_SESSION/run-agent.sh" --app notebook
