"""Accept login links: Jupyter's identity provider and login page for a session that has them.

Run in Jupyter's process (Jupyter Server 2) by `jupyter_config.py`, which has put `login_link.py` into
`rps_login_link` and `login_page.py` into `rps_login_page`. A link is `/login?token=...`: Jupyter's log leaves
out what is called so, and the agent what an older one logs. A GET shows a page with one button and uses
nothing up, because chats, mail filters and browsers visit links by themselves; the button's POST does.
"""

import hmac
import inspect
import json
import os
import re
import sys
import time
import weakref
from http import HTTPStatus
from typing import Any, Dict, Optional

from jupyter_server.auth.identity import PasswordIdentityProvider, User
from jupyter_server.auth.login import LoginFormHandler
from tornado.ioloop import PeriodicCallback

links: Any = sys.modules["rps_login_link"]
pages: Any = sys.modules["rps_login_page"]

# By which a browser is known again that lost the answer to its POST, or pressed the button twice.
BROWSER = "__Host-rps-link"
AGAIN_WITHIN = 60.0  # seconds
LOOK_EVERY_MS = 1000.0
_POLICY_VIOLATION = 1008  # the close code of websockets whose share has ended


def without_login(method: Any) -> Any:
    """Mark a method that needs no login."""
    try:
        from jupyter_server.auth.decorator import allow_unauthenticated
    except ImportError:  # before Jupyter Server 2.13
        return method
    return allow_unauthenticated(method)


class Visitor(User):
    """The user of a share; `share` is its word."""

    share = ""


def share_of(user: Any) -> str:
    """Return the word of the share by which a user is here; empty: by none."""
    return str(getattr(user, "share", ""))


class Shares:
    """The shares that were used, and what is open by each.

    Args:
        directory: the session's `links`.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._shares: Dict[str, Any] = {}
        self._open: Dict[str, "weakref.WeakSet[Any]"] = {}
        self._looking: Optional[PeriodicCallback] = None

    def of(self, word: str) -> Any:
        """Return a share."""
        share = self._shares.get(word)
        if share is None:
            share = links.Share(self._directory, word)
            if share.is_good():
                self._shares[word] = share
        return share

    def visit(self, word: str, handler: Any) -> None:
        """Note that a request is a visitor's: it is ended with the share."""
        self._open.setdefault(word, weakref.WeakSet()).add(handler)
        if self._looking is None:
            self._looking = PeriodicCallback(self.look, LOOK_EVERY_MS)
            self._looking.start()

    def look(self) -> None:
        """End what is open by shares that have ended."""
        for word in [word for word in self._open if not self.of(word).is_good()]:
            handlers = list(self._open.pop(word))
            audit("%s has ended; it had %d open connections" % (word, sum(map(end, handlers))))
        if not self._open and self._looking is not None:
            self._looking.stop()
            self._looking = None


def end(handler: Any) -> bool:
    """Close a visitor's websocket, or an answer that is under way; return whether one was open."""
    connection = getattr(handler, "ws_connection", None)
    if connection is not None:
        stream = connection.stream
        handler.close(_POLICY_VIOLATION, "This share has ended.")
        # At once: until the other side has answered, its messages would still reach the kernel.
        stream.close()
        return True
    if handler._finished:
        return False
    stream = getattr(handler.request.connection, "stream", None)
    if stream is not None:
        stream.close()
    return stream is not None


def note(single: Any) -> None:
    """Keep which links were used, for the launcher too."""
    try:
        single.note()
    except OSError as error:  # a full disk: until Jupyter ends, they are refused all the same
        audit("could not note which login links were used: %s" % error)


def audit(text: str) -> None:
    """Write a line to the job's log."""
    line = "%s rps: %s\n" % (time.strftime("%Y-%m-%d %H:%M:%S"), text)
    sys.stderr.write("".join(c if c.isprintable() or c == "\n" else "?" for c in line))
    sys.stderr.flush()


