"""`rps cluster` and `rps config`: what rps found, and why."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any

import click

from rps_core import config, settings, yaml_text
from rps_core.cluster import Here
from rps_core.errors import DetectionError
from rps_core.plugins import Detection, Plugins, this_host


def print_cluster(wanted: str | None, *, as_json: bool) -> None:
    """The cluster, the evidence, every claim, and each broken plugin with its reason.

    Raises:
        DetectionError: after printing, where no one cluster was found.
    """
    plugins = Plugins.load()
    plugins.load_schedulers()
    host = this_host()
    detection: Detection | None = None
    failure: DetectionError | None = None
    try:
        detection = plugins.detect(host, wanted or os.environ.get("RPS_CLUSTER"))
    except DetectionError as error:
        failure = error
    served = plugins.clusters()
    if as_json:
        click.echo(json.dumps(_as_json(plugins, detection), indent=1))
    else:
        if detection:
            cluster = detection.cluster
            click.echo(f"cluster:   {cluster.name}")
            click.echo(f"scheduler: {cluster.scheduler}")
            click.echo(f"site:      {cluster.site}")
            for reason in detection.reasons:
                click.echo(f"because:   {reason}")
            for claim in detection.claims:
                if claim.cluster != cluster:
                    kind = claim.unusable or (
                        "would serve if nobody else did" if claim.fallback else "claims it too"
                    )
                    click.echo(
                        f"also:      {claim.cluster.name} {kind}: {', '.join(claim.reasons)}"
                    )
        click.echo(f"host:      {host.hostname}")
        click.echo(f"known:     {', '.join(sorted(found.name for found in served))}")
        for broken in plugins.broken:
            click.echo(f"broken:    {broken.plugin} ({broken.origin}): {broken.reason}")
    if failure:
        raise failure


def print_config(here: Here, *, origins: bool, check: bool, as_json: bool) -> None:
    """The values in force, with `origins` the layer, file and line of each; or only the check."""
    values = asdict(here.loaded.settings)
    sections = settings.check_other_sites()
    if check:
        known = {cluster.name for cluster in Plugins.load().clusters()}
        for name in sorted(sections - known):
            click.echo(f"Note: no plugin here serves the cluster `{name}` of `sites`.", err=True)
        click.echo("The configuration is valid.", err=True)
    elif origins:
        flat = {
            key: (config.value(values, key), origin) for key, origin in here.loaded.origins.items()
        }
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


def _as_json(plugins: Plugins, detection: Detection | None) -> dict[str, Any]:
    return {
        "cluster": asdict(detection.cluster) if detection else None,
        "reasons": list(detection.reasons) if detection else [],
        "claims": [asdict(claim) for claim in detection.claims] if detection else [],
        "broken": [asdict(broken) for broken in plugins.broken],
    }
