"""`rps proxy ca --install` and `--remove`: print what becomes of each browser's store."""

from __future__ import annotations

from collections.abc import Iterable

import click

from rps_core.errors import ServiceError
from rps_core.system.browser_trust import remember
from rps_proxy.trust import browsers
from rps_proxy.trust.browsers import Change, Outcome
from rps_proxy.trust.certificate import CaFile


def install(authority: CaFile, *, err: bool = False) -> None:
    """Have the user's browsers trust a CA; print what was done, on stderr with `err`.

    Raises:
        UsageError: see `browsers.check_tools`.
        ServiceError: a store could not be changed; the others were.
    """
    browsers.check_tools(authority)
    remember(authority.path, wanted=True)
    _print_authority(authority, err=err)
    if _print(browsers.install(authority), authority, err=err):
        click.echo(
            "Restart the browsers that are running. `rps proxy ca --remove` undoes this.", err=err
        )


def remove(authority: CaFile) -> None:
    """Have the user's browsers no longer trust a CA.

    Raises:
        UsageError, ServiceError: as for `install`.
    """
    browsers.check_tools(authority)
    remember(authority.path, wanted=False)
    _print_authority(authority)
    if _print(browsers.remove(authority), authority):
        click.echo("Restart the browsers that are running.")


def _print_authority(authority: CaFile, *, err: bool = False) -> None:
    click.echo(f"CA for names below {authority.domain} only: {authority.path}", err=err)
    click.echo(f"SHA-256 fingerprint: {authority.fingerprint}", err=err)


def _print(outcomes: Iterable[Outcome], authority: CaFile, *, err: bool = False) -> bool:
    """Print each outcome; return whether a store was changed.

    Raises:
        ServiceError: one could not be changed.
    """
    changed, failed = False, []
    for outcome in outcomes:
        click.echo(str(outcome), err=err)
        changed = changed or outcome.change in (Change.ADDED, Change.REMOVED)
        if outcome.change is Change.FAILED:
            failed.append(outcome.browser)
    if failed:
        raise ServiceError(
            f"Not changed: {'; '.join(failed)}.", f"The CA is {authority.path}. {browsers.BY_HAND}"
        )
    return changed
