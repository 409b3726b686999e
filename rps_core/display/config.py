"""`rps cluster` and `rps config`: what rps found, and why."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from rps_core.cluster import ClusterContext
from rps_core.config import layers as config
from rps_core.config import yaml_text
from rps_core.config.check import check_everything
from rps_core.config.explain import explain
from rps_core.config.layers import Origin
from rps_core.config.settings import Overrides, packaged_texts
from rps_core.display.prose import echo
from rps_core.errors import DetectionError
from rps_core.hooks.manager import Detection, Plugins, this_host
from rps_core.system.terminal import columns_of
from rps_core.text import plain

_WIDTH = 11  # columns, of the names of the fields
_EXPLAINED = 10  # the same, of a key's
_LONGEST_LINE = 80  # columns, of an explanation


def print_cluster(wanted: str | None, *, as_json: bool) -> None:
    """Print the cluster, the evidence, all claims, and broken plugins with the reason.

    Raises:
        DetectionError: after printing: no cluster was found, or more than one.
    """
    plugins = Plugins.load()
    plugins.load_schedulers()
    host = this_host()
    detection: Detection | None = None
    failure: DetectionError | None = None
    try:
        inside = plugins.in_a_job(os.environ)  # for `rps start --here`
        detection = plugins.detect(host, wanted or os.environ.get("RPS_CLUSTER"), inside=inside)
    except DetectionError as error:
        failure = error
    served = plugins.clusters()
    if as_json:
        click.echo(json.dumps(_as_json(plugins, detection), indent=1))
    else:
        if detection:
            cluster = detection.cluster
            _print(f"cluster:   {cluster.name}")
            _print(f"scheduler: {cluster.scheduler}")
            _print(f"site:      {cluster.site}")
            for reason in detection.reasons:
                _print(f"because:   {reason}")
            for claim in detection.claims:
                if claim.cluster != cluster:
                    kind = claim.unusable or (
                        "would serve if no other site did" if claim.fallback else "claims it too"
                    )
                    _print(f"also:      {claim.cluster.name} {kind}: {', '.join(claim.reasons)}")
        _print(f"host:      {host.hostname}")
        _print(f"known:     {', '.join(sorted(found.name for found in served))}")
        for broken in plugins.broken:
            _print(f"broken:    {broken.plugin} ({broken.origin}): {broken.mistake}")
        if detection and detection.doubt:
            _print(f"perhaps:   {detection.doubt}")
    if failure:
        raise failure


def _print(line: str) -> None:
    echo(plain(line), indent=" " * _WIDTH)


def check_config(wanted: str | None, assignments: Sequence[str]) -> None:
    """Check every layer of the configuration, including other clusters' sections.

    Raises:
        DetectionError: the cluster of this host is not known.
        ConfigurationError: there are mistakes; names all of them.
    """
    plugins = Plugins.load()
    name = plugins.detect(
        this_host(), wanted or os.environ.get("RPS_CLUSTER"), inside=True
    ).cluster.name
    packaged = {}
    for cluster in plugins.clusters():
        try:
            site = plugins.site(cluster)
        except DetectionError as error:
            if cluster.name == name:
                raise
            click.echo(f"Note: {cluster.name} is not checked: {error.message}", err=True)
            continue
        packaged[cluster.name] = packaged_texts(site.scheduler_config(), site.site_config())
    given = Overrides(assignments=assignments)
    sections = check_everything(name, packaged, os.environ, given)
    for other in sorted(sections - packaged.keys()):
        click.echo(f"Note: no plugin here serves the cluster `{other}` of `sites`.", err=True)
    click.echo("The configuration is valid.", err=True)


def print_config(
    here: ClusterContext,
    changed: Mapping[str, tuple[object, Origin]],
    *,
    origins: bool,
    as_json: bool,
) -> None:
    """Print the values in force, with `origins` the layer, file and line of each.

    `changed` has the values that the site's policy changes (`rps_check_request`), by dotted key.
    """
    values = asdict(here.loaded.settings)
    if origins:
        flat = {
            key: (config.value(values, key), origin) for key, origin in here.loaded.origins.items()
        }
        flat.update(changed)
        if as_json:
            found = {
                key: {"value": value, "layer": origin.layer, "where": origin.where}
                for key, (value, origin) in flat.items()
            }
            click.echo(json.dumps(found, indent=1))
            return
        for key, (value, origin) in flat.items():
            click.echo(f"{key} = {json.dumps(value)}    [{origin.layer}] {origin.where}")
    elif as_json:
        click.echo(json.dumps(values, indent=1))
    else:
        click.echo(yaml_text.dump(json.loads(json.dumps(values))), nl=False)


def print_explanation(here: ClusterContext, key: str, *, as_json: bool) -> None:
    """Print a key's meaning, type, default and effective value with its layer.

    Raises:
        UsageError: there is no such key.
    """
    found = explain(key)
    values = asdict(here.loaded.settings)
    settings = {
        name: (config.value(values, name), here.loaded.origins.get(name))
        for name in found.keys or (key,)
    }
    if as_json:
        in_force = {
            name: {
                "value": value,
                "layer": origin and origin.layer,
                "where": origin and origin.where,
            }
            for name, (value, origin) in settings.items()
        }
        click.echo(json.dumps({**asdict(found), "in_force": in_force}, indent=1))
        return
    width = (columns_of(sys.stdout) or _LONGEST_LINE) - 1
    click.echo(click.wrap_text(found.meaning, width=min(_LONGEST_LINE, width)))
    echo(f"\ntype:     {found.kind}", indent=" " * _EXPLAINED)
    if not found.keys:
        echo(f"default:  {json.dumps(found.default)}", indent=" " * _EXPLAINED)
    for name, (value, origin) in settings.items():
        where = f"    [{origin.layer}] {origin.where}" if origin else ""
        echo(f"in force: {name} = {json.dumps(value)}{where}", indent=" " * _EXPLAINED)


def _as_json(plugins: Plugins, detection: Detection | None) -> dict[str, Any]:
    return {
        "cluster": asdict(detection.cluster) if detection else None,
        "reasons": list(detection.reasons) if detection else [],
        "doubt": (detection.doubt or None) if detection else None,
        "claims": [asdict(claim) for claim in detection.claims] if detection else [],
        "broken": [asdict(broken) for broken in plugins.broken],
    }
