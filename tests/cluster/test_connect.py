"""`rps connect` on a laptop outside, through a firewall that lets in ssh alone to a real sshd."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster.conftest import Login
from tests.cluster.lab import ALICE
from tests.cluster.laptop import Stand
from tests.cluster.network import ADDRESSES, LAPTOP, cut

NO_CONNECTION = 12  # rps's exit code
SECRET = b"0123456789abcdef"  # of alice's second factor
SHOWS_ITS_ARGUMENTS = """\
import http.server, json, os, sys
print(json.dumps(sys.argv[1:]), flush=True)
address = ("127.0.0.1", int(os.environ["PORT"]))
http.server.HTTPServer(address, http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_the_firewall_lets_in_ssh_alone(machines: Stand) -> None:
    done = machines.laptop.run(["ssh", "comet-ln2", "hostname; pwd"], ALICE, capture_output=True)
    assert done.stdout.split() == ["comet-ln2", "/home/alice"], done.stderr
    address = ADDRESSES["comet-ln2"][0]
    assert machines.cluster.reaches(LAPTOP, address, 22)
    assert not machines.cluster.reaches(LAPTOP, address, 6817)


def test_a_session_is_started_followed_found_again_listed_and_stopped(
    stand: Stand, comet: Login
) -> None:
    """On a cluster with an operator's service: there is no tunnel, and the command returns."""
    with stand.terminal() as terminal:
        # A banner of a start-up file must not be taken for an answer.
        stand.write(".bash_profile", "echo Welcome to Comet; echo 'rps 9.9'; . ~/.bashrc\n")
        stand.write(".bashrc", 'echo \'{"name": "banner"}\'\n')
        terminal.type("rps connect comet-ln2 -t 20 --no-browser")
        terminal.until(r"starting|queued")  # the live view of the login node
        shown = terminal.until(r"https://\S+/\?token=\w+ alice@laptop")
        assert "started on comet" in shown
        [name] = [one["name"] for one in json.loads(comet.rps("list", "--json").stdout)]
        assert f"https://{name}." in shown
    again = stand.connect("comet-ln2", "--json")
    found = json.loads(again.stdout)
    assert found["name"] == name
    assert found["url"] == comet.rps("url", name).stdout.strip()
    assert found["tunnel"] is None
    assert [
        one["name"] for one in json.loads(stand.connect("comet-ln2", "--list", "--json").stdout)
    ] == [name]
    assert name in stand.connect("comet-ln2", "--list").stdout
    assert stand.connect("comet-ln2", "--url").stdout.strip() == found["url"]
    stopped = stand.connect("comet-ln2", "--stop")
    assert f"{name}: stopped" in stopped.stderr
    assert json.loads(stand.connect("comet-ln2", "--list", "--json").stdout) == []
    none = stand.connect("comet-ln2", "--url", check=False)
    assert (none.returncode, none.stderr) == (
        7,
        "rps: No session on comet-ln2\n`rps connect comet-ln2` starts one.\n",
    )
    stand.write(".bash_profile", "")
    stand.write(".bashrc", "")


def test_ctrl_c_leaves_the_session_and_says_how_to_come_back(stand: Stand, comet: Login) -> None:
    with stand.terminal() as terminal:
        # Held, so that it waits for as long as the test needs.
        terminal.type("rps connect comet-ln2 --extra=--hold --no-browser")
        terminal.until(r"held|queued")
        terminal.press("C-c")
        shown = " ".join(terminal.until(r"stops it\. alice@laptop").split())
        [session] = json.loads(comet.rps("list", "--json").stdout)
        name = session["name"]
        assert f"{name} continues. `rps connect comet-ln2` goes on with it" in shown
        terminal.answer("echo code $?")
        terminal.until("code 130")
        # Where a connection takes no second session, the live view has no place.
        with stand.login_node.configured("MaxSessions 1"):
            terminal.type("rps connect comet-ln2 --no-browser")
            terminal.until(r"comet-ln2 allows one session on a connection \(MaxSessions 1\)")
            comet.run("scontrol", "release", session["job_id"])
            shown = terminal.until(rf"https://{name}\.\S+/\?token=\w+ alice@laptop")
        assert "refused by peer" not in shown


def test_a_copy_to_a_host_that_takes_one_session_on_a_connection(machines: Stand) -> None:
    code = (
        "import tempfile\n"
        "from rps_core.connect.destination import Destination\n"
        "from rps_core.connect.ssh import Connection\n"
        "file = tempfile.TemporaryFile()\n"
        "file.write(b'the wheels')\n"
        "with Connection(Destination(name='comet', ssh='comet-ln2')) as host:\n"
        "    print(host.copy(file, 'cat'), host.interactive('true'), host.run('echo still', 9))\n"
    )
    command = [str(machines.clone / ".venv/bin/python"), "-c", code]
    with machines.login_node.configured("MaxSessions 1"):
        done = machines.laptop.run(command, ALICE, capture_output=True)
    assert "comet allows one session on a connection (MaxSessions 1): ssh connects" in done.stderr
    output = "Answer(code=0, stdout='the wheels') None Answer(code=0, stdout='still\\n')\n"
    assert done.stdout == output


def test_of_several_sessions_the_user_chooses_and_a_script_gets_the_newest(
    stand: Stand, comet: Login
) -> None:
    names = [json.loads(comet.rps("start", "--no-wait", "--json").stdout)["name"] for _ in range(2)]
    for name in names:
        comet.rps("wait", name)
    found = json.loads(stand.connect("comet-ln2", "--json").stdout)
    assert found["name"] == names[1]
    found = json.loads(stand.connect("comet-ln2", "--json", "--session", names[0]).stdout)
    assert found["name"] == names[0]
    with stand.terminal() as terminal:
        terminal.type("rps connect comet-ln2 --no-browser")
        terminal.until(
            rf"1 {names[0]}: ready.* 2 {names[1]}: ready.* n a new session Session \[2\]:"
        )
        terminal.answer("1")
        terminal.until(rf"https://{names[0]}\.\S+ alice@laptop")


def test_a_name_in_connect_yaml_has_the_host_and_its_options(stand: Stand, comet: Login) -> None:
    stand.write(
        ".config/rps/connect.yaml",
        "hosts:\n"
        "  comet:\n"
        "    ssh: alice@comet-ln2\n"
        "    rps: ~/.local/bin/rps\n"
        "    options: -t 7 -d ~/.local\n",
        here=True,
    )
    # An option of the command line counts more than one of the file.
    found = json.loads(stand.connect("comet", "-t", "9", "--name", "mine", "--json").stdout)
    shown = json.loads(comet.rps("status", found["name"], "--json").stdout)
    assert shown["directory"] == "/home/alice/.local"
    limit = comet.run("squeue", "--noheader", f"--jobs={shown['job_id']}", "--format=%l").stdout
    assert limit.strip() == "9:00"
    # The options in the file are for a new session: this one is gone on with.
    assert json.loads(stand.connect("comet", "--json").stdout)["name"] == found["name"]
    by_label = stand.connect("comet", "--session", "mine", "--json")
    assert json.loads(by_label.stdout)["name"] == found["name"]
    stand.connect("comet", "--stop", "--session", "mine")
    # The arguments of an application pass three shells: the laptop's, ssh's and the job's.
    stand.write("my program.py", SHOWS_ITS_ARGUMENTS)
    odd = ["a b", "'", '"', "$(touch /tmp/x)", "é", "", "--", "-t", "*", "!!", "\\"]
    command = ["-d", "/home/alice", "-s", "command", "--", "python3", "my program.py", *odd]
    started = json.loads(stand.connect("comet", "--json", *command).stdout)
    log = comet.rps("logs", started["name"]).stdout
    shown = next(line for line in log.splitlines() if line.startswith("[command] ["))
    assert json.loads(shown.removeprefix("[command] ")) == odd
    assert started["url"].partition("?")[0].endswith("/app/command/")
    comet.rps("stop", started["name"])
    stand.write(
        ".config/rps/connect.yaml", "hosts:\n  comet:\n    prot: 1\n    port: x\n", here=True
    )
    wrong = stand.connect("comet", "--list", check=False)
    assert wrong.returncode == 2
    assert "connect.yaml:3: `prot` is not a key of a host" in wrong.stderr
    assert "connect.yaml:4: `port` must be a number from 1024 to 65535" in wrong.stderr
    (stand.own_home / ".config" / "rps" / "connect.yaml").unlink()


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("nowhere.invalid", ("no host has this name", "Check its spelling")),
        ("comet-mgr", ("it does not answer", "VPN")),  # the firewall answers for it
        ("tscc-login1", ("no ssh server answers at its port", "maintenance")),
        ("-oProxyCommand=touch${IFS}/tmp/ran", ("No such option",)),
    ],
)
def test_a_host_that_cannot_be_reached(machines: Stand, host: str, words: tuple[str, ...]) -> None:
    done = machines.connect("--list", host, check=False)
    assert done.returncode == (2 if host.startswith("-") else NO_CONNECTION), done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert not (machines.laptop.directory / "tmp" / "ran").exists()


