"""What `./rps` ends with where it cannot install or update as usual: two sentences that help."""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.utils import canonicalize_name

from rps_proxy.tls.authority import Authority
from tests.bootstrap.test_first_run import BARE, clone, names, run
from tests.e2e.test_terminal import Terminal
from tests.stands.namespaces import own_mounts, own_network, small_disk

if TYPE_CHECKING:
    from tests.conftest import OrdinaryUser

__all__ = ["clone"]
LOCK = "locks/launcher.txt"
ROOT = pytest.mark.skipif(os.getuid() != 0, reason="namespaces need root")


@pytest.fixture(scope="module")
def wheels(ordinary_user: OrdinaryUser, clone_project: Callable[[Path], Path]) -> Path:
    """Make the folder of wheels, as a user does where there is a network."""
    project = clone_project(ordinary_user.home / "a clone with a network")
    command = ["make", "--silent", "wheelhouse", "EXTRAS=", "PYTHON=/usr/bin/python3"]
    done = ordinary_user.run(command, cwd=project, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return project / "dist" / "wheels"


@ROOT
def test_the_network_is_cut(ordinary_user: OrdinaryUser, clone: Path, wheels: Path) -> None:
    """Test the advice, and then what it advises: without the hashes of the lock and, elsewhere, with them."""
    before = names(clone)
    quick = {"PIP_RETRIES": "1", "PIP_CONFIG_FILE": os.devnull}
    with own_network():
        done = run(ordinary_user, clone, **BARE, **quick)
        assert done.returncode == 2
        assert "this machine does not reach the package index" in done.stderr
        assert f"RPS_WHEELS=/path/to/wheels {clone}/rps" in done.stderr
        assert "this failed" not in done.stderr
        assert names(clone) - before == {".venv.log"}

        home = ordinary_user.make(ordinary_user.home / f"home-{os.urandom(4).hex()}")
        environment = {**BARE, "RPS_WHEELS": str(wheels), "HOME": str(home)}
        done = run(ordinary_user, clone, **environment)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("rps ")
        check_the_link(ordinary_user, clone, home, done.stderr)
        assert run(ordinary_user, clone, "start", "--dry-run").returncode == 0
        for path in (clone, *clone.rglob("*")):
            os.chown(path, 0, 0, follow_symlinks=False)
        elsewhere = ordinary_user.home / f"venv elsewhere {os.urandom(4).hex()}"
        environment |= {"RPS_VENV": str(elsewhere), "RPS_LOCK": LOCK}
        command = ["./rps", "--version"]
        done = ordinary_user.run(command, cwd=clone, env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[-1] == "rps: installed", "and nothing of the link"
    again = run(ordinary_user, clone, **BARE, RPS_VENV=str(elsewhere))
    assert (again.returncode, again.stderr) == (0, ""), "nothing to compile and nothing to update"
    check_that_what_is_locked_is_installed_and_nothing_else(ordinary_user, elsewhere, clone / LOCK)


def check_the_link(user: OrdinaryUser, clone: Path, home: Path, printed: str) -> None:
    """Run what the first run prints without a terminal."""
    before, command = printed.splitlines()[-1].split("`: ")
    assert before == "rps: to have the command `rps"
    user.run(["sh", "-ec", command], check=True, env={"HOME": str(home)})
    assert (home / ".local" / "bin" / "rps").resolve() == clone / "rps"


def check_that_what_is_locked_is_installed_and_nothing_else(
    user: OrdinaryUser, venv: Path, lock: Path
) -> None:
    listed = user.run(
        [str(venv / "bin" / "python"), "-m", "pip", "list", "--format=json"],
        capture_output=True, timeout=60,
    ).stdout  # fmt: skip
    installed = {canonicalize_name(one["name"]): one["version"] for one in json.loads(listed)}
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock.read_text(), flags=re.MULTILINE))
    assert {name: installed.pop(name, None) for name in pins} == pins
    assert installed.keys() <= {"pip", "rps-launcher", "setuptools", "wheel"}


