"""`rps connect --install`: rps on a login node that has none, with no way to the internet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rps_core.version import __version__
from tests.cluster.conftest import Login, leave_out
from tests.cluster.lab import ALICE
from tests.cluster.laptop import Stand

# Debian's package, which `make system` unpacks.
MODULECMD = Path(
    "/usr/local/lib/rps-tests/environment-modules/usr/lib/x86_64-linux-gnu/modulecmd.tcl"
)
_GATHER = """
import platform, sys
from pathlib import Path
from rps_core.connect import wheels
python = "%d.%d" % sys.version_info[:2]
glibc = int(platform.libc_ver()[1].split(".")[1])
wheels.gather(Path(sys.argv[1]), wheels.Target(python=python, machine=platform.machine(), glibc=glibc))
"""


@pytest.fixture(scope="module")
def folder(machines: Stand, installed: Any) -> Path:
    """Gather the wheels where there is a network; the laptop of the stand has none."""
    directory: Path = installed.user.make(installed.directory / "gathered")
    python = f"{installed.directory}/.venv/bin/python"
    done = installed.user.run(
        ["/usr/bin/env", python, "-I", "-c", _GATHER, str(directory)], capture_output=True
    )
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture
def bare(machines: Stand) -> Iterator[Stand]:
    """Take rps away from the login nodes."""
    link = machines.home / ".local" / "bin" / "rps"
    target = link.readlink()
    link.unlink()
    yield machines
    machines.write(".bash_profile", "")
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def test_rps_is_installed_and_starts_a_session(bare: Stand, folder: Path, comet: Login) -> None:
    none = bare.connect("comet-ln2", check=False)
    assert none.returncode == 2
    assert "No rps on comet-ln2" in none.stderr
    assert "--install" in none.stderr
    jupyter = f"notebook.jupyter={bare.clone}/.venv/bin/jupyter"
    with bare.terminal() as terminal:
        terminal.type(f"export RPS_WHEELS={folder}")
        terminal.answer(
            f"rps connect comet-ln2 -t 20 --set {jupyter} --set proxy.own=true --no-browser"
        )
        terminal.until(
            r"No rps on comet-ln2\. Install \S+ into ~/\.local/share/rps there\? \[Y/n\]:"
        )
        terminal.answer("y")
        terminal.until(
            r"http://\S+\.rps\.localhost:\d+/\?token=\w+ The tunnel is open until Ctrl-C", 180
        )
        terminal.press("C-c")
        terminal.until("stops it")
    ours = comet.run(
        "bash", "-lc", "readlink ~/.local/bin/rps; ~/.local/bin/rps --version"
    ).stdout.split()
    assert ours == [f"/home/alice/.local/share/rps/rps-{__version__}/bin/rps", "rps", __version__]
    [session] = json.loads(bare.connect("comet-ln2", "--list", "--json").stdout)
    bare.connect("comet-ln2", "--stop")
    assert comet.status(session["name"])["state"] == "ended"
    # The CA beside it is that of the personal service, which still runs.
    comet.run("rm", "-r", f".local/share/rps/rps-{__version__}")


def test_a_home_without_space_and_one_that_gets_it_later(bare: Stand, folder: Path) -> None:
    place = "/home/alice/.local/share/rps"
    host = bare.login_node.daemon.host
    host.run(["mkdir", "-p", place], ALICE, check=True)
    # A file system of its own, as a quota is not to be had in a container.
    host.run(
        ["mount", "-t", "tmpfs", "-o", f"size=4m,uid={ALICE.uid},mode=700", "tmpfs", place],
        check=True,
    )
    try:
        done = bare.connect("comet-ln2", "--install", env={"RPS_WHEELS": str(folder)}, check=False)
    finally:
        host.run(["umount", "--lazy", place], check=True)
    assert done.returncode == 12, done.stderr
    assert "No space left on device" in done.stderr  # its own words
    assert "your home directory there has no space left" in done.stderr


def test_a_host_without_a_python_that_is_new_enough(bare: Stand) -> None:
    bare.write(
        ".bash_profile", "mkdir -p ~/few; ln -sf /usr/bin/id /usr/bin/hostname ~/few; PATH=~/few\n"
    )
    done = bare.connect("comet-ln2", "--install", check=False)
    assert done.returncode == 2, done.stderr
    assert "comet-ln2 has no Python 3.11 or newer" in done.stderr
    assert "module:" in done.stderr


def test_another_version_is_reported_and_used(bare: Stand, comet: Login) -> None:
    script = bare.write(
        ".local/bin/rps",
        f'#!/bin/sh\n[ "$1" = --version ] && echo rps 0.0.9 && exit\nexec {bare.clone}/rps "$@"\n',
    )
    script.chmod(0o755)
    bare.write(
        ".config/rps/connect.yaml",
        "hosts: {comet: {ssh: comet-ln2, options: --extra=--hold}}\n",
        here=True,
    )
    with bare.terminal() as terminal:
        terminal.type("rps connect comet")
        shown = terminal.until(r"started on comet")
        assert (
            f"comet has rps 0.0.9, this computer {__version__}: `rps connect comet --install`"
            in (" ".join(shown.split()))
        )
        terminal.press("C-c")
        terminal.until("stops it")
    (bare.own_home / ".config" / "rps" / "connect.yaml").unlink()


def test_rps_of_an_environment_module(bare: Stand) -> None:
    """Real Environment Modules, which the login shell's start-up file sets up."""
    if not MODULECMD.exists():
        leave_out("Environment Modules are not unpacked (`make system` does it)")
    bare.write("modulefiles/rps/1.0", f"#%Module\nprepend-path PATH {bare.clone}\n")
    bare.write(
        ".bash_profile", f'eval "$(tclsh8.6 {MODULECMD} bash autoinit)"\nmodule use ~/modulefiles\n'
    )
    for module, code in (("rps/1.0", 0), ("rps/2.0", 2)):
        hosts = f"hosts: {{comet: {{ssh: comet-ln2, module: {module}}}}}\n"
        file = bare.write(".config/rps/connect.yaml", hosts, here=True)
        done = bare.connect("comet", "--list", check=False)
        file.unlink()
        assert done.returncode == code, done.stderr
    assert "rps/2.0" in done.stderr  # in the words of Environment Modules
    assert "No rps on comet" in done.stderr
