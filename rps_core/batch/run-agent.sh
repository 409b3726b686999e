#!/bin/sh
# Starts the node agent with the first Python that this node offers. A copy lies in the session's
# directory, beside agent.pyz, and the batch script ends with
#
#     exec /bin/sh "$RPS_SESSION/run-agent.sh" --app lab
#
# exec all the way down, because under cgroups the scheduler's SIGTERM reaches this process alone.
session=$(cd -P -- "$(dirname -- "$0")" && pwd) || exit 1

# As in prepare.sh, which a script of the user's own may leave out.
if [ ! -e "$session/script-began" ] && [ -f "$session/environment" ]; then
    cat "$session/environment"
fi
(umask 077 && true >"$session/script-began") 2>/dev/null

# What the agent imports (test_archive.py compares): a Python without ssl, as one whose OpenSSL is gone, is none.
needs='import sys
sys.exit("too old: %d.%d" % sys.version_info[:2]) if sys.version_info < (3, 6) else None
import argparse, array, fcntl, glob, grp, hashlib, hmac, http.client, ipaddress, json, pwd, random, select, socket, ssl, struct, subprocess, threading
import unicodedata, zlib'

rejected=
# -I: PYTHONPATH, PYTHONHOME and the user's site-packages are meant for another Python.
usable() {
    [ -x "$1" ] || return 1
    said=$("$1" -I -c "$needs" 2>&1 </dev/null) && return 0
    rejected="$rejected
    $1: ${said##*
}"
    return 1
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
        "nor jupyter's, nor python3 on PATH=$PATH$rejected" >&2
    exit 1
fi

exec "$python" -I "$session/agent.pyz" "$session" "$@"
