"""The commands about what there is here: the cluster, the configuration, and whether all is well."""

from __future__ import annotations

import os
from typing import Any

import click

from rps_core.options import as_json, common, configure_log, find, in_a_job, store


@click.command(short_help="Show which cluster this is, and why.")
@as_json
@common
def cluster(*, as_json: bool, **options: Any) -> None:
    """Show which cluster this is, on what evidence, and which plugins are broken."""
    from rps_core import inspection

    configure_log(options)
    inspection.print_cluster(options["cluster"], as_json=as_json)


@click.command()
@click.option("--origins", is_flag=True, help="Also the layer, file and line of each value.")
@click.option("--check", is_flag=True, help="Only validate, the sections of other clusters too.")
@as_json
@common
def config(*, origins: bool, check: bool, as_json: bool, **options: Any) -> None:
    """Show the configuration as it is in force here."""
    from rps_core import inspection

    here, _ = find(options)
    inspection.print_config(here, origins=origins, check=check, as_json=as_json)


@click.command()
@click.option("-y", "--yes", is_flag=True, help="Ask nothing, take every default.")
@common
def init(*, yes: bool, **options: Any) -> None:
    """Ask a few questions, and write your configuration.

    What is in the file stays. Where there is no terminal to ask on, print what would be asked and written.
    """
    from rps_core import init as first
    from rps_core import shell

    here, _ = find(options)
    first.run(here, shell.run, yes=yes)


@click.command(short_help="Check all that a session needs.")
@click.option("--fix", is_flag=True, help="Mend what is safe to mend, and say what was done.")
@as_json
@common
def doctor(*, fix: bool, as_json: bool, **options: Any) -> None:
    """Check all that a session needs, and say what to do about what fails."""
    from rps_core import shell
    from rps_core.doctor import page
    from rps_core.doctor.case import Case

    wanted = options["cluster"] or os.environ.get("RPS_CLUSTER")
    case = Case(
        wanted, options["assignments"], shell.run, store(options), fix=fix, inside=in_a_job()
    )
    page.print_page(case, as_json=as_json)


COMMANDS = (init, cluster, config, doctor)