def test_a_host_that_is_silent(machines: Stand) -> None:
    machines.write(".ssh/short", "ConnectTimeout 1\n", here=True)
    config = (machines.own_home / ".ssh" / "config").read_text()
    machines.write(".ssh/config", f"{config}ConnectTimeout 1\n", here=True)
    try:
        with cut(machines.cluster.router, ADDRESSES[LAPTOP][0]):
            done = machines.connect("comet-ln2", "--list", check=False)
    finally:
        machines.write(".ssh/config", config, here=True)
    assert done.returncode == NO_CONNECTION
    assert "No connection to comet-ln2: it does not answer" in done.stderr


def test_a_host_key_that_changed_or_is_not_known(machines: Stand) -> None:
    with machines.login_node.with_another_key():
        done = machines.connect("comet-ln2", "--list", check=False)
    assert done.returncode == NO_CONNECTION
    assert "its host key is not the one that this computer knows" in done.stderr
    assert "ssh-keygen -R comet-ln2" in done.stderr
    assert "SHA256:" in done.stderr  # ssh's own words, with the fingerprint
    unknown = machines.connect("comet-ln2.local", "--list", check=False)
    assert unknown.returncode == NO_CONNECTION
    assert "this computer does not know its host key" in unknown.stderr


def test_a_computer_without_ssh(machines: Stand) -> None:
    venv = f"{machines.clone}/.venv/bin"
    command = [
        "env",
        "PATH=/nowhere",
        f"{venv}/python",
        "-I",
        f"{venv}/rps",
        "connect",
        "comet-ln2",
        "--list",
    ]
    done = machines.laptop.run(command, ALICE, capture_output=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert "`ssh` is not on the PATH of this computer" in done.stderr
    assert "openssh-client" in done.stderr


@pytest.mark.parametrize(
    "forced", ["/bin/echo 'Only\x1b[2J for transfers'", "internal-sftp", "/usr/sbin/nologin"]
)
def test_a_login_that_runs_another_command(machines: Stand, forced: str) -> None:
    with machines.login_node.configured(f"ForceCommand {forced}"):
        done = machines.connect("comet-ln2", "--list", check=False)
    assert done.returncode == NO_CONNECTION, done.stderr
    assert "ForceCommand" in done.stderr
    assert "`ssh comet-ln2 hostname` must print" in done.stderr
    assert "\x1b" not in done.stderr


def test_a_wrong_password_and_a_right_one(machines: Stand) -> None:
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "right one"], capture_output=True, text=True, check=True
    ).stdout.strip()
    passwd = machines.cluster.etc / "passwd"
    kept = passwd.read_text()
    with machines.login_node.configured("PasswordAuthentication yes\nPubkeyAuthentication no"):
        passwd.write_text(kept.replace("alice:*:", f"alice:{hashed}:", 1))
        try:
            with machines.terminal() as terminal:
                terminal.type("rps connect comet-ln2 --list")
                for times in range(1, 4):
                    terminal.until(f"(alice@comet-ln2's password:.*){{{times}}}")
                    terminal.answer("wrong")
                shown = terminal.until(r"must succeed first")
                assert "it did not accept the login" in shown
                assert "wrong" not in shown
                terminal.type("rps connect comet-ln2 --list")
                terminal.until("alice@comet-ln2's password: ?$")
                terminal.answer("right one")
                terminal.until("No sessions|NAME")
        finally:
            passwd.write_text(kept)


