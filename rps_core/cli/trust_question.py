"""The question at the first `rps start` on a terminal: whether browsers are to trust the service's CA."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click

from rps_core.errors import RpsError
from rps_core.system.browser_trust import remember, remembered
from rps_proxy.personal.running import DOMAIN


def ask_once(ca_file: Path) -> None:
    """Ask, and do it; not again once it was answered, nor where no browser of this machine is used.

    A store that cannot be changed is printed, and is no error: the session has started.

    Raises:
        click.Abort: Ctrl-C or the end of the input; the question is asked again at the next start.
    """
    if not _on_a_desktop() or remembered(ca_file) is not None:
        return
    from rps_core.display.wording import error_text
    from rps_proxy.cli.trust import install
    from rps_proxy.trust import browsers, nss
    from rps_proxy.trust.certificate import read

    try:
        authority = read(ca_file, DOMAIN)
        browsers.check_tools(authority)
        if all(store.trusts(authority) for store in browsers.stores()):
            remember(ca_file, wanted=True)
            return
        named = ", ".join(store.browser for store in browsers.stores())
        click.echo(
            f"The notebook's certificate is of a CA that was created on this machine, for names below "
            f"{DOMAIN} only.\nYour browsers do not trust it yet: {named}.",
            err=True,
        )
        if click.confirm("Have them trust it?", default=True, err=True):
            install(authority, err=True)
        else:
            click.echo("Later: `rps proxy ca --install`.", err=True)
            remember(ca_file, wanted=False)
    except RpsError as error:
        click.echo(error_text(error), err=True)
        # Without certutil it is asked again once it is there.
        if sys.platform == "darwin" or shutil.which(nss.PROGRAM):
            remember(ca_file, wanted=True)


def _on_a_desktop() -> bool:
    """Return whether the browser is probably on this machine: a desktop, and not over ssh."""
    from rps_core.display.browser import has_display

    return "SSH_CONNECTION" not in os.environ and has_display()
