"""`rps completion`: click's scripts for shells, and the refresh of their values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click import shell_completion

from rps_core.cli import completion
from rps_core.hooks.manager import Plugins
from rps_core.setup import choices

if TYPE_CHECKING:
    from rps_core.sessions.application import Application

HOW_TO_INSTALL = """\
bash: add to ~/.bashrc
    eval "$(rps completion bash)"
zsh: add to ~/.zshrc, below compinit
    eval "$(rps completion zsh)"
fish: once
    rps completion fish > ~/.config/fish/completions/rps.fish"""

_VARIABLE = "_RPS_COMPLETE"  # click derives it from the command's name


def script(command: click.Command, shell: str) -> str:
    """Return the script that registers the completion of `rps`."""
    kind = shell_completion.get_completion_class(shell)
    if kind is None:  # the option accepts only shells that click supports
        raise LookupError(shell)
    completion.prepare()
    source = kind(command, {}, "rps", _VARIABLE)
    # `source()` would start bash to check for version 4.4, released in 2016.
    return source.source_template % source.source_vars()


def refresh(app: Application) -> None:
    """Cache the configuration's, plugins' and scheduler's values for completion.

    An empty cache gets the values of the first two at once: a scheduler may take a minute to fail.
    """
    here = app.here
    wanted = completion.cluster_wanted(app.cluster)
    clusters = sorted(cluster.name for cluster in Plugins.load().clusters())
    if not completion.known(wanted):
        completion.remember(wanted, _by_kind(choices.configured(here), clusters), old=True)
    completion.remember(wanted, _by_kind(choices.ask(here), clusters))


def _by_kind(found: choices.Choices, clusters: list[str]) -> dict[str, list[str]]:
    return {
        "account": list(found.allocations),
        "application": list(found.applications),
        "cluster": clusters,
        "partition": list(found.partitions),
        "profile": list(found.profiles),
    }
