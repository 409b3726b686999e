"""Check that no other user can replace what a path leads to.

From the root down, every directory on the way belongs to this user or to root and is writable for no one
else. Links are followed one by one, with the directories that they lie in and lead through. In a sticky
directory (/tmp) others can add entries, but cannot replace ours.

Safe as well, and common:

- Write permission of a private group, as `umask 002` is meant for: root's group, or the user's primary group
  where it has the user's own name and no other member. What an ACL permits shows in the group's bits (its
  mask), so where a group is private the ACL's own entries are read.
- Write permission of any group below a directory that no one else can enter (a home of mode 0700).
- A directory of the kernel's overflow owner (uid 65534) above the first that is ours: user namespaces and
  NFSv4 show root so where they cannot map it. No account may have that uid.

A directory is looked at before what is in it, so after the check only this user or root can change any of
it. Not seen: NFSv4 ACLs that a server leaves out of the mode; another user's FUSE mount with `allow_other`.
"""

import errno
import os
import stat
from typing import Optional

MOST_LINKS = 40  # as the kernel follows, path_resolution(7)
_WRITE, _ENTER = 2, 1  # bits of one class of a mode, and of an ACL's entry
# POSIX ACLs as the kernel's xattr holds them (linux/posix_acl_xattr.h): a version, then tag, bits, id.
_ACL, _ACL_VERSION, _ACL_ENTRY = "system.posix_acl_access", 4, "<HHI"
_ACL_USER, _ACL_GROUP = 0x02, 0x08


class UntrustedPath(Exception):
    """A path that another user can replace.

    `remedy`: what to do about the place that lets them, a sentence without a full stop.
    """

    def __init__(self, place: str, problem: str, remedy: str) -> None:
        super().__init__("%s %s" % (place, problem))
        self.remedy = remedy


class _Directory:
    """A directory on the way.

    `shared`: sticky, and others can add entries; `closed`: no other user can enter it, or one above
    it; `own`: the user owns it, or one above it.
    """

    def __init__(self, path: str, seen: os.stat_result, above: "Optional[_Directory]") -> None:
        own = above is not None and above.own
        closed = above is not None and above.closed
        self.path = path
        _check_owner(path, seen, own)
        writable = _others_may(_WRITE, path, seen, closed)
        self.shared = writable and bool(seen.st_mode & stat.S_ISVTX)
        if writable and not self.shared:
            raise _writable(path, seen)
        self.own: bool = own or seen.st_uid == os.geteuid()
        self.closed: bool = closed or not _others_may(_ENTER, path, seen, False)


def check_path(path: str) -> None:
    """Check each directory and link on the way to `path`, and `path` itself.

    What is missing ends the check: it can only be made below what was found safe.

    Raises:
        UntrustedPath: another user can replace a part of it.
        OSError: a part of it cannot be looked at.
    """
    if not os.path.isabs(path):  # else the working directory may have been removed
        path = os.path.join(os.getcwd(), path)
    rest = path.split("/")[::-1]
    way = [_Directory("/", os.lstat("/"), None)]
    links = 0
    while rest:
        name = rest.pop()
        if name in ("", "."):
            continue
        if name == "..":
            way = way[:-1] or way
            continue
        entry = os.path.join(way[-1].path, name)
        try:
            seen = os.lstat(entry)
        except FileNotFoundError:
            return
        if way[-1].shared:
            _check_owner(entry, seen, True)
        if stat.S_ISLNK(seen.st_mode):
            links += 1
            if links > MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink(entry)
            rest.extend(target.split("/")[::-1])
            if target.startswith("/"):
                way = way[:1]
        elif stat.S_ISDIR(seen.st_mode):
            # With a name behind it, since an automounter mounts only then.
            way.append(_Directory(entry, os.lstat(entry + "/."), way[-1]))
        else:
            check_file(entry, seen, way[-1].closed)
            return


def check_file(path: str, seen: os.stat_result, closed: bool = False) -> None:
    """Check by fstat that a file is the user's or root's, and closed to others.

    `closed`: it lies below a directory that no one else can enter (UntrustedPath: it is not so).
    """
    _check_owner(path, seen, True)
    if _others_may(_WRITE, path, seen, closed):
        raise _writable(path, seen)


def _check_owner(path: str, seen: os.stat_result, strictly: bool) -> None:
    """`strictly`: the overflow owner is another user as well."""
    if seen.st_uid in (0, os.geteuid()) or (not strictly and seen.st_uid == _overflow_owner()):
        return
    raise UntrustedPath(path, "belongs to user %d" % seen.st_uid, "Use a directory of your own")


def _writable(path: str, seen: os.stat_result) -> UntrustedPath:
    mode = stat.S_IMODE(seen.st_mode)
    who = "everyone" if mode & stat.S_IWOTH else "the group %d, or by an ACL" % seen.st_gid
    ours = seen.st_uid == os.geteuid()
    remedy = "chmod go-w %s" % path if ours else "Ask the administrator to close it"
    return UntrustedPath(path, "is writable for %s (mode %04o)" % (who, mode), remedy)


def _others_may(what: int, path: str, seen: os.stat_result, closed: bool) -> bool:
    """Return whether the mode lets other users write, or enter.

    A `closed` directory above keeps groups out; a mode for everyone is never meant, and is refused there too.
    """
    if seen.st_mode & what:
        return True
    if closed or not seen.st_mode & what << 3:
        return False
    return not _is_private(seen.st_gid) or _acl_grants(what, path)


def _is_private(gid: int) -> bool:
    """Return whether the accounts' database has only this user and root in the group."""
    import grp
    import pwd

    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return gid == 0
    try:
        account = pwd.getpwuid(os.geteuid())
    except KeyError:  # in a container
        return gid == 0 and set(group.gr_mem) <= {"root"}
    own = gid == account.pw_gid and group.gr_name == account.pw_name
    return (own or gid == 0) and set(group.gr_mem) <= {"root", account.pw_name}


def _acl_grants(what: int, path: str) -> bool:
    """Return whether an ACL gives another user or a group this permission."""
    import struct

    try:
        acl = os.getxattr(path, _ACL)
    except OSError:  # there is none, or the file system has no ACLs
        return False
    return any(
        tag in (_ACL_USER, _ACL_GROUP) and bits & what and (tag, named) != (_ACL_USER, os.geteuid())
        for tag, bits, named in struct.iter_unpack(_ACL_ENTRY, acl[_ACL_VERSION:])
    )


def _overflow_owner() -> int:
    """Return the owner that the kernel shows if it cannot map one."""
    try:
        with open("/proc/sys/kernel/overflowuid") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 65534
