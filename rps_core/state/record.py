"""The record of a session and its secrets, which are in a file of their own."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import field, fields, replace
from typing import Any

from rps_core.node.agent.protocol import (
    Malformed,
    host_of,
    is_host,
    is_line,
    is_number,
    is_path,
    is_port,
    is_session_name,
    is_url,
    maybe,
    one_of,
)
from rps_core.values import dataclass

# The fields of a record that end.json contains.
END_FIELDS = ("ended", "outcome", "reason", "cause")
LATEST = 2.5e11  # seconds since 1970; beyond the year 9999 there are no dates
LONGEST_WALLTIME = 86_400 * 10**9  # seconds, the range of timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The address of a service.

    `host` is the name in its certificate. `connect` is an address to use instead of DNS (`*.localhost` names,
    which glibc does not resolve). `ca_file`: None for the system's CA store. `protocol`: `rps` or `satellite`
    (docs/protocol.md).
    """

    host: str
    port: int
    connect: str | None = None
    ca_file: str | None = None
    protocol: str = "rps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """How ssh reaches a personal service on a cluster.

    `host` is the login node on which it runs, `socket` its Unix socket there, and `port` the suggested port
    of the user's own machine, which is in the session's URL.
    """

    host: str
    socket: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """The launcher's record of a session, without its secrets. Times are Unix seconds.

    `submitting` is set before the submission: from then on there may be a job, even without a `job_id`.
    `ended` and `outcome` are None while the session may be alive. `outcome` is otherwise `ended` or `failed`,
    for the `reason`; `cause` is a `rps_core.protocol.Cause`. `settings`: the settings of its start by
    dotted key, for `rps again`. `cluster_identity`: what the scheduler calls its cluster
    (`rps_cluster_identity`), null if it is not known. `inside`: it runs in the user's existing allocation,
    which is its job and continues when the session ends. `scheduler_words`: the lines that the scheduler
    printed beside the job's id. `label`: the user's own word for the session (`state.label`). `tunnel`: None
    for a service that browsers reach directly. `environment`: where the notebook's packages are
    (`rps_core.environment.environment`), empty if an earlier version started the session. `link`:
    `once` if its login links work once, else `token`. `shares`: its Jupyter accepts the links of `rps share`.
    `opens`: the path below the URL that a visit opens.
    """

    name: str
    tag: str
    cluster: str
    site: str
    scheduler: str
    url: str
    endpoint: Endpoint
    own_service: bool
    app: str
    directory: str
    walltime: int
    created: float
    job_id: str | None = None
    submitting: bool = False
    ended: float | None = None
    outcome: str | None = None
    reason: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    inside: bool = False
    cluster_identity: str | None = None
    cause: str | None = None
    scheduler_words: list[str] = field(default_factory=list)
    label: str | None = None
    tunnel: Tunnel | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    link: str = "token"
    shares: bool = False
    opens: str = ""

    def is_called(self, prefix: str) -> bool:
        """Return whether the name, the label, or the host in the URL (a satellite's) begins so.

        `prefix` is in lower case.
        """
        host = self.url.partition("//")[2]
        label = (self.label or "").lower()
        return any(word.startswith(prefix) for word in (self.name, host, label))

    @property
    def called(self) -> str:
        """The name, with the label in brackets."""
        return f"{self.name} ({self.label})" if self.label else self.name


def from_values(values: Mapping[str, Any]) -> SessionRecord:
    """Return the record with these values of its JSON files, without unknown fields.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: a value is missing or has the wrong type or form.
    """
    kinds = _kinds()
    fields = {key: value for key, value in values.items() if key in kinds}
    tunnel = values.get("tunnel")
    fields["tunnel"] = None if tunnel is None else Tunnel(**tunnel)
    record = SessionRecord(**{**fields, "endpoint": Endpoint(**values["endpoint"])})
    for key, kind in kinds.items():
        value = getattr(record, key)
        if not isinstance(value, kind) and not (kind is float and isinstance(value, int)):
            raise TypeError(f"`{key}` is {value!r}")
    check(record)
    return record


def merged(known: SessionRecord, record: SessionRecord) -> SessionRecord:
    """Return `record` with the job and the end of the `known` one, which are final."""
    if record.job_id is None and known.job_id is not None:
        record = replace(record, job_id=known.job_id, submitting=False)
    if known.ended is not None:
        end = {key: getattr(known, key) for key in END_FIELDS}
        record = replace(record, submitting=False, **end)
    return record


# What the annotations permit, for `isinstance`: `get_type_hints` takes longer than reading ten records.
_KINDS: dict[str, Any] = {
    "str": str,
    "str | None": (str, type(None)),
    "bool": bool,
    "int": int,
    "float": float,
    "float | None": (float, type(None)),
    "list[str]": list,
    "dict[str, Any]": dict,
    "Endpoint": Endpoint,
    "Tunnel | None": (Tunnel, type(None)),
}


@functools.cache
def _kinds() -> dict[str, Any]:
    """Return the type of each field, for `isinstance`."""
    return {field.name: _KINDS[str(field.type)] for field in fields(SessionRecord)}


def check(record: SessionRecord) -> None:
    """Check the values of a record whose types are right.

    An earlier version may have stored a service's values unchecked. A scheduler's values may be anything: a
    running job must stay known.

    Raises:
        Malformed: a value has the wrong form; names it.
    """
    to = record.endpoint
    for field_, value, holds in (
        ("name", record.name, is_session_name),
        (
            "url",
            record.url.lower(),
            is_url,
        ),  # an earlier version did not convert the domain to lower case
        ("endpoint.host", str(to.host).lower().rstrip("."), is_host),
        ("endpoint.port", to.port, is_port),
        ("endpoint.connect", to.connect, maybe(is_line)),
        ("endpoint.ca_file", to.ca_file, lambda path: isinstance(path, str | None)),
        ("endpoint.protocol", to.protocol, one_of("rps", "satellite")),
        ("cluster_identity", record.cluster_identity, maybe(is_line)),
        ("label", record.label, maybe(is_line)),
        ("environment.line", record.environment.get("line"), maybe(is_line)),
        ("link", record.link, one_of("token", "once")),
        ("opens", record.opens, is_path),
        ("walltime", record.walltime, lambda value: is_number(value, 0, LONGEST_WALLTIME)),
        ("created", record.created, lambda value: is_number(value, 0, LATEST)),
        ("ended", record.ended, maybe(lambda value: is_number(value, 0, LATEST))),
        ("outcome", record.outcome, maybe(one_of("ended", "failed"))),
        (
            "scheduler_words",
            record.scheduler_words,
            lambda lines: all(isinstance(line, str) for line in lines),
        ),
    ):
        if not holds(value):
            raise Malformed(f"`{field_}` has the wrong form")
    if record.tunnel is not None:
        _check_tunnel(record.tunnel)
    if record.url.lower().startswith("http:") != (record.tunnel is not None):
        raise Malformed("`url` and `tunnel` do not fit together")
    domain = to.host.lower().rstrip(".").removeprefix("manage.")
    if not host_of(record.url.lower()).endswith(f".{domain}"):
        raise Malformed(f"`url` is not below {domain}")


def _check_tunnel(tunnel: Tunnel) -> None:
    for field_, value, holds in (
        ("tunnel.host", tunnel.host, is_line),
        ("tunnel.socket", tunnel.socket, lambda path: is_line(path) and path.startswith("/")),
        ("tunnel.port", tunnel.port, is_port),
    ):
        if not holds(value):
            raise Malformed(f"`{field_}` has the wrong form")


@dataclass(frozen=True, slots=True)
class Secrets:
    """The session's claim at the service and the notebook's token.

    At a satellite, which has no claims, the claim is the session's name there.
    """

    claim: str
    token: str

    def __repr__(self) -> str:
        return "Secrets(…)"
