"""`rps env build`, `rps env list`, `rps env remove`: environments that are made to order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rps_core.cli.options import as_json, common, completed
from rps_core.errors import NotFoundError, UsageError
from rps_core.help import Command

if TYPE_CHECKING:
    from rps_core.sessions.application import Application


@click.command(cls=Command)
@click.argument("file", required=False, shell_complete=completed("file"))
@click.option("--with", "packages", metavar="NAME", multiple=True,
              help="Package to install; repeatable, or separated by commas (default: none).")  # fmt: skip
@click.option("--again", is_flag=True,
              help="Build it also if it is there, with the newest versions that FILE allows.")  # fmt: skip
@as_json
@common
def build(
    app: Application, *, file: str | None, packages: tuple[str, ...], again: bool, as_json: bool
) -> None:
    """Build an environment on this host, for sessions to come.

    FILE is an environment.yml, requirements.txt, pyproject.toml, uv.lock or pixi.lock, or a directory with
    one of them (default: `notebook.env` and `notebook.packages` of the configuration). The environment's
    directory is printed. `rps start --env FILE` uses the same, and builds it if it is not there.
    """
    import json

    from rps_core.config.settings import Overrides
    from rps_core.display.building import Building
    from rps_core.launch import made

    options: dict[str, object] = {"notebook.env": file, "notebook.packages": list(packages)}
    given = {key: value for key, value in options.items() if value}
    here = app.find(Overrides(options=given, assignments=app.assignments))
    notebook = here.loaded.settings.notebook
    keys = [key.removeprefix("notebook.") for key in given]
    keys = keys or [key for key in ("env", "packages") if getattr(notebook, key)]
    if not keys:
        raise UsageError(
            "Nothing to build: there is no file and no package",
            "Use rps env build FILE, or --with.",
        )
    order = made.order(
        here.loaded, keys, "FILE" if file else "--with" if packages else "notebook.env"
    )
    with Building(order.recipe.label, quiet=as_json) as building:
        entry, gone = made.build(order, here.loaded, app.store, building.say, again=again)
        for each in gone:
            building.removed(each.label, each.reason)
    click.echo(json.dumps(_as_json(entry)) if as_json else entry["prefix"])


@click.command("list", cls=Command)
@as_json
@common
def list_(app: Application, *, as_json: bool) -> None:
    """List the environments that rps has built, the last used first."""
    import json

    from rps_core.display import environments
    from rps_core.launch import made

    cache = made.cache_of(app.find().loaded)
    found = made.listed(cache, app.store)
    if as_json:
        click.echo(json.dumps([_as_json(entry) for entry in found], indent=1))
    elif not found:
        click.echo(f"No environments in {cache.root}. `rps start --env FILE` builds one.", err=True)
    else:
        environments.print_table(found)


@click.command(cls=Command)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True,
              help="Remove all environments that no session uses (default: only NAME).")  # fmt: skip
@as_json
@common
def remove(app: Application, *, names: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Remove environments that rps has built.

    NAME is the name in `rps env list`, or a unique prefix of it. An environment that a session uses is not
    removed.
    """
    import json

    from rps_core.launch import made
    from rps_core.text import plain

    if not names and not everything:
        raise UsageError("No environment is named", "Give a NAME of `rps env list`, or --all.")
    if names and everything:
        raise UsageError("NAME and --all cannot be combined", "Give only one of them.")
    cache = made.cache_of(app.find().loaded)
    found = made.listed(cache, app.store)
    wanted = [entry for entry in found if not entry["in_use"]] if everything else []
    for name in dict.fromkeys(names):
        matching = [entry for entry in found if entry["name"].startswith(name.lower())]
        if len(matching) != 1:
            many = f"{len(matching)} environments begin with {name}"
            raise NotFoundError(
                many if matching else f"No environment is called {name}",
                "`rps env list` lists them.",
            )
        if matching[0]["in_use"]:
            raise UsageError(
                f"A session uses the environment {plain(matching[0]['label'])}",
                "End the session first: `rps list`, `rps stop`.",
            )
        wanted += [one for one in matching if one not in wanted]
    for entry in wanted:
        cache.remove(entry["name"])
        if not as_json:
            click.echo(f"{entry['name']}: removed ({plain(entry['label'])})", err=True)
    if as_json:
        click.echo(json.dumps([entry["name"] for entry in wanted]))
    elif not wanted:
        click.echo("No environments to remove.", err=True)


def _as_json(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the documented fields (docs/environments.md)."""
    keys = (
        "name",
        "label",
        "file",
        "packages",
        "kind",
        "made_by",
        "python",
        "size",
        "made",
        "used",
        "in_use",
    )
    return {key: entry.get(key) for key in keys} | {"prefix": entry["prefix"]}
