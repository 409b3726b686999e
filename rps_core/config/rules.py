"""The rules for values of the launcher's configuration, beyond their types."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any

from rps_core.config import apps, contact
from rps_core.config.mistakes import Mistakes
from rps_core.config.origins import RULE, are_origins
from rps_core.config.schema import type_of, without_none
from rps_core.config.settings import LoadedSettings, Settings
from rps_core.errors import UsageError
from rps_core.units import parse_gpu_limit, parse_gpus, parse_memory, parse_walltime
from rps_core.values import dataclass

_DOMAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,250})")
_NODE_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:/_-]{0,63}")
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]{2,45}")
_RESOURCE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_TIMES = "minutes, HH:MM:SS or D-HH:MM:SS"
_MEMORY = "an amount of memory, such as 2G or 2048M"
_SIZE = "an amount of disk space, such as 20G"
_GPUS = "a number, a type or both: 2, a100 or {a100: 2}"
_MOST_GPUS = "a number, or one for each type: 4 or {a100: 4, v100: 2}"
_parse_time = partial(parse_walltime, what="duration")


@dataclass(frozen=True, slots=True)
class Rule:
    """What the value of `key` must be: `text` says it, `holds` checks it.

    `holds` returns a truth value, or raises a `UsageError` with a better text. It is not called for null, nor
    for an empty text where null is allowed.
    """

    key: str
    text: str
    holds: Callable[[Any], object]


def _parsed(key: str, text: str, parse: Callable[[str], object]) -> Rule:
    return Rule(key, text, lambda value: parse(value) is not None)


def _one_of(key: str, *values: str) -> Rule:
    return Rule(key, f"{', '.join(values[:-1])} or {values[-1]}", lambda value: value in values)


def _between(key: str, least: float, most: float, text: str) -> Rule:
    return Rule(key, text, lambda value: least <= value <= most)


def _at_least(key: str, least: int) -> Rule:
    return Rule(key, f"{least} or more", lambda value: value >= least)


def _is_port_range(ports: tuple[int, ...]) -> bool:
    return not ports or (len(ports) == 2 and 1024 <= ports[0] <= ports[1] <= 65535)


RULES = (
    _between("proxy.port", 1, 65535, "a port, 1 to 65535"),
    Rule("proxy.timeout", "0 to 600 seconds", lambda value: 0 < value <= 600),
    Rule("proxy.domain", "a host name's domain", _DOMAIN.fullmatch),
    Rule("proxy.node_address", "an interface, a network or an address", _NODE_ADDRESS.fullmatch),
    Rule("proxy.listen", "an IP address of this host", _ADDRESS.fullmatch),
    _one_of("proxy.protocol", "auto", "rps", "satellite"),
    *(Rule(f"support.{key}", text, holds) for key, text, holds in contact.RULES),
    _at_least("job.nodes", 1),
    _at_least("job.tasks", 1),
    _at_least("job.cpus", 1),
    Rule("job.gpus", _GPUS, parse_gpus),
    _parsed("job.memory", _MEMORY, parse_memory),
    _parsed("job.walltime", _TIMES, parse_walltime),
    Rule("notebook.app", apps.NAME, apps.is_name),
    Rule(
        "notebook.port_range",
        "[first, last], two ports from 1024 to 65535",
        _is_port_range,
    ),
    _between("notebook.start_timeout", 1, 86400, "1 second to a day"),
    _between("notebook.shutdown_before", 0, 3600, "0 to 3600 seconds"),
    _parsed("notebook.idle_timeout", _TIMES, _parse_time),
    _one_of("notebook.build_on", "login", "job"),
    _between("notebook.cache_days", 0.1, 3650, "0.1 to 3650 days"),
    _parsed("notebook.cache_size", _SIZE, parse_memory),
    Rule("notebook.origins", RULE, are_origins),
    _one_of("notebook.link", "once", "token"),
    _at_least("limits.personal_sessions", 1),
    _between("limits.personal_idle", 1, 86400, "1 second to a day"),
    _parsed("limits.walltime", _TIMES, parse_walltime),
    _parsed("limits.idle_timeout", _TIMES, _parse_time),
    _parsed("limits.share", _TIMES, _parse_time),
    _one_of("scheduler.gpu_directive", "gres", "gpus"),
    Rule("scheduler.gpu_type_resource", "the name of a PBS resource", _RESOURCE.fullmatch),
    _between("scheduler.warn_before", 0, 65535, "0 to 65535 seconds"),  # as sbatch takes it
    _between("scheduler.poll_interval", 0.5, 3600, "half a second to an hour"),
    Rule("node_domain", "a host name's domain", _DOMAIN.fullmatch),
    _between("keep_ended", 0, 3650, "0 to 3650 days"),
)
_OF_A_PARTITION = (
    _parsed("walltime", _TIMES, parse_walltime),
    _at_least("cpus", 0),
    _parsed("memory", _MEMORY, parse_memory),
    Rule("gpus", _MOST_GPUS, parse_gpu_limit),
)


def check_values(loaded: LoadedSettings, mistakes: Mistakes) -> None:
    """Check every value by its rule."""
    for rule in RULES:
        _check(rule, rule.key, attrgetter(rule.key)(loaded.settings), loaded, mistakes)
    for name, limits in loaded.settings.limits.partitions.items():
        for rule in _OF_A_PARTITION:
            value = getattr(limits, rule.key)
            _check(rule, f"limits.partitions.{name}.{rule.key}", value, loaded, mistakes)
    apps.check_table(loaded, mistakes)
    of_the_job = [rule for rule in RULES if rule.key.startswith("job.")]
    for name, defaults in loaded.settings.partitions.items():
        for rule in of_the_job:
            key = rule.key.removeprefix("job.")
            value = getattr(defaults, key)
            _check(rule, f"partitions.{name}.{key}", value, loaded, mistakes)


def _check(rule: Rule, key: str, value: Any, loaded: LoadedSettings, mistakes: Mistakes) -> None:
    if value is None or (value == "" and without_none(kind := type_of(Settings, key)) != kind):
        return
    try:
        if not rule.holds(value):
            shown = list(value) if isinstance(value, tuple) else value
            mistakes.add(f"{loaded.where(key)}: `{key}` is {shown}; it must be {rule.text}")
    except UsageError as error:
        mistakes.add(f"{loaded.where(key)}: `{key}`: {error.message}", error.hint)
