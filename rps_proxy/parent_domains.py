"""The domains above the service's, for which its sessions can set cookies.

Browsers refuse cookies for a public suffix (RFC 6265, 5.3): `org`, `co.uk`, and what else is on the Public
Suffix List. Debian's package `publicsuffix` has a copy of it; without one, the last label is taken for a
suffix, so that a domain right below `co.uk` is warned of for nothing.
"""

from __future__ import annotations

from pathlib import Path

LIST = Path("/usr/share/publicsuffix/public_suffix_list.dat")


def shared_parents(domain: str, suffixes: Path = LIST) -> list[str]:
    """Return the domains above for which sessions can set cookies, nearest first."""
    labels = domain.split(".")
    length = _suffix_length(labels, _rules(suffixes))
    return [".".join(labels[start:]) for start in range(1, len(labels) - length)]


def warning(domain: str) -> str | None:
    """Return the operator's warning of the domains above; None: there are none."""
    parents = shared_parents(domain)
    if not parents:
        return None
    return (
        f"scripts of sessions can set cookies for {' and '.join(parents)} too, which is above "
        f"{domain}: give the service a registrable domain of its own (docs/operators.md, Before)"
    )


def _rules(file: Path) -> set[str]:
    try:
        text = file.read_text("utf-8")
    except OSError:
        return set()
    lines = (line.split(maxsplit=1) for line in text.splitlines())
    return {words[0] for words in lines if words and not words[0].startswith("//")}


def _suffix_length(labels: list[str], rules: set[str]) -> int:
    """Count the labels of the public suffix: github.com/publicsuffix/list/wiki/Format."""
    for start in range(len(labels)):
        name, above = ".".join(labels[start:]), ".".join(labels[start + 1 :])
        if f"!{name}" in rules:
            return len(labels) - start - 1
        if name in rules or f"*.{above}" in rules:
            return len(labels) - start
    return 1
