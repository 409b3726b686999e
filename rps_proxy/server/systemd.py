"""Notify systemd of the start: the protocol of sd_notify(3), one datagram."""

from __future__ import annotations

import os
import socket

from rps_core.log import get_logger

_log = get_logger("rps.systemd")


def notify_ready() -> None:
    """Notify systemd, if the unit has `Type=notify`, that the service takes requests."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    # An `@` stands for the NUL that begins an abstract socket's name.
    address = f"\0{address[1:]}" if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
            datagram.sendto(b"READY=1", address)
    except OSError as error:  # systemd reports only that the start timed out
        _log.error("systemd-not-notified", reason=str(error))
