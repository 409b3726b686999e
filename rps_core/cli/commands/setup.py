"""The commands that check and write the setup: cluster, configuration, doctor."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from rps_core.cli.options import as_json, common, completed, in_a_job, refuse_beside
from rps_core.help import Command, Group

if TYPE_CHECKING:
    from rps_core.cluster import ClusterContext
    from rps_core.config.layers import Origin
    from rps_core.sessions.application import Application


@click.command(cls=Command)
@as_json
@common
def cluster(app: Application, *, as_json: bool) -> None:
    """Show the detected cluster, the evidence and broken plugins."""
    from rps_core.display import config as inspection

    inspection.print_cluster(app.cluster, as_json=as_json)


@click.command(cls=Command)
@click.option("--origins", is_flag=True, help="Add the layer, file and line of each value.")
@click.option(
    "--check",
    is_flag=True,
    help="Only validate, including the sections of other clusters.",
)
@click.option(
    "--explain",
    metavar="KEY",
    help="Only explain KEY, such as job.walltime or job (default: none).",
)
@click.option(
    "--profile", metavar="NAME", help="Add the settings of a profile (default: none).",
    shell_complete=completed("profile"),
)  # fmt: skip
@as_json
@common
def config(
    app: Application, *, origins: bool, check: bool, explain: str | None, profile: str | None, as_json: bool
) -> None:  # fmt: skip
    """Show the effective configuration on this cluster."""
    from rps_core.config.settings import Overrides
    from rps_core.display import config as inspection

    if check:
        refuse_beside("--check", {
            "--explain": explain, "--profile": profile, "--origins": origins, "--json": as_json,
        })  # fmt: skip
        inspection.check_config(app.cluster, app.assignments)
        return
    here = app.find(Overrides(assignments=app.assignments, profile=profile))
    if explain is not None:
        inspection.print_explanation(here, explain, as_json=as_json)
        return
    inspection.print_config(
        here, _changed(here) if origins else {}, origins=origins, as_json=as_json
    )


def _changed(here: ClusterContext) -> dict[str, tuple[object, Origin]]:
    """Return the values that the site's policy changes; print a refusal on stderr."""
    from rps_core.config.layers import Origin
    from rps_core.errors import RequestRefusedError
    from rps_core.launch import plan, policy

    requested = plan.requested(here.loaded)
    try:
        _, changes = policy.checked(here, requested, here.loaded.settings.notebook.app)
    except RequestRefusedError as error:
        click.echo(f"`rps start` would be refused: {error}", err=True)
        return {}
    return {
        change.key: (change.value, Origin(f"policy of {change.plugin}", change.reason))
        for change in changes
    }


@click.command(cls=Command)
@click.option("-y", "--yes", is_flag=True, help="Accept every default without asking.")
@common
def init(app: Application, *, yes: bool) -> None:
    """Ask a few questions and write your configuration.

    Existing settings in the file are kept. Without a terminal, print the questions and the file instead.
    """
    from rps_core.setup import wizard as first

    here = app.find(inside=in_a_job())
    if here.note:
        click.echo(here.note, err=True)
    first.run(here, yes=yes)


@click.command(cls=Command)
@click.option("--fix", is_flag=True, help="Fix what is safe to fix and report each change.")
@as_json
@common
def doctor(app: Application, *, fix: bool, as_json: bool) -> None:
    """Check everything that a session needs.

    Each problem is printed with its fix. The exit code is 9 if a check fails.
    """
    from rps_core.doctor import page
    from rps_core.doctor.checkup import Checkup

    wanted = app.cluster or os.environ.get("RPS_CLUSTER")
    case = Checkup(wanted, app.assignments, app.store, fix=fix, inside=in_a_job())
    page.print_page(case, as_json=as_json)


@click.command(cls=Command)
@click.argument("name")
@click.option(
    "--scheduler", type=click.Choice(("slurm", "torque", "pbs", "own")), default="slurm", metavar="NAME",
    help="Scheduler of the cluster: slurm, torque, pbs, or own for any other, with a plugin for it "
         "(default: slurm).",
)  # fmt: skip
@click.option("--yaml", "as_file", is_flag=True,
              help="Write a site file, ./NAME.yaml, which needs no Python.")  # fmt: skip
def new(name: str, scheduler: str, *, as_file: bool) -> None:
    """Write a project for the cluster NAME to ./rps-site-NAME.

    The project is a complete plugin with tests. Its README lists what to edit.
    """
    from pathlib import Path

    from rps_core.setup.new_site import new_site, new_site_file

    if as_file:
        click.echo(new_site_file(name, scheduler, Path.cwd()))
        click.echo(
            "Next: edit the file, then move it to /etc/rps/sites or ~/.config/rps/sites; see docs/sites.md.",
            err=True,
        )
        return
    project = new_site(name, scheduler, Path.cwd())
    click.echo(project)
    from rps_core.installation import plugin_advice

    click.echo(
        f"Next: edit the files, then `{plugin_advice(project.name)}`; see its README.md.", err=True
    )


@click.group(cls=Group)
def site() -> None:
    """Write a plugin for a cluster."""


site.add_section("Set up", new)
