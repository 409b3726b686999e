"""Trusted paths where root is not mapped."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rps_core.node.agent import trusted_path

STRANGER = 12345


def test_in_a_user_namespace_where_root_is_not_mapped(
    ground: Path, need: Callable[[str], str]
) -> None:
    """Test a rootless container, where uid 65534 owns root's files.

    It also owns another user's entry in /tmp.
    """
    copy = ground / "rps_core" / "node" / "agent"  # the clone may be closed to that user
    copy.mkdir(parents=True)
    for package in (copy, copy.parent, copy.parent.parent):
        (package / "__init__.py").write_text("")
    shutil.copy(trusted_path.__file__, copy)
    code = (
        "import os, sys; from rps_core.node.agent.trusted_path import check_path, UntrustedPath\n"
        "assert os.lstat('/').st_uid == 65534; check_path('/usr/lib'); print('safe')\n"
        "try: check_path(sys.argv[1])\n"
        "except UntrustedPath as error: print(error)"
    )
    owner = STRANGER if os.geteuid() == 0 else os.geteuid()
    options: dict[str, Any] = (
        {"user": owner, "group": owner, "extra_groups": []} if os.geteuid() == 0 else {}
    )
    done = subprocess.run(
        [need("unshare"), "--user", "--map-root-user", "/usr/bin/python3", "-c", code, str(ground)],
        cwd=ground, env={"PYTHONPATH": str(ground), "PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=False, **options,
    )  # fmt: skip
    if "unshare:" in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
    message = f"{ground} belongs to user 65534\n" if os.geteuid() == 0 else ""
    assert done.stdout == f"safe\n{message}", done.stderr