@contextmanager
def second_factor(machines: Stand) -> Iterator[None]:
    """Have the login node ask for a second factor after the key: a real one, TOTP, by PAM."""
    secret = base64.b32encode(SECRET).decode().rstrip("=")
    path = machines.write(".google_authenticator", f'{secret}\n" TOTP_AUTH\n')
    path.chmod(0o400)
    service = machines.cluster.etc / "pam.d" / "sshd"
    kept = service.read_text()
    service.write_text(
        "auth required pam_google_authenticator.so no_increment_hotp\n"
        "account required pam_permit.so\nsession required pam_permit.so\n"
    )
    lines = (
        "UsePAM yes\nKbdInteractiveAuthentication yes\n"
        "AuthenticationMethods publickey,keyboard-interactive:pam"
    )
    try:
        with machines.login_node.configured(lines):
            yield
    finally:
        service.write_text(kept)
        path.unlink()


def test_a_second_factor_that_is_refused_and_one_that_is_right(machines: Stand) -> None:
    with second_factor(machines), machines.terminal() as terminal:
        terminal.type("rps connect comet-ln2 --list")
        for times in range(1, 4):
            terminal.until(rf"(Verification code:.*){{{times}}}")
            terminal.answer("000000")
        shown = terminal.until(r"must succeed first")
        assert "it did not accept the login" in shown
        assert "code of the second factor" in " ".join(shown.split())
        terminal.type("rps connect comet-ln2 --list")
        terminal.until(r"Verification code: ?$")
        terminal.answer(totp())
        terminal.until("No sessions|NAME")


