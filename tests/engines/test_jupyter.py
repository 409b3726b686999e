"""A real Jupyter server behind each engine: large or unusual requests and answers."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engines.stand import Stand, listens, running
from tests.stands.service import Session, free_port
from tests.stands.waiting import until

TOKEN = "t" * 32
SIZE = 21_000_000
JUPYTER = Path(sys.executable).with_name("jupyter")


def jupyter(stand: Stand, session: Session, folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Jupyter's server with the session's certificate, as the agent starts it."""
    answer = stand.certificate(session)
    (folder / "files").mkdir()
    for name in ("key", "certificate"):
        (folder / name).write_text(answer[name])
    settings = {
        "ip": "127.0.0.1", "port": port, "root_dir": folder / "files", "allow_root": True,
        "certfile": folder / "certificate", "keyfile": folder / "key", "open_browser": False,
        "allow_remote_access": True,
    }  # fmt: skip
    command = [str(JUPYTER), "server", f"--IdentityProvider.token={TOKEN}"]
    command += [f"--ServerApp.{name}={value}" for name, value in settings.items()]
    environment = {**os.environ, "HOME": str(folder), "JUPYTER_PLATFORM_DIRS": "1"}
    with (folder / "jupyter.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


@pytest.mark.parametrize("kind", ["embedded", "haproxy", "apache"])
def test_large_files_odd_names_and_long_addresses(
    kind: str, tmp_path: Path, need: Callable[[str], str]
) -> None:
    lasting: dict[str, Any] = {"lease.length": 3600}  # no agent renews it
    with running(tmp_path, kind, need, **lasting) as stand:
        session, port, folder = stand.issue(), free_port(), tmp_path / "jupyter"
        folder.mkdir()
        process = jupyter(stand, session, folder, port)
        try:
            until(lambda: listens("127.0.0.1", port), "Jupyter listens")
            assert stand.redeem(session, port)[0] == 200
            name = session.host.partition(":")[0]

            def curl(path: str, *arguments: str, token: bool = True) -> list[str]:
                """Return the status, the size of the answer, and where it sends the client."""
                command = [
                    need("curl"), "-sS", "--path-as-is", "--cacert", str(stand.directory / "ca" / "ca.pem"),
                    "--resolve", f"{name}:{stand.port}:127.0.0.1", "-o", str(folder / "answer"),
                    "-w", "%{response_code} %{size_download} %{redirect_url}", *arguments,
                    *(("-H", f"Authorization: token {TOKEN}") if token else ()),
                    f"https://{session.host}{path}",
                ]  # fmt: skip
                said = subprocess.run(
                    command, capture_output=True, text=True, timeout=120, check=True
                )
                return said.stdout.split(" ")

            content = base64.b64encode(os.urandom(SIZE)).decode()
            model = {"type": "file", "format": "base64", "content": content}
            (folder / "body").write_text(json.dumps(model))
            upload = ("-X", "PUT", "--data-binary", f"@{folder / 'body'}")
            assert curl("/api/contents/large.bin", *upload)[0] == "201"
            assert (folder / "files" / "large.bin").read_bytes() == base64.b64decode(content)
            assert curl("/files/large.bin")[:2] == ["200", str(SIZE)]
            (folder / "files" / "50%.txt").write_text("half")
            for path in ("/files/50%.txt", "/files/50%25.txt"):
                assert curl(path)[:2] == ["200", "4"], path
            # The login page is requested with the whole address, escaped once more.
            long = "/tree/" + "%20" * 5_000
            status, _, url = curl(long, token=False)
            assert status == "302"
            assert len(url) > 20_000
            cookies = "; ".join(f"c{number}={'x' * 3_990}" for number in range(14))
            assert curl("/api/status", "-H", f"Cookie: {cookies}")[0] == "200"
        finally:
            process.kill()
            process.wait()
