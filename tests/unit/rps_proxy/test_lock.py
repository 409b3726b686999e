"""The lock of a directory: one holder at a time, and a wait that ends."""

import os
import time
from pathlib import Path

import pytest

from rps_core.errors import ServiceError
from rps_proxy.lock import only_one, take

REFUSAL = ServiceError("held")


def test_a_lock_is_refused_at_the_deadline_and_taken_once_released(tmp_path: Path) -> None:
    with only_one(tmp_path):
        second = os.open(tmp_path / "lock", os.O_RDWR)
        with pytest.raises(ServiceError, match=r"^held$"):
            take(second, REFUSAL, deadline=time.monotonic())
    take(second, REFUSAL, deadline=time.monotonic())
    os.close(second)
