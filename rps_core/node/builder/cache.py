"""The cache of built environments: one directory, which hosts may share over NFS.

    NAME.json        published: the environment is whole, and in the tree that this names
    NAME.lock        who builds it now
    NAME-NUMBER/     a tree; conda's have their path written into them, so a tree is built where it stays
    NAME-NUMBER.work/  what its build needs beside it

Each build has a tree of its own, and is published by the atomic rename of one file. So nothing half-made
is ever used, whatever becomes of a lock: a lock only saves two builds of the same. Its owner may be gone
without a word; the next one takes its place.
"""

import json
import os
import shutil
import time
from typing import Any, Dict, List, Optional

from rps_core.node.agent.protocol import is_line
from rps_core.node.builder.lock import Lock, has_ended, owner_of, this_process, unlink

SILENCE = 60.0  # seconds without one after which a builder on another host is gone
ORPHANED = 86400.0  # seconds without one after which a tree that nothing names is removed


class Cache:
    """The environments below `root`, a directory that is the user's alone."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._seen: Dict[str, Any] = {}  # a lock, and since when it has been as it is

    def published(self, name: str) -> Optional[Dict[str, Any]]:
        """Return a whole environment, with its `prefix`; None: there is none that can be used."""
        found = self.entry(name)
        return found if found is not None and is_usable(found["prefix"]) else None

    def entry(self, name: str) -> Optional[Dict[str, Any]]:
        """Return what was published by this name, usable or not, with its `prefix` and `tree`."""
        try:
            with open(self._path(name + ".json"), "rb") as file:
                found = json.loads(file.read().decode())
            tree, below = found["tree"], found["below"]
            if not (_is_name(tree) and tree.startswith(name + "-") and is_line(found["label"])):
                return None
            if not isinstance(below, str) or ".." in below or below.startswith("/"):
                return None
            found["made"], found["size"] = float(found["made"]), int(found["size"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        found["name"] = name
        found["tree"] = self._path(tree)
        found["prefix"] = os.path.join(found["tree"], below) if below else found["tree"]
        return found  # type: ignore[no-any-return]

    def names(self) -> List[str]:
        """Return the names of what was published."""
        return sorted(
            file[: -len(".json")]
            for file in self._files()
            if file.endswith(".json") and _is_name(file)
        )

    def used(self, name: str) -> float:
        """Return when an environment was last used, in Unix seconds; 0: it is not there."""
        try:
            return os.stat(self._path(name + ".json")).st_mtime
        except OSError:
            return 0.0

    def use(self, name: str) -> None:
        """Note that an environment is used now."""
        try:
            os.utime(self._path(name + ".json"), None)
        except OSError:  # read-only, or just removed
            pass

    def try_lock(self, name: str) -> Optional[Lock]:
        """Return the right to build an environment; None: `builder` has it."""
        path = self._path(name + ".lock")
        tree = "%s-%x%s" % (name, int(time.time() * 1000), os.urandom(4).hex())
        owner = dict(this_process(), tree=tree)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except FileExistsError:
            return None
        try:
            os.write(handle, json.dumps(owner).encode())
        except OSError:  # a full disk
            unlink(path)
            raise
        finally:
            os.close(handle)
        return Lock(path, self._path(tree))

    def builder(self, name: str) -> Optional[str]:
        """Return who builds an environment, in words; None: no process does.

        The lock of one that is gone is removed.
        """
        path = self._path(name + ".lock")
        try:
            beaten = os.stat(path).st_mtime_ns
        except OSError:
            return None
        owner = owner_of(path)
        gone = has_ended(owner)
        # By our own clock: that of the file server, or of another host, may differ.
        state = (beaten, owner.get("tree"))
        if self._seen.get(name, (None,))[0] != state:
            self._seen[name] = (state, time.monotonic())
        silent = time.monotonic() - self._seen[name][1] > SILENCE
        if (gone or silent) and owner_of(path) == owner:
            unlink(path)
            if gone and _is_name(owner.get("tree")):
                self.remove_tree(self._path(owner["tree"]))
            return None
        return "process %s on %s" % (owner.get("pid", "?"), owner.get("host", "another host"))

    def publish(self, name: str, tree: str, below: str, **facts: Any) -> None:
        """Make a whole tree the environment of this name (OSError: it cannot be written)."""
        values = dict(facts, tree=os.path.basename(tree), below=below, made=time.time())
        path = self._path(name + ".json")
        temporary = "%s.%s" % (path, os.path.basename(tree))
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(json.dumps(values, indent=1).encode())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            unlink(temporary)
            raise

    def remove(self, name: str) -> None:
        """Remove an environment: first what names it, so that it is never used half-removed."""
        found = self.entry(name)
        unlink(self._path(name + ".json"))
        if found is not None:
            self.remove_tree(found["tree"])

    def remove_tree(self, tree: str) -> None:
        """Remove a tree, with the directories that its tools made unwritable."""
        for path in (work_of(tree), tree):
            if os.path.lexists(path):
                _open(path)
                shutil.rmtree(
                    path, ignore_errors=True
                )  # NFS keeps open files; the rest is an orphan

    def orphans(self) -> List[str]:
        """Return the trees that nothing names, of builders that are gone."""
        files = self._files()
        named = {
            os.path.basename(found["tree"]) for found in map(self.entry, self.names()) if found
        }
        for file in files:
            if file.endswith(".lock"):
                named.add(owner_of(self._path(file)).get("tree") or "")
        found = []
        for file in files:
            path = self._path(file)
            if file in named or not os.path.isdir(path) or os.path.islink(path):
                continue
            try:
                silent = time.time() - os.stat(path).st_mtime
            except OSError:
                continue
            if silent > ORPHANED and "-" in file:
                found.append(path)
        return found

    def _path(self, file: str) -> str:
        return os.path.join(self.root, file)

    def _files(self) -> List[str]:
        try:
            return sorted(os.listdir(self.root))
        except OSError:
            return []


def work_of(tree: str) -> str:
    """Return the directory for the files of a tree's build."""
    return tree + ".work"


def is_usable(prefix: str) -> bool:
    """Return whether a prefix has its interpreter, or is one of conda without Python."""
    python = os.path.join(prefix, "bin", "python")
    if os.path.lexists(python):
        return os.access(python, os.X_OK)  # of the file that the link leads to
    return os.path.isdir(os.path.join(prefix, "conda-meta"))


def _is_name(text: Any) -> bool:
    return isinstance(text, str) and "/" not in text and not text.startswith(".") and is_line(text)


def _open(tree: str) -> None:
    """Make the directories below a tree removable.

    The caches of conda and Go have some without write permission.
    """
    for directory, below, _ in os.walk(tree):
        for name in below:
            path = os.path.join(directory, name)
            try:
                if not os.path.islink(path) and os.stat(path).st_mode & 0o700 != 0o700:
                    os.chmod(path, 0o700)
            except OSError:
                pass
