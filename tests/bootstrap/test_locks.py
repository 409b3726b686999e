"""The locks fit pyproject.toml, and are checked for vulnerabilities; test_failures.py installs one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[2]
LOCKS = {
    "launcher": ([], ["build"]),
    "proxy": (["proxy"], ["build"]),
    "local": (["proxy", "local"], ["build"]),
    "dev": (["proxy", "local"], ["build", "dev"]),
}


def blocks(lock: Path) -> list[str]:
    """Return the pinned requirements, each with its hashes."""
    text = re.sub(r"^ *#.*\n", "", lock.read_text(), flags=re.MULTILINE)
    return re.split(r"\n(?=\S)", text.strip())


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_what_the_project_asks_for(name: str) -> None:
    """Test that `make lock` was not forgotten."""
    pinned: dict[str, list[Requirement]] = {}
    for block in blocks(PROJECT / "locks" / f"{name}.txt"):
        lines = [line.strip(" \\") for line in block.splitlines()]
        assert len(lines) > 1, f"{lines[0]}: without a hash"
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in lines[1:]), block
        one = Requirement(lines[0])
        assert one.url is None
        pinned.setdefault(canonicalize_name(one.name), []).append(one)
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    extras, groups = LOCKS[name]
    wanted = list(project["project"]["dependencies"])
    for extra in extras:
        wanted += project["project"]["optional-dependencies"][extra]
    for group in groups:
        wanted += [one for one in project["dependency-groups"][group] if isinstance(one, str)]
    for text in wanted:
        requirement = Requirement(text)
        if requirement.name == project["project"]["name"]:
            continue
        found = pinned[canonicalize_name(requirement.name)]
        for one in found:
            (version,) = (each.version for each in one.specifier)
            assert requirement.specifier.contains(version), (text, version)


@contextmanager
def vulnerability_service(status: int, answer: dict[str, Any]) -> Iterator[str]:
    """Answer pip-audit's queries as OSV does.

    See google.github.io/osv.dev, POST /v1/query.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


KNOWN = {
    "vulns": [
        {
            "id": "PYSEC-2099-1",
            "summary": "Something",
            "affected": [
                {
                    "package": {"name": "example", "ecosystem": "PyPI"},
                    "ranges": [
                        {
                            "type": "ECOSYSTEM",
                            "events": [{"introduced": "0"}, {"fixed": "99.1"}],
                        }
                    ],
                }
            ],
        }
    ]
}


def audit(tmp_path: Path, url: str, lock: str | None = None) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "lock.txt"
    file.write_text(lock if lock is not None else f"example==1.0 --hash=sha256:{'0' * 64}\n")
    command = [
        sys.executable, str(PROJECT / ".ci/audit.py"), str(file),
        "--vulnerability-service", "osv", "--osv-url", url, "--cache-dir", str(tmp_path / "cache"),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_known_vulnerability_fails(tmp_path: Path) -> None:
    with vulnerability_service(200, KNOWN) as url:
        done = audit(tmp_path, url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "example 1.0: PYSEC-2099-1, fixed in 99.1\n"


def test_none_is_known(tmp_path: Path) -> None:
    with vulnerability_service(200, {}) as url:
        done = audit(tmp_path, url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_service_that_is_away_is_reported_in_one_line(tmp_path: Path) -> None:
    done = audit(tmp_path, "http://127.0.0.1:1/")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"pip-audit: .* gives no answer, .* was not audited\n", done.stdout)
    with vulnerability_service(503, {}) as url:
        done = audit(tmp_path, url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "was not audited" in done.stdout


def test_a_lock_that_is_none_fails(tmp_path: Path) -> None:
    with vulnerability_service(200, {}) as url:
        done = audit(tmp_path, url, "example\n")
    assert done.returncode == 1
    assert done.stderr
