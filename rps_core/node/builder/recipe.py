"""What an environment is built from. The launcher writes it; a job may read it from launch.json."""

import hashlib
import os
import platform
from typing import Any, Dict, List, Optional

from rps_core.node.builder.failure import BuildError

VENVS = ("requirements", "project", "pylock")
KINDS = (*VENVS, "uv-lock", "conda", "explicit", "pixi")
FAMILIES = ("uv", "pip", "micromamba", "mamba", "conda", "pixi")


class Recipe:
    """What an environment is built from, and by what.

    Attributes:
        key: the digest of the content.
        kind: of `KINDS`.
        family: the tool's, of `FAMILIES`.
        tool: its program: a path, or a name on the PATH of the node.
        file: what the environment is made from; None for packages alone.
        editable: whether its project is installed too.
        packages: beside those of the file.
        python: the path of the interpreter; None: the tool decides.
        version: its release, as 3.11.
        label: the environment's name for people.
        unchanged: the SHA-256 of each file that the key covers.

    Raises:
        ValueError, KeyError, TypeError: a value is missing or has the wrong form.
    """

    def __init__(self, values: Dict[str, Any]) -> None:
        self.key = _text(values["key"])
        self.kind = _one_of(values["kind"], KINDS)
        self.family = _one_of(values["family"], FAMILIES)
        self.tool = _text(values["tool"])
        self.file: Optional[str] = values["file"] and _text(values["file"])
        self.editable = values["editable"] is True
        self.packages: List[str] = [_text(package) for package in values["packages"]]
        self.python: Optional[str] = values["python"] and _text(values["python"])
        self.version: Optional[str] = values["version"] and _text(values["version"])
        self.label = _text(values["label"])
        self.unchanged: Dict[str, str] = {
            _text(path): _text(digest) for path, digest in values["unchanged"].items()
        }
        if not self.key.isalnum():
            raise ValueError("key")

    def values(self) -> Dict[str, Any]:
        """Return the values, for JSON."""
        return dict(vars(self))

    @property
    def name(self) -> str:
        """The name in the cache: one for each processor architecture, since homes are shared."""
        return "%s-%s" % (self.key, platform.machine() or "unknown")

    @property
    def directory(self) -> Optional[str]:
        """The directory of its file; None: it has none."""
        return os.path.dirname(self.file) if self.file else None

    def check_unchanged(self) -> None:
        """Check that the files are those of the key.

        Raises:
            BuildError: one was changed or removed since the start.
        """
        for path, digest in sorted(self.unchanged.items()):
            try:
                found = digest_of(path)
            except OSError as error:
                raise BuildError(
                    "%s cannot be read: %s" % (path, error.strerror),
                    advice="Start the session again.",
                ) from None
            if found != digest:
                raise BuildError(
                    "%s was changed since the session was started" % path,
                    advice="Start the session again.",
                )


def digest_of(path: str) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits (OSError: it cannot be read)."""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise TypeError("not a text")
    return value


def _one_of(value: Any, known: Any) -> str:
    if value not in known:
        raise ValueError("unknown: %r" % (value,))
    return _text(value)
