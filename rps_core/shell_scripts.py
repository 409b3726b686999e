"""`rps completion`: the scripts for shells, which click has, and the values that they offer."""

from __future__ import annotations

from typing import Any

import click
from click import shell_completion

from rps_core import choices, completion
from rps_core import shell as programs
from rps_core.options import find
from rps_core.plugins import Plugins

HOW_TO_INSTALL = """\
bash: add to ~/.bashrc
    eval "$(rps completion bash)"
zsh: add to ~/.zshrc, below compinit
    eval "$(rps completion zsh)"
fish: once
    rps completion fish > ~/.config/fish/completions/rps.fish"""

_VARIABLE = "_RPS_COMPLETE"  # what click looks for, by the command's name


def script(command: click.Command, shell: str) -> str:
    """The script that registers the completion of `rps`."""
    kind = shell_completion.get_completion_class(shell)
    if kind is None:  # the commands offer only shells that click knows
        raise LookupError(shell)
    completion.prepare()
    source = kind(command, {}, "rps", _VARIABLE)
    # Not its `source`, which starts a bash to see how old it is: 4.4, of 2016, is new enough.
    return source.source_template % source.source_vars()


def refresh(options: dict[str, Any]) -> None:
    """Ask the configuration, the plugins and the scheduler, and note the answers for completion; where there
    are none yet, those of the first two at once, for a scheduler may take a minute to say nothing."""
    here, _ = find(options)
    wanted = completion.cluster_wanted(options["cluster"])
    clusters = sorted(cluster.name for cluster in Plugins.load().clusters())
    if not completion.known(wanted):
        completion.remember(wanted, _by_kind(choices.configured(here), clusters), old=True)
    completion.remember(wanted, _by_kind(choices.ask(here, programs.run), clusters))


def _by_kind(found: choices.Choices, clusters: list[str]) -> dict[str, list[str]]:
    return {
        "account": list(found.allocations),
        "cluster": clusters,
        "partition": list(found.partitions),
        "profile": list(found.profiles),
    }
