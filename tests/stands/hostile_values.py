"""Values that violate docs/protocol.md, by field of the service's answer."""

from __future__ import annotations

NAME, DOMAIN = "one-two-three", "rps.localhost"
HOST = f"{NAME}.{DOMAIN}"
CLAIM = "c" * 43

NAMES: tuple[object, ...] = (
    "../../../../precious", "../precious", "precious", "..", ".", "", "/", f"{NAME}/", f"./{NAME}",
    "one-two", "one-two-three-four", NAME.upper(), f"{NAME}\n", f"{NAME}\0", "-r-f", "one--three",
    f"\x1b[2J\x1b[31m{NAME}", "one-two-thr\u202eee", "\u043ene-two-three", "one two three",
    "a" * 30 + "-b" * 30, "$(id)-two-three", f"{NAME}.evil", 7, 1.5, True, None, [], {}, [NAME],
)  # fmt: skip
URLS: tuple[object, ...] = (
    "javascript:alert(1)", f"http://{HOST}/", "https://evil.example/", f"https://{HOST}.evil.example/",
    f"https://{HOST}@evil.example/", f"https://user:pw@{HOST}/", f"https://{HOST}:0/", f"https://{HOST}:65536/",
    f"https://{HOST}:8443/x", f"https://{HOST}/?token=x", f"https://{HOST}/#x", f"https://{HOST}/\r\n",
    "", 7, None, f"\thttps://{HOST}/", f"https://{HOST}", f"https://four-five-six.{DOMAIN}/", f"https://{HOST}:/",
    f"https://{HOST}:8443@evil.example/", f"HTTPS://{HOST}/", f"https://{HOST}\\.evil.example/",
)  # fmt: skip
HOSTS: tuple[object, ...] = (
    "evil.example", f"four-five-six.{DOMAIN}", f"{HOST}.", NAME, f"{NAME}.evil.example", HOST.upper(),
    f"{HOST}\n", "", 7, None,
)  # fmt: skip
CLAIMS: tuple[object, ...] = (
    "", "c" * 42, "c" * 44, f"{CLAIM[:-6]}\r\nX: y", f"{CLAIM[:-1]}\n", f"{CLAIM[:-1]} ", "\u00e9" * 43,
    f"{CLAIM[:-1]}+", 7, None, [CLAIM],
)  # fmt: skip
TIMES: tuple[object, ...] = (
    float("nan"), float("inf"), -1, 0, 1e-9, 1e308, 10**400, "15", True, None, [15], {},
)  # fmt: skip
