"""Which cluster this is, which plugins there are, and how all is configured."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from rps_core import cluster, paths, settings
from rps_core.doctor.case import Case, Finding, NotChecked, failed, passed, warned
from rps_core.errors import DetectionError, UsageError
from rps_core.plugins import Plugins, this_host
from rps_core.settings import Given


def detection(case: Case) -> Iterator[Finding]:
    """The cluster, and the evidence."""
    case.plugins = Plugins.load()
    try:
        case.detection = case.plugins.detect(this_host(), case.wanted, inside=case.inside)
        case.site = case.plugins.site(case.detection.cluster)
    except DetectionError as error:
        yield failed(error.message, error.hint)
        return
    found = case.detection
    why = "; ".join(found.reasons)
    if any(claim.unusable for claim in found.claims if claim.cluster == found.cluster):
        why += "; in this allocation's shell `rps start --here` starts a session"
    yield passed(f"{found.cluster.name}, with the scheduler {found.cluster.scheduler}: {why}")


def plugins(case: Case) -> Iterator[Finding]:
    """Those that are broken, and sites that no host is recognised by."""
    if case.plugins is None:
        raise NotChecked("the plugins could not be looked for")
    case.plugins.load_schedulers()
    for broken in case.plugins.broken:
        yield warned(
            f"{broken.plugin} ({broken.origin}) is broken: {broken.reason}",
            f"Install it again, or leave it out: RPS_BLOCK={broken.plugin}. If this is its cluster, "
            "it could not say so.",
        )
    for name in case.plugins.undetected():
        yield warned(
            f"{name} implements no rps_detect_cluster",
            "Its clusters are taken only by name, with --cluster or RPS_CLUSTER.",
        )
    blocked = os.environ.get("RPS_BLOCK")
    note = f"; left out by RPS_BLOCK: {blocked}" if blocked else ""
    served = ", ".join(sorted(found.name for found in case.plugins.clusters()))
    yield passed(f"{len(case.plugins.names())} are sound, for {served}{note}")


def configuration(case: Case) -> Iterator[Finding]:
    """Which files there are and who may write them; then all layers, as a start reads them."""
    read = []
    for path, owners in (
        (paths.system_config_file(), {0}),
        (paths.config_file(), {0, os.geteuid()}),
    ):
        if path.exists():
            read.append(str(path))
            yield from _who_may_write(path, owners)
    site = case.the_site()
    try:
        case.loaded = cluster.configuration(site, Given(assignments=case.assignments))
    except UsageError as error:
        yield failed(error.message, error.hint)
        return
    try:
        sections = settings.check_other_sites()
    except UsageError as error:
        yield warned(error.message, error.hint or "It matters on the cluster of that section.")
        sections = set()
    known = {found.name for found in case.plugins.clusters()} if case.plugins else sections
    for name in sorted(sections - known):
        yield warned(
            f"no plugin here serves the cluster `{name}` of `sites`",
            "`rps cluster` lists the clusters that are known.",
        )
    origins = [origin.layer for origin in case.loaded.origins.values()]
    own = sum(layer.split(",")[0] not in ("defaults", "scheduler", "site") for layer in origins)
    files = ", ".join(read) or "no file of one's own or the administrator's"
    yield passed(f"valid: {files}; {own} of {len(origins)} values are from there or from RPS_*")


def _who_may_write(path: Path, owners: set[int]) -> Iterator[Finding]:
    """A configuration names a prologue, which the user's jobs run."""
    for place in (path, path.parent):
        seen = place.stat()
        if seen.st_uid not in owners:
            yield failed(
                f"{place} belongs to user {seen.st_uid}, who can have your jobs run anything",
                "It must be yours, or root's: move it away, or have its owner changed.",
            )
        elif stat.S_IMODE(seen.st_mode) & stat.S_IWOTH:
            yield failed(
                f"everybody can write {place} (mode {stat.S_IMODE(seen.st_mode):04o}), and so have "
                "your jobs run anything",
                f"chmod go-w {place}",
            )
        elif stat.S_IMODE(seen.st_mode) & stat.S_IWGRP:
            yield warned(
                f"the group {seen.st_gid} can write {place}, and so have your jobs run anything",
                f"If it is not a group of your own: chmod g-w {place}",
            )
