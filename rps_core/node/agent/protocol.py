"""The grammar of docs/protocol.md, which launcher and agent accept.

A service is not trusted. Every call names the form of its answer, and takes from it the fields of that form
alone; an answer in another form is no answer. The same checks hold for what was stored earlier.
"""

import re
from typing import Any, Callable, Dict, List, Tuple

LONGEST_ANSWER = 64 * 1024  # bytes of a body; a certificate, its key and a CA take some 5,000
LONGEST_FEED = 8 << 20  # bytes, of the jobs of a cluster: some fifty thousand
LONGEST_LINE = 256  # characters, of a job's id and the like
LONGEST_PATTERN = 1000  # characters
LONGEST_REASON = 200  # characters, of why a session ended or a job waits
LONGEST_PEM = 16 * 1024  # characters, of one field
RENEWALS = (0.1, 86400.0)  # seconds, the least and the most between two renewals
_MOST_DIGITS = 20

# Why a job waits, or stands still: what a report of it may give as its reason. The page has words for each.
WAITS = (
    "resources", "priority", "held", "dependency", "begin-time", "queue-limit", "never", "no-account",
    "nodes-unavailable", "partition-down", "suspended",
)  # fmt: skip

Check = Callable[[Any], bool]
Form = Callable[[Dict[str, Any]], Dict[str, Any]]


class Malformed(ValueError):
    """A value outside the grammar; the message names the field, not the value."""


def matches(pattern: str) -> Check:
    """Return a check for texts that a pattern matches in full."""
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = r"(?=.{1,253}(?:[:/]|\Z))%s(?:\.%s)+" % (_LABEL, _LABEL)
_PORT = "(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_LINES = r"(?:[A-Za-z0-9+/=]{1,76}\n)+"

is_name = matches(r"(?=.{5,63}\Z)[a-z]+(?:-[a-z]+){2}")
# As a satellite issues them (its word list has `drop-down`).
is_satellite_name = matches(r"(?=.{5,63}\Z)[a-z0-9]+(?:-[a-z0-9]+){2,5}")
# The name of a session's directory: the service's name, or at a satellite one that the launcher made.
is_session_name = matches(r"(?=.{1,63}\Z)[a-z0-9]+(?:-[a-z0-9]+)*")
is_host = matches(_HOST)
# Plain HTTP only to names that never leave the user's machine (RFC 6761, 6.3), where ssh forwards a port.
_LOCALHOST = r"(?=[a-z0-9.-]{1,253}\.localhost[:/])" + _HOST
is_url = matches("(?:https://%s|http://%s)(?::%s)?/" % (_HOST, _LOCALHOST, _PORT))
is_claim = matches("[A-Za-z0-9_-]{43}")
is_code = matches("[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?")
# In a header field, and in a URL.
is_secret = matches("[!-~]{1,4096}")  # the key of an operator may be long
is_token = matches("[A-Za-z0-9._~-]{1,256}")


def is_line(value: Any) -> bool:
    """Return whether this is a short line of printable characters, and not empty."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_LINE and value.isprintable()


def is_flag(value: Any) -> bool:
    """Return whether this is a JSON boolean."""
    return isinstance(value, bool)


def is_number(value: Any, least: float, most: float) -> bool:
    """Return whether this is a finite number within these bounds; a boolean is not."""
    return type(value) in (int, float) and least <= value <= most


def is_port(value: Any) -> bool:
    """Return whether this is a TCP port."""
    return type(value) is int and 1 <= value <= 65535


# What a scheduler's plugin gives the agent with each session (`JobTraits`).
is_variable = matches("[A-Za-z_][A-Za-z0-9_]{0,127}")
is_program = matches("[A-Za-z0-9._+-]{1,64}")
TIME_UNITS = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


def is_argv(value: Any) -> bool:
    """Return whether this is a command: program and arguments, a short line each."""
    return isinstance(value, list) and 0 < len(value) <= 32 and all(map(is_line, value))


# A path below a session's URL, as it stands there, without a leading slash, query or fragment.
is_path = matches(r"(?!/)[A-Za-z0-9/._~!$&'()*+,;=:@%-]{0,200}")
# An application's name is a part of its URL.
is_app_name = matches("[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


def is_app(name: Any, row: Any) -> bool:
    """Return whether this is an application of a session (docs/sessions.md)."""
    forms: Dict[str, Check] = {
        "title": is_line,
        "command": lambda value: is_texts(value) and len(value) > 0,
        "arguments": is_texts,
        "path": is_path,
        "keeps_prefix": is_flag,
        "programs": is_texts,
        "environment": lambda value: (
            isinstance(value, dict) and is_texts([*value, *value.values()])
        ),
        "headers": lambda value: isinstance(value, dict) and is_texts([*value, *value.values()]),
        "health": maybe(lambda value: isinstance(value, str)),
        "timeout": lambda value: is_number(value, 0, 1e6),
        "bin": is_texts,
        "directory": lambda value: isinstance(value, str),
        "host": is_line,
    }
    return (
        is_app_name(name)
        and isinstance(row, dict)
        and all(holds(row.get(key)) for key, holds in forms.items())
    )


def is_texts(value: Any) -> bool:
    """Return whether this is a list of texts that a program can get as arguments."""
    return isinstance(value, list) and all(
        isinstance(text, str) and "\0" not in text for text in value
    )


def is_programs(value: Any) -> bool:
    """Return whether this is a list of programs' names, without directories."""
    return isinstance(value, list) and len(value) <= 32 and all(map(is_program, value))