@dataclass(frozen=True)
class Whole:
    """An installation, and what its first run showed on a terminal."""

    clone: Path
    home: Path
    seen: str

    def outdate(self) -> Path:
        """Make the next run an update, whatever the last one ended with: no venv has to be made."""
        venv = self.clone / ".venv"
        (venv / "rps-stamp").write_text(f"{venv}\n\n")
        (venv / "rps-stamp.toml").write_text("")
        return self.clone


@pytest.fixture(scope="module")
def whole(
    ordinary_user: OrdinaryUser, clone_project: Callable[[Path], Path], wheels: Path
) -> Whole:
    """Run it for the first time on a terminal, whose user takes the offered link."""
    clone = clone_project(ordinary_user.home / "clone [of] a user with a terminal")
    home = ordinary_user.make(ordinary_user.home / f"home-{os.urandom(4).hex()}")
    environment = {**BARE, "RPS_WHEELS": str(wheels), "HOME": str(home), "SHELL": "/usr/bin/fish"}
    terminal = Terminal(ordinary_user.popen, str(clone / "rps"), "--version", **environment)
    try:
        terminal.until(r"to this script, to have it as a command\? \[Y/n\] ", 300)
        terminal.type("\r")
        assert terminal.end() == 0
    finally:
        os.close(terminal.master)
    return Whole(clone, home, terminal.seen)


def test_on_a_terminal_the_first_run_offers_the_link(whole: Whole) -> None:
    link = whole.home / ".local" / "bin" / "rps"
    assert "\nrps 0." in whole.seen
    assert link.resolve() == whole.clone / "rps"
    advice = f"{link.parent} is not on the PATH. Once: fish_add_path ~/.local/bin"
    assert advice in whole.seen


def test_another_hash_than_the_locks_is_refused(
    ordinary_user: OrdinaryUser, whole: Whole, wheels: Path
) -> None:
    """Test a lock as if another file replaced that of sh."""
    text = (whole.clone / LOCK).read_text()
    begin = text.index("\nsh==")
    wrong = re.sub(r"sha256:.", lambda hash_: f"sha256:{int(hash_[0][-1] == '0')}", text[begin:])
    lock = ordinary_user.home / "another lock.txt"
    lock.write_text(text[:begin] + wrong)
    environment = {**BARE, "RPS_WHEELS": str(wheels), "RPS_LOCK": str(lock)}
    clone = whole.outdate()
    for record in clone.glob(".venv/lib/*/site-packages/sh-*.dist-info"):
        shutil.rmtree(record)  # else pip would not fetch it again
    refused = run(ordinary_user, clone, **environment)
    assert refused.returncode == 2
    assert "HASHES" in (clone / ".venv.log").read_text()


def test_a_folder_without_a_wheel(ordinary_user: OrdinaryUser, clone: Path, wheels: Path) -> None:
    before = names(clone)
    incomplete = ordinary_user.home / "an incomplete folder"
    shutil.copytree(wheels, incomplete)
    next(incomplete.glob("pluggy-*.whl")).unlink()
    done = run(ordinary_user, clone, **BARE, RPS_WHEELS=str(incomplete))
    assert done.returncode == 2
    assert f"{incomplete} lacks a wheel for Python 3." in done.stderr
    assert ": pluggy" in done.stderr
    assert "make wheelhouse PYTHON=python3." in done.stderr
    assert names(clone) - before == {".venv.log"}
    nowhere = run(ordinary_user, clone, **BARE, RPS_WHEELS="/nowhere")
    assert nowhere.stderr == "rps: RPS_WHEELS names no folder: /nowhere\n"


