"""Checks of a personal service: the trust of browsers in its CA, and its answers to calls as files."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from rps_core.doctor.checkup import Checkup, Finding, passed, warned
from rps_core.errors import ServiceError

# The service looks every second, and at a home on NFS an agent's file may be seen half a minute late.
_ANSWERED_WITHIN = 120.0  # seconds


def browsers(case: Checkup) -> Iterator[Finding]:
    """Check that the browsers of this desktop trust the CA of the service; nothing where there is none."""
    proxy = case.the_settings().settings.proxy
    if not proxy.personal or proxy.tunnelled or case.endpoint is None or not case.endpoint.ca_file:
        return
    from rps_core.display.browser import has_display

    if "SSH_CONNECTION" in os.environ or not has_display():
        return  # the browser is on another machine
    from rps_proxy.personal.running import DOMAIN
    from rps_proxy.trust.browsers import stores
    from rps_proxy.trust.certificate import read

    authority = read(Path(case.endpoint.ca_file), DOMAIN)
    found = stores()
    for store in found:
        try:
            if store.trusts(authority):
                yield passed(f"{store.browser}: trusts the CA of your personal service")
            else:
                yield warned(
                    f"{store.browser}: does not trust the CA of your personal service, so it refuses the "
                    "sessions' pages",
                    "`rps proxy ca --install` has it trust that CA.",
                )
        except ServiceError as error:
            yield warned(
                f"{store.browser}: {error.message}", error.hint or "`rps proxy ca --install`."
            )
    if not found:
        yield passed("no browser of yours on this host")


def file_calls(case: Checkup) -> Iterator[Finding]:
    """Check that the calls of sessions whose node reaches no port of the login node are answered."""
    if not case.the_settings().settings.proxy.tunnelled:
        return
    from rps_core.node.agent import call_files

    answered = 0
    for record in case.store.records():
        directory = case.store.files(record.name).directory / call_files.DIRECTORY
        if record.ended is not None or record.tunnel is None or not directory.is_dir():
            continue
        waiting = [
            time.time() - path.stat().st_mtime
            for path in directory.iterdir()
            if call_files.number_of(call_files.REQUEST, path.name) is not None
        ]
        if waiting and max(waiting) > _ANSWERED_WITHIN:
            yield warned(
                f"{record.called}: a call of its agent, a file in {directory}, was not answered for "
                f"{max(waiting):.0f} s",
                f"Your personal service answers it: `rps status {record.name}` on {record.tunnel.host} "
                "starts it.",
            )
        else:
            answered += 1
    if answered:
        yield passed(f"sessions whose agents call by files, and are answered: {answered}")
