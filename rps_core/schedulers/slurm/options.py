"""Parse the options of sbatch as sbatch does: with getopt_long(3).

A long name may be abbreviated as far as it stays unambiguous; short options without an argument can share a
word with the next; an argument can be the next word. The tables are those of sbatch 22.05 to 25.11
(`common_options` in src/common/slurm_opt.c). A site's SPANK plugins can add long options.
"""

from __future__ import annotations

from collections.abc import Sequence

from rps_core.plugin import dataclass

_VERSIONS = ("22.05", "23.02", "23.11", "24.05", "24.11", "25.05", "25.11")
_TAKE_ONE = """
    account acctg-freq array autocomplete batch bb bbf begin chdir cluster cluster-constraint clusters
    comment constraint container container-id context core-spec cores-per-socket cpu-freq cpus-per-gpu
    cpus-per-task deadline delay-boot dependency distribution error exclude export export-file extra
    extra-node-info gid gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task gres
    gres-flags hint input job-name kill-on-invalid-dep licenses mail-type mail-user mcs-label mem
    mem-bind mem-per-cpu mem-per-gpu mincpus network nodefile nodelist nodes ntasks ntasks-per-core
    ntasks-per-gpu ntasks-per-node ntasks-per-socket ntasks-per-tres open-mode output partition power
    prefer priority profile qos reservation resources segment signal sockets-per-node switches
    tasks-per-node thread-spec threads-per-core time time-min tmp tres-bind tres-per-task uid
    wait-all-nodes wckey wrap
"""
# These take no argument, or an optional one, which is never the next word.
_TAKE_NONE = """
    consolidate-segments contiguous exclusive external get-user-env help hold ignore-pbs nice no-kill
    no-requeue oom-kill-step overcommit oversubscribe parsable propagate quiet reboot requeue resv-ports
    spread-job spread-segments stepmgr test-only usage use-min-nodes verbose version wait
"""
_WITH_ARGUMENT = frozenset(_TAKE_ONE.split())
_LONG = _WITH_ARGUMENT.union(_TAKE_NONE.split())
# The versions that have an option, if not all do.
_ONLY_IN = {
    "autocomplete": _VERSIONS[1:],
    "consolidate-segments": _VERSIONS[6:],
    "container-id": _VERSIONS[1:],
    "export-file": ("22.05", "23.02", *_VERSIONS[3:]),
    "external": _VERSIONS[5:],
    "extra": _VERSIONS[1:],
    "oom-kill-step": _VERSIONS[4:],
    "power": _VERSIONS[:3],
    "resources": _VERSIONS[6:],
    "resv-ports": _VERSIONS[3:],
    "segment": _VERSIONS[3:],
    "spread-segments": _VERSIONS[6:],
    "stepmgr": _VERSIONS[3:],
    "tres-bind": _VERSIONS[2:],
    "tres-per-task": _VERSIONS[1:],
}
_SHORT = {
    "A": "account", "B": "extra-node-info", "C": "constraint", "D": "chdir", "F": "nodefile", "G": "gpus",
    "H": "hold", "J": "job-name", "L": "licenses", "M": "clusters", "N": "nodes", "O": "overcommit",
    "Q": "quiet", "S": "core-spec", "V": "version", "W": "wait", "a": "array", "b": "begin",
    "c": "cpus-per-task", "d": "dependency", "e": "error", "h": "help", "i": "input", "k": "no-kill",
    "m": "distribution", "n": "ntasks", "o": "output", "p": "partition", "q": "qos", "s": "oversubscribe",
    "t": "time", "v": "verbose", "w": "nodelist", "x": "exclude",
}  # fmt: skip
_OPTIONAL = "k"  # a short option whose argument, if there is one, is the rest of the word


@dataclass(frozen=True, slots=True)
class Option:
    """An option in a list of arguments.

    Attributes:
        names: its full long name; several, if versions of sbatch read the abbreviation differently; none, if
            no version knows it, or all find it ambiguous.
        value: its argument; None: it has none.
        words: the indices of its words in the list.
        is_cut: it needs an argument, and the list ends before.
    """

    names: tuple[str, ...]
    value: str | None
    words: range
    is_cut: bool = False


def parse(arguments: Sequence[str]) -> list[Option]:
    """Return the options, in their order, up to the first word that is none."""
    found: list[Option] = []
    position = 0
    while position < len(arguments):
        word = arguments[position]
        if not word.startswith("-") or word in ("-", "--"):
            break
        following = arguments[position + 1] if position + 1 < len(arguments) else None
        options = (
            _long(word, following, position)
            if word[1] == "-"
            else _short(word, following, position)
        )
        found += options
        position = max((option.words.stop for option in options), default=position + 1)
    return found


def full_names(given: str) -> tuple[str, ...]:
    """Return the options that an abbreviated long name means, in one version of sbatch or another."""
    if given in _LONG:
        return (given,)
    candidates = [name for name in sorted(_LONG) if given and name.startswith(given)]
    found = []
    for version in _VERSIONS:
        there = [name for name in candidates if version in _ONLY_IN.get(name, _VERSIONS)]
        found += there if len(there) == 1 else []
    return tuple(dict.fromkeys(found))


def _long(word: str, following: str | None, position: int) -> list[Option]:
    given, equals, value = word[2:].partition("=")
    names = full_names(given)
    if equals:
        return [Option(names, value, range(position, position + 1))]
    if _WITH_ARGUMENT.isdisjoint(names):
        # An option that rps does not know may have an argument.
        is_known = bool(names) or following is None or following.startswith("-")
        return [Option(names, None, range(position, position + (1 if is_known else 2)))]
    return [_with_next(names, following, position)]


def _short(word: str, following: str | None, position: int) -> list[Option]:
    found = []
    for index, letter in enumerate(word[1:], 2):
        name, rest = _SHORT.get(letter, ""), word[index:]
        names = (name,) if name else ()
        if letter in _OPTIONAL or (name in _WITH_ARGUMENT and rest):
            found.append(Option(names, rest or None, range(position, position + 1)))
            break
        if name in _WITH_ARGUMENT:
            found.append(_with_next(names, following, position))
            break
        found.append(Option(names, None, range(position, position + 1)))
    return found


def _with_next(names: tuple[str, ...], following: str | None, position: int) -> Option:
    """Return an option whose argument is the next word, also if that looks like an option."""
    if following is None:
        return Option(names, None, range(position, position + 1), is_cut=True)
    return Option(names, following, range(position, position + 2))
