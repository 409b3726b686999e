"""Paths that no other user can replace, and safe ones that look unsafe."""

from __future__ import annotations

import grp
import os
import pwd
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest

from rps_core.node.agent import trusted_path
from rps_core.node.agent.trusted_path import UntrustedPath, check_path

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
STRANGER = 12345


def made(path: Path, mode: int = 0o755, owner: int = -1, group: int = -1) -> Path:
    path.mkdir()
    os.chown(path, owner, group)
    path.chmod(mode)
    return path


def refusal(path: Path) -> UntrustedPath:
    with pytest.raises(UntrustedPath) as error:
        check_path(str(path))
    return error.value


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o722])
@pytest.mark.parametrize("below", ["", "rps", "rps/sessions/one", "rps/../rps"])
def test_a_directory_that_others_can_write_to_is_refused(
    mode: int, below: str, ground: Path
) -> None:
    """Test each kind of entry: missing, ours, private."""
    place = made(ground / "open", mode)
    made(place / "rps", 0o700)
    made(place / "rps" / "sessions", 0o700)
    message = refusal(place / below)
    assert str(message) == f"{place} is writable for everyone (mode {mode:04o})"
    assert message.remedy == f"chmod go-w {place}"
    place.chmod(0o755)
    check_path(str(place / below))


def test_a_directory_that_a_group_of_several_can_write_to_is_refused(ground: Path) -> None:
    """Test the user's own directories too, whose group all users have (umask 002)."""
    place = made(ground / "lab", 0o775, group=os.getgid())
    if os.getgid() == 0:
        os.chown(place, -1, STRANGER)
    else:
        pytest.skip("the group of who runs this may be private")
    assert f"writable for the group {STRANGER}" in str(refusal(place / "rps"))


@as_root
@pytest.mark.parametrize("mode", [0o755, 0o700, 0o555])
def test_a_directory_of_another_user_is_refused(mode: int, ground: Path) -> None:
    place = made(ground / "theirs", 0o755, STRANGER)
    made(place / "ours", 0o700)
    place.chmod(mode)
    assert str(refusal(place / "ours")) == f"{place} belongs to user {STRANGER}"


@as_root
def test_what_lies_in_a_sticky_directory_must_be_ours(ground: Path) -> None:
    shared = made(ground / "tmp", 0o1777)
    made(shared / "ours", 0o700)
    check_path(str(shared / "ours" / "rps"))
    check_path(str(shared / "not-yet-there"))
    (shared / "file").write_text("")
    check_path(str(shared / "file"))
    os.chown(shared / "file", STRANGER, -1)
    assert "belongs to user" in str(refusal(shared / "file"))
    # Another user's link, though it leads to a place that is safe.
    (shared / "link").symlink_to(shared / "ours")
    check_path(str(shared / "link" / "rps"))
    os.chown(shared / "link", STRANGER, -1, follow_symlinks=False)
    assert f"{shared / 'link'} belongs to user {STRANGER}" in str(refusal(shared / "link" / "rps"))
    # And a sticky directory of another user's, who can rename what is in it.
    os.chown(shared, STRANGER, -1)
    assert f"{shared} belongs" in str(refusal(shared / "ours"))


@pytest.mark.parametrize("target", ["../open/rps", "{ground}/open/rps", "./../open/./rps", "hop"])
def test_a_link_is_followed_through_all_that_it_leads_through(target: str, ground: Path) -> None:
    made(ground / "open", 0o777)
    made(ground / "open" / "rps", 0o700)
    home = made(ground / "home", 0o755)
    (home / "hop").symlink_to(ground / "open" / "rps")
    (home / "state").symlink_to(target.format(ground=ground))
    assert f"{ground / 'open'} is writable" in str(refusal(home / "state" / "sessions"))
    (ground / "open").chmod(0o755)
    check_path(str(home / "state" / "sessions"))


def test_the_directory_of_a_link_counts(ground: Path) -> None:
    """Test that a user who can write there can replace it."""
    made(ground / "open", 0o777)
    made(ground / "safe", 0o700)
    (ground / "open" / "state").symlink_to(ground / "safe")
    assert f"{ground / 'open'} is writable" in str(refusal(ground / "open" / "state"))


def test_links_in_a_circle_end(ground: Path) -> None:
    (ground / "one").symlink_to("two")
    (ground / "two").symlink_to("one")
    with pytest.raises(OSError, match="Too many levels"):
        check_path(str(ground / "one" / "rps"))


@pytest.mark.parametrize("mode", [0o602, 0o666])
def test_a_file_that_others_can_write_is_refused(mode: int, ground: Path) -> None:
    file = ground / "config.yaml"
    file.write_text("")
    file.chmod(mode)
    assert "writable for everyone" in str(refusal(file))


# What is safe


