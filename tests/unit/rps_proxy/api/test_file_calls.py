"""Requests that came as files: which are taken for the agent's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rps_core.errors import ServiceError
from rps_core.node.agent import call_files
from rps_core.node.agent.call_files import ANSWER, LONGEST, REQUEST, claim_digest, sign, verified
from rps_core.node.agent.protocol import Malformed
from rps_proxy.api.file_calls import _numbers, _read, _Request
from rps_proxy.registry.session import Phase, Session

SESSION = Session(
    name="one-two-three", claim=claim_digest("claim"), phase=Phase.LINKED, job_id="17", run_id=None,
    address=None, port=None, reason=None, created=1.0, lapsed=None, ended=None, cluster="comet",
    scheduler="slurm", user="alice", source="10.1.2.3", satellite=False, job_state=None,
    job_reason=None, job_estimate=None, job_seen=None, authenticated=False, own_job=None,
)  # fmt: skip
ASKED: dict[str, Any] = {
    "session": SESSION.name, "number": 7, "call": "renew", "from": "10.0.0.1", "body": {},
}  # fmt: skip


def read(content: bytes, session: Session = SESSION) -> dict[str, Any]:
    return _read(session, _Request(session.name, Path("/nowhere"), 7, content))


def test_agent_and_service_derive_the_same_key() -> None:
    assert call_files.claim_digest("claim") == SESSION.claim
    assert read(sign(SESSION.claim, REQUEST, ASKED)) == ASKED


@pytest.mark.parametrize(
    "changed",
    [
        {"session": "a-b-c"},
        {"number": 8},
        {"number": "7"},
        {"call": "link"},
        {"call": "job"},
        {"call": ""},
        {"call": ["renew"]},
        {"from": 7},
        {"from": ""},
        {"from": "10.0.0.1\n"},
        {"body": []},
        {"body": None},
        {"body": {"x": "y" * LONGEST}},
    ],
)
def test_a_signed_request_of_another_form_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        read(sign(SESSION.claim, REQUEST, {**ASKED, **changed}))


def test_only_this_sessions_claim_signs_its_requests() -> None:
    content = sign(SESSION.claim, REQUEST, ASKED)
    for other in (
        sign(claim_digest("another"), REQUEST, ASKED),
        sign(SESSION.claim, ANSWER, ASKED),
        content + b" ",
        content.replace(b"renew", b"redee"),
        content.replace(b"\n", b"\r", 1),
        content.upper(),
        content[1:],
    ):
        with pytest.raises(Malformed):
            read(other)
    with pytest.raises(Malformed):
        read(content, replace(SESSION, claim=claim_digest("another")))


@given(content=st.binary(max_size=200))
def test_no_bytes_pass_without_the_claim(content: bytes) -> None:
    for text in (content, b"0" * 64 + b"\n" + content):
        with pytest.raises(Malformed):
            verified(SESSION.claim, REQUEST, text)


@pytest.mark.parametrize(
    "name",
    [
        "request-7",
        "request-" + "0" * 21,
        "answer-" + "0" * 20,
        ".request-",
        "request-" + "0" * 20 + ".new",
    ],
)
def test_other_files_are_left_alone(name: str) -> None:
    assert call_files.number_of(REQUEST, name) is None


def test_damaged_numbers_are_said(tmp_path: Path) -> None:
    file = tmp_path / "file-calls.json"
    assert _numbers(file) == {}
    for content in ("[]", '{"a": null}', "{"):
        file.write_text(content)
        file.chmod(0o600)
        with pytest.raises(ServiceError, match="damaged"):
            _numbers(file)
