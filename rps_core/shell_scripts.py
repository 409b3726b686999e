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
    source = kind(command, {}, "rps", _VARIABLE)
    # Not its `source`, which starts a bash to see how old it is: 4.4, of 2016, is new enough.
    return source.source_template % source.source_vars()


def refresh(options: dict[str, Any]) -> None:
    """Ask the scheduler, the configuration and the plugins, and note the answers for completion."""
    here, _ = find(options)
    found = choices.ask(here, programs.run)
    completion.remember(
        completion.cluster_wanted(options["cluster"]),
        {
            "account": list(found.allocations),
            "cluster": sorted(cluster.name for cluster in Plugins.load().clusters()),
            "partition": list(found.partitions),
            "profile": list(found.profiles),
        },
    )