def caller(handler: Any) -> str:
    """Format the address that the service saw, and the browser."""
    address = handler.request.headers.get("X-Real-IP", "")
    if not re.match(r"[0-9A-Fa-f:.]{2,45}\Z", address):
        address = handler.request.remote_ip
    return "from %s, %s" % (address, handler.request.headers.get("User-Agent", "no browser")[:200])


def provider(secret: str, directory: str, once: bool, texts: Any) -> Any:
    """Return the class of the identity provider.

    Args:
        secret: the session's token.
        directory: the session's `links`.
        once: the token opens no page: only links do.
        texts: those of the page.
    """
    single = links.Once(directory)
    note(single)
    shares = Shares(directory)
    used: Dict[str, Any] = {"word": "", "browser": "", "when": 0.0}

    class LinkIdentityProvider(PasswordIdentityProvider):
        """Jupyter's own, which accepts login links.

        Its trait `token` is empty: pages contain that, and a visitor of a share reads them.
        """

        auth_enabled = True
        login_available = True

        def get_user(self, handler: Any) -> Any:
            """Return the user of a request, as Jupyter has it; note the requests of shares."""
            return self._known(handler)

        async def _known(self, handler: Any) -> Any:
            found = super().get_user(handler)
            user: Any = await found if inspect.isawaitable(found) else found
            share = share_of(user)
            if share:
                shares.visit(share, handler)
            return user

        def get_token(self, handler: Any) -> Optional[str]:
            """Return the token of a request; with `once` a page's address has none."""
            if once and not for_programs(handler):
                found = self.auth_header_pat.match(handler.request.headers.get("Authorization", ""))
                return found.group(2) if found else None
            return super().get_token(handler)

        async def get_user_token(self, handler: Any) -> Any:
            """Return the user of a request that has the token."""
            given = self.get_token(handler) or ""
            if not hmac.compare_digest(given.encode(), secret.encode()):
                return None
            found: Any = self.get_user_cookie(handler)
            user = await found if inspect.isawaitable(found) else found
            handler._rps_without_cookie = once
            if user is None or share_of(user):
                return self.generate_anonymous_user(handler)
            return user

        def set_login_cookie(self, handler: Any, user: User) -> None:
            """Set the cookie; with `once` a token gets none, or it could be turned into a login."""
            if not getattr(handler, "_rps_without_cookie", False):
                super().set_login_cookie(handler, user)

        def user_to_cookie(self, user: User) -> str:
            """Return the cookie's text, with the share."""
            fields = json.loads(super().user_to_cookie(user))
            return json.dumps(dict(fields, share=share_of(user)))

        def user_from_cookie(self, cookie_value: str) -> Optional[User]:
            """Return the user; None: the share has ended."""
            user = super().user_from_cookie(cookie_value)
            share = json.loads(cookie_value).get("share", "")
            if user is None or not share:
                return user
            return visitor(user, share) if shares.of(share).is_good() else None

        def process_login_form(self, handler: Any) -> Optional[User]:
            """Return the user of a link that works, and use it up; of the typed token without `once`."""
            text = handler.get_body_argument("token", "")
            if not text and not once:
                typed = handler.get_body_argument("password", "")
                if hmac.compare_digest(typed.encode(), secret.encode()):
                    return self.generate_anonymous_user(handler)
                return None
            word = links.word_of(secret, text)
            if word is None or not self.is_good(word, handler):
                return None
            user = self.generate_anonymous_user(handler)
            if word.startswith("share-"):
                audit("%s was opened, %s" % (word, caller(handler)))
                return visitor(user, word)
            self.use(word, handler)
            return user

        def is_good(self, word: str, handler: Any) -> bool:
            """Return whether a link works, for this browser."""
            if word.startswith("share-"):
                return bool(shares.of(word).is_good())
            return bool(single.is_good(word) or self._used_it(word, handler))

        def _used_it(self, word: str, handler: Any) -> bool:
            browser = handler.get_cookie(BROWSER, "").encode()
            same = bool(browser) and hmac.compare_digest(browser, used["browser"].encode())
            recent = time.monotonic() - used["when"] < AGAIN_WITHIN
            return same and recent and bool(word == used["word"])

        def use(self, word: str, handler: Any) -> None:
            """Use a link up."""
            if not single.is_good(word):
                return  # the same browser again
            browser = handler.get_cookie(BROWSER, "")
            used.update(word=word, browser=browser, when=time.monotonic())
            audit("the login link %s was used, %s" % (word, caller(handler)))
            single.use(word)
            note(single)

    def for_programs(handler: Any) -> bool:
        """Return whether a request is one of programs: they give the token in the query, too."""
        websocket = handler.request.headers.get("Upgrade", "").lower() == "websocket"
        return websocket or bool(handler.request.path.startswith(handler.base_url + "api/"))

    form: Any = LoginFormHandler

    class LoginPage(form):  # type: ignore[misc]
        """The page with one button."""

        @without_login
        def get(self) -> None:
            """Show the page, or lead on who is logged in."""
            text = self.get_query_argument("token", "")
            if self._is_in(text):
                self._lead_on()
            elif text or once:
                self._show(text)
            else:
                super().get()

        @without_login
        def post(self) -> None:
            """Log in by the link, unless the browser already is."""
            text = self.get_body_argument("token", "")
            if not (once or text):
                super().post()
                return
            if not self._is_in(text):
                user = self.identity_provider.process_login_form(self)
                if user is None:
                    self._show(text)
                    return
                self.current_user = user
                self.identity_provider.set_login_cookie(self, user)
            self._lead_on()

        def _is_in(self, text: str) -> bool:
            """Return whether the browser needs no link; a visitor still needs one that works once."""
            user: Any = self.current_user
            return user is not None and not (share_of(user) and text.startswith("once-"))

        def _lead_on(self) -> None:
            self._redirect_safe(self.get_argument("next", self.base_url))

        def _show(self, text: str) -> None:
            word = links.word_of(secret, text)
            said = texts.page(
                self.request.headers.get("Accept-Language", ""), self.request.host_name
            )
            if word is None or not self.identity_provider.is_good(word, self):
                self.set_status(HTTPStatus.FORBIDDEN)
                if text:
                    what = word or "none of this session"
                    self.log.warning("rps: refused a login link (%s), %s", what, caller(self))
                page = said.refusal(text)
            else:
                if not self.get_cookie(BROWSER):
                    value = os.urandom(16).hex()
                    self.set_cookie(
                        BROWSER, value, path="/", secure=True, httponly=True, samesite="Lax"
                    )
                page = self._form(said, text, word)
            self.set_header("Content-Type", "text/html; charset=UTF-8")
            self.set_header("Cache-Control", "no-store")
            self.set_header(
                "Referrer-Policy", "same-origin"
            )  # none at all makes the form's Origin null
            self.set_header("Content-Security-Policy", pages.POLICY)
            self.set_header("Content-Language", said.tag)
            self.finish(page)

        def _form(self, said: Any, text: str, word: str) -> str:
            until = None
            if word.startswith("share-"):
                ends = time.gmtime(shares.of(word).until)
                until = time.strftime("%Y-%m-%d %H:%M", ends)
            return str(
                said.form(
                    until=until,
                    action=self.base_url + "login",
                    link=text,
                    leads_on=self.get_argument("next", self.base_url),
                    xsrf=self.xsrf_form_html(),
                )
            )

    return LinkIdentityProvider, LoginPage


def visitor(user: User, share: str) -> Visitor:
    """Return the user of a share."""
    name = "Visitor (%s)" % share
    found = Visitor(user.username, name, name, "V")
    found.share = share
    return found
