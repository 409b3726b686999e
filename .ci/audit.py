"""Ask for known vulnerabilities of what a lock holds: `audit.py LOCK [OPTION OF PIP-AUDIT ...]`.

Exit codes: 0 none is known, or no answer can be had here, which is said in one line; else 1.
"""

from __future__ import annotations

import json
import subprocess
import sys

# What requests, and pip-audit itself, call a service that gives no answer.
_NO_NETWORK = (
    "ConnectionError",
    "ConnectTimeout",
    "ReadTimeout",
    "ProxyError",
    "SSLError",
    "ServiceError",
)


def main(lock: str, *options: str) -> int:
    """Print what is known; the exit code."""
    command = [
        sys.executable, "-m", "pip_audit", "--requirement", lock, "--require-hashes", "--disable-pip",
        "--progress-spinner", "off", "--format", "json", *(options or ("--vulnerability-service", "osv")),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except ValueError:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        if not any(name in last for name in _NO_NETWORK):
            sys.stderr.write(done.stderr)
            return 1
        print(f"pip-audit: the vulnerability service gives no answer, {lock} was not audited")
        return 0
    audited = [one for one in found if "vulns" in one]
    if not audited:
        print(f"pip-audit: the vulnerability service knows nothing of {lock}: not audited")
        return 0
    bad = [one for one in audited if one["vulns"]]
    for one in bad:
        for each in one["vulns"]:
            fixed = ", ".join(each["fix_versions"]) or "none yet"
            print(
                f"{one['name']} {one['version']}: {each['id']}, fixed in {fixed}", file=sys.stderr
            )
    if done.returncode and not bad:
        sys.stderr.write(done.stderr)
    return 1 if bad or done.returncode else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
