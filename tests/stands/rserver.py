"""A stand-in for RStudio Server's `rserver`, which no package registry has.

It takes the options of the real one (rstudio/rstudio, src/cpp/server/server-options.json; `www-socket` is of
pull request 14938, in RStudio 2024.12.0), refuses others as boost::program_options does, and needs the files
that they name. It listens where they say, and does behind a proxy what the real one does:

- URLs of redirects are whole: scheme and host of the forwarded headers, then `www-root-path` (proxiedUri in
  src/cpp/core/http/Request.cpp).
- A first visit is redirected to /auth-sign-in, which with `auth-none` sets the cookies `user-id` and
  `csrf-token` at the root path, `secure` behind https, and leads back
  (src/cpp/server/auth/ServerAuthCommon.cpp).
- The page calls /rpc/client_init with the token of its cookie in a header, uploads to /upload, and a terminal
  is a websocket below /p/ (src/cpp/server/ServerMain.cpp).

Run by the Python of `locks/applications.txt`. RStudio itself is not here: its pages, its R.
"""

import argparse
import getpass
import os
import secrets
from pathlib import Path

from aiohttp import web

PAGE = """\
<!doctype html><title>RStudio (stand-in)</title><h1>Stand-in for RStudio Server</h1>
<p id=rpc></p><p id=terminal></p><input type=file><p id=sent></p>
<script>
const show = (id, text) => document.getElementById(id).textContent = text;
const token = document.cookie.match(/csrf-token=([^;]*)/)[1];
fetch("rpc/client_init", {method: "POST", headers: {"X-CSRF-Token": token}, body: "{}"})
  .then((answer) => answer.json()).then((found) => show("rpc", "session of " + found.result.user));
const terminal = new WebSocket(new URL("p/58fab3e4/terminal/1/", location.href.replace(/^http/, "ws")));
terminal.onopen = () => terminal.send("1 + 1");
terminal.onmessage = (event) => show("terminal", event.data);
document.querySelector("input").onchange = async (event) => {
  const form = new FormData();
  form.append("file", event.target.files[0]);
  show("sent", await (await fetch("upload", {method: "POST", body: form})).text());
};
</script>
"""
_parser = argparse.ArgumentParser("rserver", allow_abbrev=False)
for _option in (
    "server-user", "server-data-dir", "secure-cookie-key-file", "database-config-file", "www-address",
    "www-port", "www-socket", "www-root-path", "www-frame-origin", "www-verify-user-agent", "auth-none",
):  # fmt: skip
    _parser.add_argument(f"--{_option}", metavar="arg")


def proxied(request: web.Request, path: str) -> str:
    """Return a URL of this server as the browser sees it."""
    scheme = request.headers.get("X-Forwarded-Proto") or "http"
    host = request.headers.get("X-Forwarded-Host") or request.headers["Host"]
    return f"{scheme}://{host}{options.www_root_path.rstrip('/')}{path}"


async def sign_in(request: web.Request) -> web.Response:
    """Set the cookies, and lead back to where the visitor came from."""
    there = proxied(request, request.query.get("appUri", "/"))
    answer = web.HTTPFound(there)
    secure = there.startswith("https:")
    for name, value in (("user-id", getpass.getuser()), ("csrf-token", secrets.token_hex(8))):
        answer.set_cookie(
            name, value, path=options.www_root_path, secure=secure, httponly=name == "user-id"
        )
    return answer


async def page(request: web.Request) -> web.Response:
    """Show the page, or the name of a file, after the sign-in."""
    if "user-id" not in request.cookies:
        return web.HTTPFound(proxied(request, f"/auth-sign-in?appUri={request.path}"))
    if request.path == "/":
        return web.Response(text=PAGE, content_type="text/html")
    return web.Response(text=f"the file {request.match_info['name']}")


async def call(request: web.Request) -> web.Response:
    """Answer a call; refuse one without the token of the cookie."""
    if request.headers.get("X-CSRF-Token") != request.cookies.get("csrf-token"):
        return web.HTTPUnauthorized()
    return web.json_response({"result": {"user": request.cookies["user-id"]}})


async def upload(request: web.Request) -> web.Response:
    """Count what was sent."""
    sent = (await request.post())["file"]
    assert isinstance(sent, web.FileField)
    return web.Response(text=f"got {len(sent.file.read())} bytes")


async def terminal(request: web.Request) -> web.WebSocketResponse:
    """Answer what is typed: a sum."""
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    async for message in websocket:
        await websocket.send_str(f"[1] {sum(map(int, message.data.split('+')))}")
    return websocket


def check() -> None:
    """Check what the options name, as the real one does when it starts."""
    assert options.www_root_path.startswith("/")
    assert options.auth_none == "1"
    assert options.server_user == getpass.getuser()
    assert os.access(options.server_data_dir, os.W_OK)
    lines = Path(options.database_config_file).read_text().splitlines()
    database = dict(line.split("=", 1) for line in lines)
    assert database["provider"] == "sqlite"
    assert Path(database["directory"]).is_dir()
    Path(options.secure_cookie_key_file).touch(0o600)


if __name__ == "__main__":
    options = _parser.parse_args()
    check()
    server = web.Application(client_max_size=1 << 20)
    server.add_routes([
        web.get("/", page),
        web.get("/files/{name}", page),
        web.get("/auth-sign-in", sign_in),
        web.post("/rpc/client_init", call),
        web.post("/upload", upload),
        web.get("/p/{port}/terminal/{handle}/", terminal),
    ])  # fmt: skip
    port = None if options.www_socket else int(options.www_port)
    web.run_app(server, path=options.www_socket, port=port, print=None)
