"""Random requests of a grammar by every way to the service: none causes a defect.

`make test` sends the same few hundred each time. By hand, for any time (`make fuzz`):

    RPS_FUZZ_SECONDS=3600 pytest tests/engines/test_fuzz.py    # for each engine and way, with a new seed
    RPS_FUZZ_SEED=apache-door-17 pytest tests/engines/test_fuzz.py    # the seed that a failure named
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.engines.fuzzing import FEED_KEY, WAYS, Findings, defects, run, way_to
from tests.engines.stand import Carried, running

CONVERSATIONS = 100  # by each way
SECONDS = float(os.environ.get("RPS_FUZZ_SECONDS", "0"))
SEED = os.environ.get("RPS_FUZZ_SEED")


def seeds(kind: str, way: str) -> Iterator[str]:
    """Return the same seeds each time, or new ones for RPS_FUZZ_SECONDS."""
    if SEED is not None:
        yield SEED
        return
    first = f"{secrets.token_hex(4)}-" if SECONDS else ""
    end = time.monotonic() + SECONDS
    number = 0
    while number < CONVERSATIONS or time.monotonic() < end:
        yield f"{first}{kind}-{way}-{number}"
        number += 1


@pytest.fixture(scope="module")
def everything(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    need: Callable[[str], str],
) -> Iterator[tuple[str, Carried]]:
    """Run each engine, with all optional calls enabled and no limits."""
    directory = tmp_path_factory.mktemp("everything")
    key = directory / "key"
    key.touch(mode=0o600)
    key.write_text(FEED_KEY)
    settings: dict[str, Any] = {
        "lease.length": 3600,
        "feed.networks": "[127.0.0.0/8]",
        "feed.key_file": key,
        "satellite.job_states_from": "[127.0.0.0/8]",
        "audit.file": directory / "audit",
        "limits.issues_per_minute": 0,
        "limits.issues_per_minute_of_user": 0,
        "limits.pending_per_source": 0,
        "limits.pending_per_user": 0,
    }
    with (
        running(directory, request.param, need, **settings) as stand,
        stand.notebook() as (session, notebook),
    ):
        yield request.param, Carried(stand, session, notebook)


# The notebook's own threads may not have closed all that was left open when it ends.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize(
    ("everything", "way"),
    [(kind, way) for kind, ways in WAYS.items() for way in ways],
    indirect=["everything"],
)
def test_no_request_is_a_defect(everything: tuple[str, Carried], way: str) -> None:
    kind, carried = everything
    stand = carried.stand
    before, pid = len(defects(carried)), stand.process.pid if stand.process else 0
    findings = Findings()
    number = run(way_to(carried, kind, way), seeds(kind, way), findings)
    print(f"{kind}, {way}: {number} conversations, {dict(sorted(findings.statuses.items()))}")
    assert not findings.wrong, "\n\n".join(findings.wrong[:10])
    assert not defects(carried)[before:]
    assert findings.statuses[200] or SEED, "it does not get through"
    assert stand.process is not None
    assert (stand.process.poll(), stand.process.pid) == (None, pid)
    assert stand.request(carried.session.host, "GET", "/").status == 200
    assert stand.call("GET", "health")[0] == 200
