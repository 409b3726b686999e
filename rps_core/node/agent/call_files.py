"""Calls of a session as files, signed: the form that agent and service share (docs/protocol.md).

Each side has the SHA-256 digest of the claim: the service keeps no more of it. Requests and answers have a
key each, so that neither passes for the other.
"""

import hashlib
import hmac
import json
import re
from typing import Any, Dict, Optional

from rps_core.node.agent.protocol import Malformed, read_object

DIRECTORY = "calls"  # in the session's directory
REQUEST, ANSWER = "request", "answer"
CALLS = ("certificate", "redeem", "renew", "revoke")
LONGEST = 64 * 1024  # bytes of a file
REPLAYED = "replayed"  # the code for a request whose number is not above the last one
_MARK = 64  # characters of the signature, which is the first line
_NAME = re.compile("(request|answer)-([0-9]{20})")


def claim_digest(claim: str) -> bytes:
    """Return what the service keeps of a claim."""
    return hashlib.sha256(claim.encode()).digest()


def file_name(kind: str, number: int) -> str:
    """Return the name of a call's file: it is used once, and no look at it is remembered."""
    return "%s-%020d" % (kind, number)


def number_of(kind: str, name: str) -> Optional[int]:
    """Return the number of a call's file; None: it is another file."""
    found = _NAME.fullmatch(name)
    return int(found.group(2)) if found and found.group(1) == kind else None


def sign(digest: bytes, kind: str, content: Dict[str, Any]) -> bytes:
    """Return the text of a file, signed with the claim's digest."""
    text = json.dumps(content).encode()
    return _mark(digest, kind, text).encode() + b"\n" + text


def verified(digest: bytes, kind: str, content: bytes) -> Dict[str, Any]:
    """Return what a file says.

    Raises:
        Malformed: it is too long, not signed with this claim, or for the other direction; or no JSON object.
    """
    mark, text = content[:_MARK], content[_MARK + 1 :]
    if len(content) > LONGEST or content[_MARK : _MARK + 1] != b"\n":
        raise Malformed("it is not a signed call")
    if not hmac.compare_digest(mark, _mark(digest, kind, text).encode()):
        raise Malformed("its signature is not of this session")
    return read_object(text)


def _mark(digest: bytes, kind: str, text: bytes) -> str:
    label = b"rps calls as files 1 " + kind.encode()
    key = hmac.new(digest, label, hashlib.sha256).digest()
    return hmac.new(key, text, hashlib.sha256).hexdigest()
