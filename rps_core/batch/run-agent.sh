#!/bin/sh
# Starts the node agent with the first Python that this node offers. A copy lies in the session's
# directory, beside agent.pyz, and the batch script ends with
#
#     exec /bin/sh "$RPS_SESSION/run-agent.sh" --app lab
#
# exec all the way down, because under cgroups the scheduler's SIGTERM reaches this process alone.
session=$(cd -P -- "$(dirname -- "$0")" && pwd) || exit 1

# -I: PYTHONPATH, PYTHONHOME and the user's site-packages are meant for another Python.
usable() {
    [ -x "$1" ] && "$1" -I -c 'import sys; sys.exit(sys.version_info < (3, 6))' 2>/dev/null
}

python=
while IFS= read -r candidate || [ -n "$candidate" ]; do
    if usable "$candidate"; then
        python=$candidate
        break
    fi
done <"$session/interpreters"

if [ -z "$python" ] && jupyter=$(command -v jupyter); then
    # The interpreter that runs Jupyter: from "#!/path/python", or from the second line of the shell
    # script that pip writes where that path is long or has spaces ('''exec' "/path/python" "$0" "$@").
    candidate=$(sed -n -e '1s/^#! *\(\/[^ ]*python[^ /]*\)$/\1/p' \
        -e "2s/^'''exec' \"\{0,1\}\(\/[^\"]*python[^ /\"]*\)\"\{0,1\} .*/\1/p" "$jupyter" 2>/dev/null)
    if usable "$candidate"; then
        python=$candidate
    fi
fi

if [ -z "$python" ] && candidate=$(command -v python3) && usable "$candidate"; then
    python=$candidate
fi

if [ -z "$python" ]; then
    echo "rps: this node has no Python 3.6 or newer: none of those in $session/interpreters," \
        "nor jupyter's, nor python3 on PATH=$PATH" >&2
    exit 1
fi

exec "$python" -I "$session/agent.pyz" "$session" "$@"