@ROOT
def test_a_full_disk(ordinary_user: OrdinaryUser, clone: Path, wheels: Path) -> None:
    """Test a disk on which the environment fits and the packages do not, and one that is full already."""
    disk = ordinary_user.make(ordinary_user.home / f"disk-{os.urandom(4).hex()}")
    for size in ("16m", "4k"):
        with own_mounts():
            small_disk(disk, size)
            os.chown(disk, ordinary_user.uid, ordinary_user.gid)
            if size == "4k":
                (disk / "full").write_bytes(bytes(4096))
            environment = {"RPS_VENV": str(disk / "venv"), "RPS_WHEELS": str(wheels)}
            done = run(ordinary_user, clone, **BARE, **environment)
            assert done.returncode == 2, done.stderr
            assert f"the disk of {disk}/venv is full, or your quota is used up" in done.stderr
            assert "export RPS_VENV=" in done.stderr
            assert "this failed" not in done.stderr
            assert not (disk / "venv").exists()


@pytest.fixture
def index(wheels: Path, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Serve the wheels as a package index behind a TLS proxy: its CA is known to no system.

    Yields:
        Its URL, and the file of the CA.
    """
    authority = Authority(tmp_path / "ca", "a company", "localhost")
    leaf = authority.issue(["localhost"], 1)
    pem = tmp_path / "server.pem"
    pem.write_bytes(leaf.certificate + leaf.key)
    root = tmp_path / "index"
    for wheel in wheels.glob("*.whl"):
        place = root / "simple" / wheel.name.partition("-")[0].replace("_", "-").lower()
        place.mkdir(parents=True)
        (place / wheel.name).symlink_to(wheel)
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(root))
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    known = tmp_path.parent / f"{tmp_path.name}-company.pem"
    known.write_bytes(authority.certificate)
    try:
        yield f"https://localhost:{server.server_port}/simple/", known
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_behind_a_tls_proxy(
    ordinary_user: OrdinaryUser, whole: Whole, index: tuple[str, Path]
) -> None:
    """Test a CA that nothing knows, and one that the system knows, which pip is given."""
    url, authority = index
    file = ordinary_user.home / "company.pem"
    shutil.copy(authority, file)
    file.chmod(0o644)
    behind = {**BARE, "PIP_INDEX_URL": url, "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "1"}
    done = run(ordinary_user, whole.outdate(), **behind)
    assert done.returncode == 2
    assert "a certificate of a CA that this machine does not know" in done.stderr
    assert f"PIP_CERT=/path/to/ca.pem {whole.clone}/rps" in done.stderr
    assert "this failed" not in done.stderr
    done = run(ordinary_user, whole.outdate(), **behind, SSL_CERT_FILE=str(file))
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stderr.splitlines()] == ["updating", "installed"]


def test_a_proxy_that_refuses(ordinary_user: OrdinaryUser, whole: Whole) -> None:
    """Test a real answer 407 to CONNECT."""

    class Proxy(SimpleHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            self.send_error(407, "Proxy Authentication Required")

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    environment = {
        **BARE, "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "1",
        "PIP_INDEX_URL": "https://index.example/simple/",
        "HTTPS_PROXY": f"http://127.0.0.1:{server.server_port}",
    }  # fmt: skip
    try:
        done = run(ordinary_user, whole.outdate(), **environment)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert done.returncode == 2
    assert "pip's proxy does not answer, or does not let it through" in done.stderr
    assert "~/.config/pip/pip.conf" in done.stderr


def test_the_ways_to_a_python_are_those_that_are_there(
    ordinary_user: OrdinaryUser, clone: Path
) -> None:
    place = ordinary_user.make(ordinary_user.home / "uv alone")
    for tool in ("rm", "sed", "tail"):
        (place / tool).symlink_to(shutil.which(tool) or tool)
    (place / "uv").write_text("#!/bin/sh\n")
    (place / "uv").chmod(0o755)
    done = run(ordinary_user, clone, PATH=str(place))
    assert "uv python install" in done.stderr
    assert "conda" not in done.stderr
    assert "module" not in done.stderr
