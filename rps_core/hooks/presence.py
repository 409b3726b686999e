"""Find the schedulers that answer on this host, and cache the result.

While it is fresh, no command is run.

An answer is fresh for a day, and for a week it is a sign that this host belongs to a cluster. Programs of a
scheduler without a cluster are checked again after a minute, a cluster that does not answer each time.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, field, replace
from datetime import datetime
from pathlib import Path

from rps_core.errors import SchedulerError
from rps_core.models import Host, JobOrigin, Presence
from rps_core.system import cache, paths
from rps_core.system.shell import Finished, Shell
from rps_core.values import dataclass

ANSWER_FRESH = 86400.0  # seconds
SILENCE_FRESH = 60.0
ANSWER_KNOWN = 7 * 86400.0
_ASKING = 10.0  # seconds for all schedulers together
_LONGEST = 300  # characters of a scheduler's message
_HOST_NAME = r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}"
_CLUSTER_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}"


@dataclass(frozen=True, slots=True)
class _Memory:
    """The cache file's content.

    Attributes:
        asked: when the plugins were asked, in Unix seconds; 0: ask them again.
        plugins: their names.
        commands: the path of each program that they looked up; None: it was not on the PATH.
        variables: the environment variables that they read.
        found: their answers.
        answered: when each scheduler last answered, in Unix seconds.
        jobs: where the job of this shell comes from, by the scheduler's name.
    """

    asked: float = 0.0
    plugins: Sequence[str] = ()
    commands: Mapping[str, str | None] = field(default_factory=dict)
    variables: Mapping[str, str | None] = field(default_factory=dict)
    found: Mapping[str, Presence] = field(default_factory=dict)
    answered: Mapping[str, float] = field(default_factory=dict)
    jobs: Mapping[str, JobOrigin] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the schedulers' plugins see on this host, by the scheduler's name.

    Attributes:
        schedulers: whether the scheduler answers.
        jobs: where the job of this shell comes from.
    """

    schedulers: Mapping[str, Presence]
    jobs: Mapping[str, JobOrigin] = field(default_factory=dict)


class _Recorded(Mapping[str, str]):
    """A mapping that records the keys that were read, for the cache."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.read: dict[str, str | None] = {}

    def __getitem__(self, name: str) -> str:
        self.read[name] = self._values.get(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def schedulers_seen(
    host: Host,
    variables: Mapping[str, str],
    plugins: Sequence[str],
    ask: Callable[[Host, Mapping[str, str]], Seen],
    all_answered: Callable[[], bool] = lambda: True,
) -> Seen:
    """Return what is known of the schedulers on this host, by name.

    Args:
        plugins: the names of the installed schedulers.
        ask: asks their plugins, which get the host and the environment.
        all_answered: called after that; False if a plugin failed. Nothing is cached then, so that the next
            command reports the failure as well.
    """
    now = time.time()
    memory = _read(host)
    if _holds(memory, host, variables, plugins) and 0 <= now - memory.asked < _fresh(memory):
        return Seen(memory.found, memory.jobs)
    answered = {
        name: when for name, when in memory.answered.items() if 0 <= now - when < ANSWER_KNOWN
    }
    commands, environment = _Recorded(host.commands), _Recorded(variables)
    seen = ask(replace(host, commands=commands), environment)
    found = {name: _printable(presence) for name, presence in seen.schedulers.items()}
    for name, when in answered.items():
        presence = found.get(name) or Presence(
            answers=False, seen=f"the programs of {name} are not on the PATH any more"
        )
        if not presence.answers:
            day = datetime.fromtimestamp(when).astimezone().strftime("%Y-%m-%d %H:%M")
            found[name] = replace(presence, sign=f"{name} answered on this host on {day}")
    answered |= {name: now for name, presence in found.items() if presence.answers}
    has_sign = any(presence.sign for presence in found.values())
    is_settled = all_answered() and (_one_answers(found) or not has_sign)
    asked = now if is_settled else 0.0
    jobs = {name: _names(job) for name, job in seen.jobs.items()}
    _write(host, _Memory(asked, plugins, commands.read, environment.read, found, answered, jobs))
    return Seen(found, jobs)


def _holds(
    memory: _Memory, host: Host, variables: Mapping[str, str], plugins: Sequence[str]
) -> bool:
    """Return whether the same plugins would read the same again."""
    return (
        list(memory.plugins) == list(plugins)
        and all(host.commands.get(name) == path for name, path in memory.commands.items())
        and all(variables.get(name) == value for name, value in memory.variables.items())
    )


def _fresh(memory: _Memory) -> float:
    """Return for how many seconds the answers are fresh.

    Without any program of a scheduler on the PATH nothing changes until one appears there.
    """
    if _one_answers(memory.found) or not any(memory.commands.values()):
        return ANSWER_FRESH
    return SILENCE_FRESH


def _one_answers(found: Mapping[str, Presence]) -> bool:
    return any(presence.answers for presence in found.values())


def in_time(shell: Shell) -> Shell:
    """Return a shell with 10 s for all commands; it runs an equal command once."""
    ends = time.monotonic() + _ASKING
    known: dict[tuple[tuple[str, ...], str], Finished | SchedulerError] = {}

    def run(*argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        asked = (argv, stdin)
        if asked not in known:
            left = ends - time.monotonic()
            if left < 1:
                raise SchedulerError(f"`{argv[0]}` was not run: 10 s were used up", transient=True)
            try:
                known[asked] = shell(*argv, stdin=stdin, timeout=min(timeout, left))
            except SchedulerError as error:
                known[asked] = error
        answer = known[asked]
        if isinstance(answer, SchedulerError):
            raise answer
        return answer

    return run


def _printable(presence: Presence) -> Presence:
    """Take control characters out of a scheduler's words."""
    from rps_core.text import plain

    def short(text: str) -> str:
        return plain(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")

    return replace(
        presence, seen=short(presence.seen), sign=short(presence.sign) if presence.sign else None
    )


def _names(job: JobOrigin) -> JobOrigin:
    """Return the names of a job's origin alone, if they can be names: they are a user's variables."""
    host, cluster = job.submit_host, job.cluster_name
    return JobOrigin(
        submit_host=host if host and re.fullmatch(_HOST_NAME, host) else None,
        cluster_name=cluster if cluster and re.fullmatch(_CLUSTER_NAME, cluster) else None,
        commands=tuple(job.commands),
    )


def _file(host: Host) -> Path:
    """Return the host's file: many hosts share a home directory."""
    return paths.cache_dir() / f"schedulers-{re.sub(r'[^A-Za-z0-9_-]', '-', host.fqdn)}.json"


def _read(host: Host) -> _Memory:
    """Read the file; nothing if it is missing or malformed."""
    try:
        found = cache.read_object(_file(host))
        return _Memory(
            float(found["asked"]),
            list(found["plugins"]),
            dict(found["commands"]),
            dict(found["variables"]),
            {str(name): _presence(**fields) for name, fields in found["found"].items()},
            {str(name): float(when) for name, when in found["answered"].items()},
            {str(name): _names(JobOrigin(**fields)) for name, fields in found["jobs"].items()},
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return _Memory()


def _presence(*, answers: object, seen: object, sign: object) -> Presence:
    return Presence(
        answers=answers is True, seen=str(seen), sign=None if sign is None else str(sign)
    )


def _write(host: Host, memory: _Memory) -> None:
    cache.replace(_file(host), json.dumps(asdict(memory)))
