"""The URLs that open a session: with its token, or with a link that stands for it (`login_link`)."""

from __future__ import annotations

from rps_core.log import get_logger
from rps_core.state.record import Secrets, SessionRecord
from rps_core.state.session_dir import SessionFiles

log = get_logger(__name__)


def visit_url(
    record: SessionRecord, files: SessionFiles, secrets: Secrets | None, *, path: str | None = None
) -> str | None:
    """Return the URL that opens the session in a browser; None if the secrets were removed.

    Where links work once: with the newest link, and once that was used, without any, for the browser that has
    the session's cookie. So only `new_url` leaves another link where it is printed.

    Args:
        record: the session.
        files: its files.
        secrets: its secrets.
        path: the path to open, without the first slash; None: the application's that it was started with.
    """
    if secrets is None:
        return None
    path = record.opens if path is None else path
    if record.link == "token":
        return f"{record.url}{path}?token={secrets.token}"
    made, used = _numbers(files)
    if used >= made:
        return f"{record.url}{path}"
    return login_url(record, secrets, f"once-{made}", path)


def new_url(
    record: SessionRecord, files: SessionFiles, secrets: Secrets, *, path: str | None = None
) -> str:
    """Return the URL with a link that works once, made now: those made before work no more."""
    number = max(_numbers(files)) + 1
    note_made(files, number)
    return login_url(record, secrets, f"once-{number}", path)


def login_url(record: SessionRecord, secrets: Secrets, word: str, path: str | None = None) -> str:
    """Return the URL with the link of a word."""
    path = record.opens if path is None else path
    from urllib.parse import quote

    from rps_core.node.agent import login_link

    leads_on = f"&next={quote(f'/{path}', safe='')}" if path else ""
    return f"{record.url}login?token={login_link.link(secrets.token, word)}{leads_on}"


def note_made(files: SessionFiles, number: int = 1) -> None:
    """Note the number of the newest link; of a new session too: NFS caches that a file is missing."""
    from rps_core.node.agent import login_link

    try:
        files.links.mkdir(mode=0o700, exist_ok=True)
        files.write(f"{login_link.DIRECTORY}/{login_link.MADE}", f"{number}\n", lasting=False)
    except OSError as error:  # a full disk: the link works, and so do unused ones before it
        log.warning("login link not noted", name=files.directory.name, reason=error.strerror)


def _numbers(files: SessionFiles) -> tuple[int, int]:
    """Return the numbers of the newest link that was made, and of the newest that was used."""
    from rps_core.node.agent import login_link

    directory = str(files.links)
    made = login_link.number_in(directory, login_link.MADE) or login_link.FIRST
    return made, login_link.number_in(directory, login_link.USED)
