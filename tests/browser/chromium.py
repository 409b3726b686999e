"""A headless Chromium that trusts one CA, as an ordinary user makes it trusted."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import ChromeOptions, Remote

from tests.stands.service import free_port


def trust(user: Any, home: Path, ca_file: str, need: Callable[[str], str]) -> None:
    """Have the user's Chromium trust that CA, with certutil, as the README says."""
    certutil = need("certutil")
    database = home / ".pki" / "nssdb"
    if database.exists():
        return
    user.run(["mkdir", "-p", str(database)], check=True)
    user.run([certutil, "-d", f"sql:{database}", "-N", "--empty-password"], check=True)
    user.run(
        [certutil, "-d", f"sql:{database}", "-A", "-t", "C,,", "-n", "rps", "-i", ca_file],
        check=True,
    )


@contextmanager
def chromium(
    user: Any, home: Path, need: Callable[[str], str], page_load: str = "normal", *flags: str
) -> Iterator[Remote]:
    """Start a Chromium of the user with a fresh profile.

    `page_load`: commands wait for a page to load (normal) or do not (none); `flags` are further ones.
    """
    program, driver = need("chromium"), need("chromedriver")
    port = free_port()
    profile = home / "chromium-profile"
    log = (home / "chromedriver.log").open("w")
    environment = {"HOME": str(home)}
    process = user.popen([driver, f"--port={port}"], stdout=log, stderr=log, env=environment)
    options = ChromeOptions()
    options.binary_location = program
    options.page_load_strategy = page_load
    for flag in (
        "--headless=new", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--disable-quic", "--disable-dev-shm-usage",
        "--no-sandbox",  # a container may have no user namespaces; certificates are checked all the same
        "--window-size=1200,800", f"--user-data-dir={profile}",
        *flags,
    ):  # fmt: skip
        options.add_argument(flag)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "chromedriver does not start"
                time.sleep(0.1)
        remote = Remote(f"http://127.0.0.1:{port}", options=options)
        try:
            yield remote
        finally:
            remote.quit()
    finally:
        process.terminate()
        process.wait(60)
        log.close()
        shutil.rmtree(profile, ignore_errors=True)
