"""Checks of this host: cluster detection, plugins and configuration."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from rps_core import cluster
from rps_core.config.check import check_own_files
from rps_core.config.mistakes import Mistakes
from rps_core.config.settings import Overrides
from rps_core.doctor.checkup import Checkup, Finding, NotChecked, failed, passed, warned
from rps_core.errors import DetectionError, UsageError
from rps_core.hooks.manager import Plugins, this_host
from rps_core.system import paths


def detection(case: Checkup) -> Iterator[Finding]:
    """Detect the cluster and report the evidence."""
    case.plugins = Plugins.load()
    try:
        case.detection = case.plugins.detect(this_host(), case.wanted, inside=case.inside)
        case.site = case.plugins.site(case.detection.cluster)
        case.variables = case.site.command_variables()
    except DetectionError as error:
        yield failed(error.message, error.hint)
        return
    found = case.detection
    why = "; ".join(found.reasons)
    if any(claim.unusable for claim in found.claims if claim.cluster == found.cluster):
        why += "; this shell is in an allocation: use `rps start --here`"
    yield passed(f"{found.cluster.name}, scheduler {found.cluster.scheduler}: {why}")


def plugins(case: Checkup) -> Iterator[Finding]:
    """Check for broken plugins, and for sites that recognize no host."""
    if case.plugins is None:
        raise NotChecked("the plugins could not be loaded")
    case.plugins.load_schedulers()
    yield from broken_plugins(case)
    if case.detection and case.detection.doubt:
        yield warned(
            case.detection.doubt, "Repair the plugin, or name the cluster: --cluster NAME."
        )
    for name in case.plugins.undetected():
        yield warned(
            f"{name} implements no rps_detect_cluster",
            "Select its clusters with --cluster or RPS_CLUSTER.",
        )
    blocked = os.environ.get("RPS_BLOCK")
    note = f"; disabled by RPS_BLOCK: {blocked}" if blocked else ""
    served = ", ".join(sorted(found.name for found in case.plugins.clusters()))
    yield passed(f"{len(case.plugins.names())} loaded, for {served}{note}")


def broken_plugins(case: Checkup) -> Iterator[Finding]:
    """Report plugins' mistakes that were found since the last check."""
    found = case.plugins.broken if case.plugins else []
    for broken in found[case.broken_shown :]:
        yield warned(
            f"{broken.plugin} ({broken.origin}) is broken: {broken.mistake}",
            f"Report it to its authors, upgrade it, or leave it out: RPS_BLOCK={broken.plugin}.",
        )
    case.broken_shown = len(found)


def configuration(case: Checkup) -> Iterator[Finding]:
    """Check the configuration files' permissions, then validate all layers."""
    read = []
    # `configuration` below refuses a user's file that other users can write.
    for path in (paths.system_config_file(), paths.config_file()):
        if path.exists():
            read.append(str(path))
    if paths.system_config_file().exists():
        yield from _who_may_write(paths.system_config_file(), {0})
    site = case.the_site()
    try:
        case.loaded = cluster.configuration(site, Overrides(assignments=case.assignments))
    except UsageError as error:
        yield failed(error.message, error.hint)
        return
    mistakes = Mistakes()
    sections = check_own_files(mistakes)
    try:
        mistakes.check()
    except UsageError as error:
        yield warned(error.message, error.hint or "This affects only the cluster of that section.")
        sections = set()
    known = {found.name for found in case.plugins.clusters()} if case.plugins else sections
    for name in sorted(sections - known):
        yield warned(
            f"`sites` configures the cluster `{name}`, which no plugin serves",
            "`rps cluster` lists the known clusters.",
        )
    origins = [origin.layer for origin in case.loaded.origins.values()]
    own = sum(layer.split(",")[0] not in ("defaults", "scheduler", "site") for layer in origins)
    files = ", ".join(read) or "no configuration file"
    yield passed(f"valid: {files}; {own} of {len(origins)} values set there or by RPS_* variables")


def _who_may_write(path: Path, owners: set[int]) -> Iterator[Finding]:
    """Check who can write a configuration file, which can name a program for jobs."""
    for place in (path, path.parent):
        seen = place.stat()
        if seen.st_uid not in owners:
            yield failed(
                f"{place} belongs to user {seen.st_uid}, who can make your jobs run any program",
                "It must belong to you or root: move it away, or change its owner.",
            )
        elif stat.S_IMODE(seen.st_mode) & stat.S_IWOTH:
            yield failed(
                f"every user can write {place} (mode {stat.S_IMODE(seen.st_mode):04o}) and make your "
                "jobs run any program",
                f"Run `chmod go-w {place}`.",
            )
        elif stat.S_IMODE(seen.st_mode) & stat.S_IWGRP:
            yield warned(
                f"group {seen.st_gid} can write {place} and make your jobs run any program",
                f"Unless you are its only member: `chmod g-w {place}`.",
            )
