"""`rps env`: the environment that a session gets, and those that rps builds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rps_core.cli.commands import made
from rps_core.cli.options import as_json, common, completed, flags, refuse_before_subcommand
from rps_core.help import Group

if TYPE_CHECKING:
    from rps_core.sessions.application import Application


@click.group(cls=Group, invoke_without_command=True)
@click.option("-d", "--directory", metavar="DIR",
              help="Directory whose project counts, as of `rps start` (default: the working directory).",
              shell_complete=completed("dir"))  # fmt: skip
@as_json
@common
def env(app: Application, *, directory: str | None, as_json: bool) -> None:
    """Show the environment that a session gets here, and the others.

    Each is shown with the reason, and with the option that takes it.
    """
    context = click.get_current_context()
    if context.invoked_subcommand is not None:
        refuse_before_subcommand(context)
        return
    import json
    import os

    from rps_core.config.settings import Overrides
    from rps_core.display.environment import Row, print_survey
    from rps_core.environment.made import place
    from rps_core.launch import notebook, survey
    from rps_core.launch.environment import Chooser

    options = {} if directory is None else {"notebook.directory": directory}
    given = Overrides(options=options, flags=flags(options), assignments=app.assignments)
    here = app.find(given)
    top = notebook.directory(here.loaded)
    chooser = Chooser(here.loaded, here.loaded.settings.notebook.app, top, os.environ)
    seen = survey.seen(chooser)
    cache = place.directory(
        here.loaded.settings.notebook.cache, here.loaded.where("notebook.cache")
    )
    others = list(survey.others(seen, cache))
    first = next((one for one in seen if one.chosen), None)
    chosen = first.choice if first else None
    error = first.error if first else chooser.nothing()
    if as_json:
        found = {
            "environment": chosen and chosen.environment.as_json(),
            "served_by": chosen and (chosen.served_by or None),
            "kernel": chosen and chosen.kernel and chosen.kernel.display_name,
            "places": [one.as_json() for one in seen],
            "others": [{**one.as_json(), "option": survey.option(one)} for one in others],
            "notes": chooser.notes,
        }
        click.echo(json.dumps(found, indent=1))
    else:
        fields = () if chosen is None else survey.fields(chosen)
        rows = [Row(one.place, one.words, one.option, one.chosen) for one in seen]
        further = [
            Row(str(one.kind), one.described().removesuffix(", "), survey.option(one))
            for one in others
        ]
        print_survey(fields, rows, further, chooser.notes)
    if error is not None:
        raise error


env.add_section("Made to order", made.build, made.list_, made.remove)