def totp() -> str:
    """Return the code of RFC 6238 at this moment."""
    counter = (int(time.time()) // 30).to_bytes(8, "big")
    digest = hmac.digest(SECRET, counter, hashlib.sha1)
    start = digest[-1] & 15
    return f"{(int.from_bytes(digest[start : start + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06d}"


@pytest.mark.parametrize("shell", ["/usr/bin/zsh", "/usr/bin/fish", "/bin/sh"])
def test_login_shells(machines: Stand, shell: str) -> None:
    passwd = machines.cluster.etc / "passwd"
    kept = passwd.read_text()
    passwd.write_text(kept.replace(":/home/alice:/bin/bash", f":/home/alice:{shell}", 1))
    try:
        listed = machines.connect("comet-ln2", "--list", "--json")
    finally:
        passwd.write_text(kept)
    assert json.loads(listed.stdout) == []


def test_a_home_over_quota(machines: Stand) -> None:
    """A file system of its own stands for a quota, which a container cannot have."""
    place = "/home/alice/.local/state"
    host = machines.login_node.daemon.host
    host.run(["mkdir", "-p", place], ALICE, check=True)
    options = f"size=16k,uid={ALICE.uid},mode=700"
    host.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    try:
        host.run(["dd", "if=/dev/zero", f"of={place}/full", "bs=4k"], ALICE, capture_output=True)
        done = machines.connect("comet-ln2", "--no-browser", check=False)
    finally:
        host.run(["umount", "--lazy", place], check=True)
    assert done.returncode == 2, done.stderr
    assert "No space left on device" in done.stderr
    assert "`rps start` failed on comet-ln2: its messages are above" in done.stderr
    assert done.stdout == ""


def test_a_host_that_answers_without_end(machines: Stand) -> None:
    """It begins as a shell does for rps, then floods the laptop, with codes for its terminal in between."""
    liar = machines.write(
        "liar",
        "#!/bin/sh\n"
        "marker=$(printf %s \"$SSH_ORIGINAL_COMMAND\" | grep -o 'rps-[0-9a-f]*' | head -n 1)\n"
        "printf '\\n%s\\n' \"$marker\"\n"
        "read -r _\n"
        "printf '\\033]0;title\\007\\n' >&2\n"
        'exec yes "$marker-00000000 nonsense"\n',
    )
    liar.chmod(0o755)
    with machines.login_node.configured("ForceCommand /home/alice/liar"):
        done = machines.connect("comet-ln2", "--list", check=False)
    assert done.returncode == NO_CONNECTION, done.stderr
    assert "comet-ln2 printed more than rps reads of an answer" in done.stderr
    assert "\x1b" not in done.stderr
    assert "\x07" not in done.stderr
