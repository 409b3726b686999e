#!/bin/bash
# pbs_mom starts this in place of the user's login shell (qsub -S); a copy is in the session's directory.
#
# A login shell would stay above the batch script. SIGTERM (qdel, walltime) and SIGUSR1 (qsig -s USR1) end it,
# and then pbs_mom kills what is left of the job at once (Torque: src/resmom/catch_child.c; PBS:
# src/resmom/catch_child.c). This shell starts the login shell too, with the batch script as its last command,
# so that the agent takes its place and has the scheduler's kill_delay to end the session.

# Ignored until the agent handles it: a shell that loads modules would die.
trap '' USR1

# pbs_mom passes the path of its copy of the batch script on the standard input; with Torque's
# --enable-shell-use-argv as an argument.
command=$1
[ -n "$command" ] || IFS= read -r command
case $command in
    "#!"*) command="exec $(dirname "$0")/batch.sh" ;; # Torque's --disable-shell-pipe: it is the script itself
    "exec "*) ;;                                      # Torque's $exec_with_exec
    "cd "*";"*) command="${command%%;*}; exec ${command#*;}" ;; # PBS's sandbox=PRIVATE
    *) command="exec $command" ;;
esac

# pbs_mom sets SHELL to this file, and JupyterLab starts it in terminals.
SHELL=$(getent passwd "$(id -u)" | cut -d: -f7)
[ -x "$SHELL" ] || SHELL=/bin/bash
export SHELL

exec -l "$SHELL" -c "$command" </dev/null