def is_time_pattern(value: Any) -> bool:
    """Return whether this is a regular expression whose groups are units of time."""
    if not (isinstance(value, str) and len(value) <= LONGEST_PATTERN):
        return False
    try:
        groups = re.compile(value).groupindex
    except re.error:
        return False
    return bool(groups) and TIME_UNITS.keys() >= groups.keys()


def host_of(url: str) -> str:
    """Return the host in a session's URL."""
    return url.partition("://")[2].partition("/")[0].partition(":")[0]


def is_pem(kind: str) -> Check:
    """Return whether this is PEM alone: certificates, or a key without a passphrase."""
    if kind == "CERTIFICATE":
        block = "-----BEGIN CERTIFICATE-----\n%s-----END CERTIFICATE-----\n" % _LINES
        whole = matches("(?:%s){1,8}" % block)
    else:
        kinds = ("PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY")
        blocks = (
            "-----BEGIN %s-----\n%s-----END %s-----\n" % (name, _LINES, name) for name in kinds
        )
        whole = matches("|".join(blocks))
    return lambda value: isinstance(value, str) and len(value) <= LONGEST_PEM and whole(value)


def one_of(*values: str) -> Check:
    """Return a check for one of these words."""
    return lambda value: isinstance(value, str) and value in values


def maybe(check: Check) -> Check:
    """Return a check for what `check` takes, or null, or a missing field."""
    return lambda value: value is None or check(value)


def form(**fields: Check) -> Form:
    """Return the form of an object with these fields; others are not read.

    Raises (as it is used):
        Malformed: a field is missing, or is not as its check says.
    """

    def taken(found: Dict[str, Any]) -> Dict[str, Any]:
        for name, holds in fields.items():
            if not holds(found.get(name)):
                raise Malformed("`%s` has the wrong form" % name)
        return {name: found.get(name) for name in fields}

    return taken


ACKNOWLEDGED = form()  # that it was answered is all that counts
HEALTH = form(status=one_of("ok"), version=is_line, domain=is_host, draining=maybe(is_flag))
STATE = form(phase=one_of("issued", "linked", "ready", "gone"), live=is_flag, reason=maybe(is_line))
CERTIFICATE = form(
    certificate=is_pem("CERTIFICATE"), key=is_pem("PRIVATE KEY"), ca=is_pem("CERTIFICATE")
)
LEASE = form(renew_every=lambda value: is_number(value, *RENEWALS))
REFUSAL = form(error=is_code)
_JOB = form(name=is_name, job_id=is_line, user=maybe(is_line), seen=is_flag)
NOTED = form(noted=lambda value: is_number(value, 0, 1e9))
_ISSUED = form(name=is_name, host=is_host, url=is_url, claim=is_claim)


def issued(manager: str, scheme: str = "https") -> Form:
    """Return the form of a new name from the service at the host `manager`.

    The session's host is the name below that service's domain, and its URL is to that host, with this scheme:
    http is for a personal service that browsers reach through ssh.
    """
    domain = manager.lower()[len("manage.") :].rstrip(".")

    def taken(found: Dict[str, Any]) -> Dict[str, Any]:
        answer = _ISSUED(found)
        host = answer["host"]
        if host != "%s.%s" % (answer["name"], domain):
            raise Malformed("`host` is not the name below %s" % domain)
        if host_of(answer["url"]) != host:
            raise Malformed("`url` is not the host's")
        if answer["url"].partition(":")[0] != scheme:
            raise Malformed("`url` is not %s" % scheme)
        return answer

    return taken


def jobs(found: Dict[str, Any]) -> Dict[str, Any]:
    """Take the sessions' jobs of a cluster from an answer (`rps proxy feed`)."""
    listed = found.get("jobs")
    if not (isinstance(listed, list) and all(isinstance(one, dict) for one in listed)):
        raise Malformed("`jobs` has the wrong form")
    return {"jobs": [_JOB(one) for one in listed]}


def read_object(content: bytes) -> Dict[str, Any]:
    """Read a JSON object (RFC 8259) in UTF-8.

    Raises:
        Malformed: it is none; a key stands twice; a number is not finite or has too many digits.
    """
    import json

    try:
        found = json.loads(
            content.decode(),
            object_pairs_hook=_unique,
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_whole,
        )
    except Malformed:
        raise
    except (ValueError, RecursionError):
        raise Malformed("it is not JSON") from None
    if not isinstance(found, dict):
        raise Malformed("it is not a JSON object")
    return found


def _unique(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("a key occurs twice in it")
    return found


def _no_number(_text: str) -> float:
    raise Malformed("a number in it is not finite")


def _finite(text: str) -> float:
    value = float(text)
    if abs(value) == float("inf"):
        _no_number(text)
    return value


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise Malformed("a number in it has too many digits")
    return int(text)
