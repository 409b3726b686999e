"""Trust in the browsers' stores, with the real certutil. In real browsers: `tests/browser/test_trust.py`."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rps_core.errors import ServiceError, UsageError
from rps_proxy.cli.main import proxy
from rps_proxy.tls.authority import Authority
from rps_proxy.trust import browsers
from rps_proxy.trust.certificate import CaFile, read
from rps_proxy.trust.nss import Database
from rps_proxy.trust.stores import found
from tests.stands.namespaces import own_mounts, small_disk

DOMAIN = "rps.localhost"


def authority(directory: Path, domain: str = DOMAIN) -> CaFile:
    return read(Authority(directory, f"rps for {domain}", domain).certificate_file, domain)


@pytest.fixture
def ca(tmp_path: Path) -> CaFile:
    return authority(tmp_path / "ca")


@pytest.fixture
def home() -> Path:
    return Path(os.environ["HOME"])


@pytest.fixture
def database(need: Callable[[str], str], tmp_path: Path) -> Database:
    need("certutil")
    return Database("Chromium", tmp_path / "nssdb")


def certutil(database: Database, *arguments: str) -> str:
    command = ["certutil", *arguments, "-d", f"sql:{database.directory}"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_profile(directory: Path) -> None:
    """Make what Firefox leaves in a profile: a database without a primary password."""
    directory.mkdir(parents=True)
    certutil(Database("", directory), "-N", "--empty-password")


def test_it_is_added_once_and_removed(database: Database, ca: CaFile) -> None:
    assert not database.trusts(ca)
    database.add(ca)
    assert database.trusts(ca)
    assert (database.directory.stat().st_mode & 0o777) == 0o700
    line = next(one for one in certutil(database, "-L").splitlines() if one.startswith("rps"))
    assert line.split() == ["rps", "for", DOMAIN, ca.nickname.split()[-1], "C,,"]
    database.add(ca)
    assert certutil(database, "-L").count("rps for") == 1
    assert database.remove(ca)
    assert not database.remove(ca)
    assert "rps for" not in certutil(database, "-L")


def test_one_that_was_added_by_hand_is_known_by_its_content(
    database: Database, ca: CaFile, tmp_path: Path
) -> None:
    """Test the nickname that the documentation had, with another CA under the same one."""
    other = authority(tmp_path / "other")
    database.add(ca)
    database.remove(ca)
    for each in (other, ca):
        certutil(database, "-A", "-t", "C,,", "-n", "rps", "-i", str(each.path))
    assert database.trusts(ca)
    database.add(ca)
    assert certutil(database, "-L").count("rps ") == 2
    assert database.remove(ca)
    assert not database.trusts(ca)
    assert database.trusts(other)


def test_one_that_is_known_and_not_trusted_is_trusted_again(database: Database, ca: CaFile) -> None:
    database.add(ca)
    certutil(database, "-M", "-n", ca.nickname, "-t", ",,")
    assert not database.trusts(ca)
    database.add(ca)
    assert database.trusts(ca)


def test_earlier_ones_of_the_domain_go_too_and_no_others(
    database: Database, ca: CaFile, tmp_path: Path
) -> None:
    earlier = authority(tmp_path / "earlier")
    elsewhere = authority(tmp_path / "elsewhere", "example.org")
    for each in (earlier, elsewhere, ca):
        database.add(each)
    assert database.remove(ca)
    assert [database.trusts(each) for each in (ca, earlier, elsewhere)] == [False, False, True]


def test_a_primary_password_leaves_it_as_it_was(
    database: Database, ca: CaFile, tmp_path: Path
) -> None:
    database.directory.mkdir()
    (tmp_path / "password").write_text("secret-words\n")
    certutil(database, "-N", "-f", str(tmp_path / "password"))
    with pytest.raises(ServiceError) as caught:
        database.add(ca)
    assert caught.value.message == "it has a primary password, which only its browser can ask for"
    assert "rps for" not in certutil(database, "-L")


def test_a_database_that_is_damaged(database: Database, ca: CaFile) -> None:
    database.add(ca)
    (database.directory / "cert9.db").write_bytes(b"nothing" * 1000)
    with pytest.raises(ServiceError, match="SEC_ERROR"):
        database.add(ca)


@pytest.mark.skipif(os.getuid() != 0, reason="a disk of a test's own needs root")
@pytest.mark.parametrize("space", [8_000, 60_000])
def test_a_full_disk_leaves_no_half_of_a_database(
    ca: CaFile, database: Database, space: int
) -> None:
    with own_mounts():
        database.directory.mkdir()
        small_disk(database.directory, str(space))
        with pytest.raises(ServiceError, match="no space is left on its disk"):
            database.add(ca)
        assert list(database.directory.iterdir()) == []


def rps_proxy_ca(*arguments: str) -> Result:
    result = CliRunner().invoke(proxy, ["ca", *arguments])
    assert result.exception is None or isinstance(result.exception, (UsageError, ServiceError))
    return result


def test_each_browser_of_the_user_by_one_command(
    need: Callable[[str], str], home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    need("certutil")
    profiles = {
        ".mozilla/firefox/a1.default": "Firefox, profile a1.default",
        ".config/mozilla/firefox/b2.work": "Firefox, profile b2.work",
        "snap/firefox/common/.mozilla/firefox/c3.default": "Firefox (snap), profile c3.default",
        ".var/app/org.mozilla.firefox/.mozilla/firefox/d4.x": "Firefox (flatpak), profile d4.x",
        ".librewolf/e5.default": "LibreWolf, profile e5.default",
    }
    for place in profiles:
        make_profile(home / place)
    make_profile(tmp_path / "elsewhere")
    (home / ".mozilla/firefox/profiles.ini").write_text(
        f"[Profile0]\nIsRelative=1\nPath=a1.default\n[Profile1]\nIsRelative=0\nPath={tmp_path}/elsewhere\n"
    )
    (home / ".mozilla/firefox/Crash Reports").mkdir()
    (home / "snap/chromium/current").mkdir(parents=True)
    (home / ".var/app/com.google.Chrome").mkdir(parents=True)
    (home / ".pki/nssdb").mkdir(parents=True)
    certutil(Database("", home / ".pki/nssdb"), "-N", "--empty-password")
    expected = {
        *profiles.values(), "Firefox, profile elsewhere", "Chromium (snap)", "Chrome (flatpak)",
        "Chromium, Chrome and relatives",
    }  # fmt: skip
    assert {store.browser for store in found()} == expected

    printed = rps_proxy_ca("--install").stdout
    file = rps_proxy_ca().stdout.strip()
    digest = subprocess.run(
        ["openssl", "x509", "-in", file, "-noout", "-fingerprint", "-sha256"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert f"CA for names below {DOMAIN} only: {file}" in printed
    assert f"SHA-256 fingerprint: {digest.strip().partition('=')[2]}" in printed
    assert {line for line in printed.splitlines() if line.endswith("trusts the CA now")} == {
        f"{browser}: trusts the CA now" for browser in expected
    }
    assert "Restart the browsers that are running. `rps proxy ca --remove` undoes this." in printed
    printed = rps_proxy_ca("--install").stdout
    assert printed.count(": trusted the CA already") == len(expected)
    assert "Restart" not in printed
    assert rps_proxy_ca("--remove").stdout.count(": no longer trusts the CA") == len(expected)
    assert rps_proxy_ca("--remove").stdout.count(": did not have the CA") == len(expected)


def test_one_store_that_cannot_be_changed_stops_no_other(
    need: Callable[[str], str], home: Path, tmp_path: Path
) -> None:
    need("certutil")
    make_profile(home / ".mozilla/firefox/b.open")
    locked = home / ".mozilla/firefox/a.locked"
    locked.mkdir()
    (tmp_path / "password").write_text("secret-words\n")
    certutil(Database("", locked), "-N", "-f", str(tmp_path / "password"))
    result = rps_proxy_ca("--install")
    assert "Firefox, profile a.locked: not changed: it has a primary password" in result.stdout
    assert "Firefox, profile b.open: trusts the CA now" in result.stdout
    assert isinstance(result.exception, ServiceError)
    assert result.exception.message == "Not changed: Firefox, profile a.locked."
    assert "Authorities, Import" in result.exception.hint


def test_without_certutil_its_package_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".var/app/com.google.Chrome").mkdir(parents=True)
    monkeypatch.setenv("PATH", "/nowhere")
    for option in ("--install", "--remove"):
        error = rps_proxy_ca(option).exception
        assert isinstance(error, UsageError)
        assert "`certutil` is not installed" in error.message
        assert re.search(r"ca\.pem\. By hand: ", error.hint)
        if Path("/etc/debian_version").exists():
            assert "As root: apt install libnss3-tools" in error.hint


def test_without_a_browser_nothing_is_made(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    error = rps_proxy_ca("--install").exception
    assert isinstance(error, UsageError)
    assert "no browser's certificate store" in error.message
    assert not (home / ".pki").exists()


def test_with_sudo_the_stores_would_be_roots(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "someone")
    with pytest.raises(UsageError, match="not to root"):
        browsers.check_tools(CaFile(Path("/ca.pem"), DOMAIN, b""))


@pytest.fixture
def security(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for security(1) of macOS: it records its arguments, and has what was added."""
    log = tmp_path / "security.log"
    program = tmp_path / "programs" / "security"
    program.parent.mkdir()
    program.write_text(
        f"""#!/bin/sh
echo "$*" >>{log}
case $1 in
find-certificate) [ ! -e {tmp_path}/added ] || cat {tmp_path}/added ;;
add-trusted-cert) [ ! -e {tmp_path}/refuses ] || {{
    echo 'SecTrustSettingsSetTrustSettings: The authorization was canceled by the user.' >&2; exit 1; }}
  openssl x509 -in "$8" -noout -fingerprint -sha1 |
    sed 's/.*=/SHA-1 hash: /; s/\\([0-9A-F][0-9A-F]\\):/\\1/g' >{tmp_path}/added ;;
delete-certificate) rm {tmp_path}/added ;;
esac
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("sys.platform", "darwin")
    return log


def test_the_commands_of_macos(security: Path, home: Path, ca: CaFile, tmp_path: Path) -> None:
    """Test which commands run: no macOS is at hand."""
    keychain = home / "Library/Keychains/login.keychain-db"
    outcomes = [browsers.install, browsers.install, browsers.remove, browsers.remove]
    assert [one.change.name for act in outcomes for one in act(ca)] == [
        "ADDED", "ALREADY", "REMOVED", "ABSENT",
    ]  # fmt: skip
    find = f"find-certificate -a -Z {keychain}"
    add = f"add-trusted-cert -r trustRoot -p ssl -k {keychain} {ca.path}"
    delete = f"delete-certificate -Z {ca.sha1} -t {keychain}"
    assert security.read_text().splitlines() == [find, add, find, find, delete, find]
    (tmp_path / "refuses").touch()
    (outcome,) = browsers.install(ca)
    assert outcome.change is browsers.Change.FAILED
    assert outcome.reason.endswith("The authorization was canceled by the user.")
