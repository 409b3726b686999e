"""A hostile user of a login node, who requests names as fast as possible.

    python3 hostile_user.py PORT HOW CONNECTIONS [MUNGE_SOCKET]

Runs until its standard input is closed, then prints how often it got each answer. HOW is one of `HOW`. Uses
the standard library alone.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import threading
from collections import Counter
from itertools import count

MANAGE = "manage.rps.localhost"
HOW = ("malformed", "garbage", "invented", "linked", "getlink", "own")


class Client:
    """One connection, kept open."""

    def __init__(self, port: int) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._http = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        fields = {"Host": MANAGE, **{k.replace("_", "-"): v for k, v in headers.items()}}
        self._http.request(method, path, body, fields)
        response = self._http.getresponse()
        return response.status, response.read()


def proof(body: bytes, socket: str) -> str:
    """Return a MUNGE credential of this user for this body."""
    content = f"rps issue 1\n{MANAGE}\n{hashlib.sha256(body).hexdigest()}\n"
    command = ["munge", f"--socket={socket}"]
    done = subprocess.run(command, input=content, text=True, capture_output=True, check=True)
    return done.stdout.strip()


def attack(client: Client, how: str, number: int, socket: str) -> str:
    """Send one request; return the status, and the code of an error."""
    path = "/api/v1/sessions"
    user = f"invented-{number}-{os.getpid()}" if how != "own" else "mallory"
    body = json.dumps({"cluster": "comet", "user": user}).encode()
    if how == "getlink":
        status, answer = client.ask("GET", "/getlink.cgi")
        return f"{status} {'Oops' if answer.startswith(b'Oops') else ''}".strip()
    if how == "malformed":
        status, answer = client.ask("POST", path, b'{"user": 7')
    elif how == "garbage":
        garbage = base64.b64encode(os.urandom(120)).decode()
        status, answer = client.ask("POST", path, body, X_Rps_Munge=f"MUNGE:{garbage}:")
    elif socket:
        status, answer = client.ask("POST", path, body, X_Rps_Munge=proof(body, socket))
    else:
        status, answer = client.ask("POST", path, body)
    found = json.loads(answer)
    if status == 201 and how == "linked":
        bearer = f"Bearer {found['claim']}"
        job = json.dumps({"job_id": str(number)}).encode()
        client.ask("POST", f"{path}/{found['name']}/link", job, Authorization=bearer)
    return f"{status} {found.get('error', '')}".strip()


def main(port: int, how: str, connections: int, socket: str = "") -> None:
    counts: Counter[str] = Counter()
    over = threading.Event()
    numbers = count()

    def run() -> None:
        client = Client(port)
        while not over.is_set():
            try:
                counts[attack(client, how, next(numbers), socket)] += 1
            except (OSError, http.client.HTTPException) as error:
                counts[type(error).__name__] += 1
                client = Client(port)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(connections)]
    for thread in threads:
        thread.start()
    print("on", flush=True)
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join(35)
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