def test_a_group_may_write_where_no_one_else_can_enter(ground: Path) -> None:
    """umask 002 with a group that many have, in a home directory of mode 0700."""
    group = STRANGER if os.geteuid() == 0 else os.getgid()
    home = made(ground / "home", 0o700)
    place = made(home / ".config", 0o775, group=group)
    (place / "config.yaml").write_text("")
    os.chown(place / "config.yaml", -1, group)
    (place / "config.yaml").chmod(0o664)
    check_path(str(place / "config.yaml"))
    # Write access for all is refused: a process that had the directory open keeps access.
    place.chmod(0o777)
    assert "writable for everyone" in str(refusal(place))
    place.chmod(0o775)
    # A link that leads out of the directory is not protected by it.
    outside = made(ground / "outside", 0o755, group=group)
    (place / "rps").symlink_to(outside)
    check_path(str(place / "rps"))
    if os.geteuid() == 0:
        outside.chmod(0o775)
        assert f"{outside} is writable for the group" in str(refusal(place / "rps"))
        home.chmod(0o710)
        os.chown(home, -1, STRANGER)
        assert f"{place} is writable for the group" in str(refusal(place / "config.yaml"))


@as_root
@pytest.mark.parametrize(
    ("name", "members", "primary", "safe"),
    [
        ("alice", [], 4000, True),
        ("alice", ["alice"], 4000, True),
        ("alice", ["alice", "root"], 4000, True),
        ("alice", ["alice", "bob"], 4000, False),
        ("alice", [], 100, False),  # of that name, and not hers
        ("users", [], 4000, False),  # that of all: no one is listed as its member
    ],
)
def test_a_private_group_may_write(
    name: str,
    members: list[str],
    primary: int,
    safe: bool,
    ground: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Test user private groups (`umask 002`), by the account database."""
    place = made(ground / "home", 0o775, group=4000)
    account = SimpleNamespace(pw_name="alice", pw_gid=primary)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: account)
    group = SimpleNamespace(gr_name=name, gr_mem=members)
    monkeypatch.setattr(grp, "getgrgid", {4000: group, 0: grp.getgrgid(0)}.__getitem__)
    if safe:
        check_path(str(place / "rps"))
    else:
        assert "writable for the group 4000" in str(refusal(place / "rps"))


@as_root
def test_an_account_that_the_node_does_not_know_has_no_private_group(
    ground: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test that root's group counts: a container gives it to its user."""

    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    check_path(str(made(ground / "home", 0o775, group=0)))
    assert "writable" in str(refusal(made(ground / "other", 0o775, group=1)))
    monkeypatch.setattr(grp, "getgrgid", unknown)
    check_path(str(ground / "home"))
    assert "writable" in str(refusal(ground / "other"))


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@as_root
@pytest.mark.parametrize(
    ("named", "safe"),
    [((0x02, 7, STRANGER), False), ((0x08, 6, STRANGER), False), ((0x02, 5, STRANGER), True),
     ((0x02, 7, 0), True)],
)  # fmt: skip
def test_an_acl_is_seen_behind_a_private_group(
    named: tuple[int, int, int], safe: bool, ground: Path
) -> None:
    """Test an ACL, which widens the group bits of a private group."""
    place = made(ground / "home", 0o755, group=0)
    owner, group, mask, other = (0x01, 7, 2**32 - 1), (0x04, 7, 2**32 - 1), 0x10, 0x20
    try:
        os.setxattr(
            place,
            "system.posix_acl_access",
            acl(owner, *([named] if named[0] == 0x02 else []), group,
                *([named] if named[0] == 0x08 else []), (mask, 7, 2**32 - 1), (other, 5, 2**32 - 1)),
        )  # fmt: skip
    except OSError as error:
        pytest.skip(f"no ACLs here: {error}")
    assert place.stat().st_mode & 0o070 == 0o070
    if safe:
        check_path(str(place / "rps"))
    else:
        assert "by an ACL" in str(refusal(place / "rps"))


@as_root
def test_an_owner_that_cannot_be_mapped_counts_as_the_systems_above_ours(
    ground: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test NFSv4 without an id for root: uid 65534 owns /home, its user the home."""
    monkeypatch.setattr(trusted_path, "_overflow_owner", lambda: STRANGER)
    # Root owns all directories above, so this is the user who owns the last one alone.
    monkeypatch.setattr(os, "geteuid", lambda: 4000)
    homes = made(ground / "home", 0o755, STRANGER)
    ours = made(homes / "alice", 0o755, 4000)
    check_path(str(ours / "rps"))
    made(ours / "state", 0o755, STRANGER)
    assert f"{ours / 'state'} belongs to user {STRANGER}" in str(refusal(ours / "state"))
    homes.chmod(0o777)
    assert f"{homes} is writable" in str(refusal(ours / "rps"))


def test_a_working_directory_that_was_removed_does_not_matter(
    ground: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = made(ground / "gone")
    monkeypatch.chdir(place)
    place.rmdir()
    check_path(str(ground / "kept"))
