"""One reading of the many exceptions of the client, and words for each kind."""

import errno
import time
from email.utils import formatdate
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from deepsynth.errors import RequestError
from deepsynth.hub.account import Account
from deepsynth.hub.failure import Corrupt, Failure, classify, explain
from deepsynth.hub.publish import publish
from deepsynth.hub.retry import Retry
from tests.hub.conftest import QUICK
from tests.support.folders import make_dataset


class Answered(Exception):
    """An exception with an answer, as the client's."""

    def __init__(self, status, **headers):
        super().__init__(f"status {status}")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.response = SimpleNamespace(status_code=status, headers=named)


def wrapped(inner):
    """`inner` as the cause of what the client makes of it."""
    outer = RuntimeError("Error while uploading 'x' to the Hub.")
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Answered(401), "denied"),
        (Answered(403), "forbidden"),
        (Answered(404), "missing"),
        (Answered(409), "conflict"),
        (Answered(412), "conflict"),
        (Answered(429), "rate"),
        (Answered(503), "server"),
        (Answered(400), "refused"),
        (wrapped(Answered(503)), "server"),
        (wrapped(OSError(errno.ENOSPC, "No space left on device")), "disk"),
        (RuntimeError("MerkleDB Shard error: File I/O error"), "disk"),
        (RuntimeError("Task error: Malformed data: chunk header version too high"), "corrupt"),
        (RuntimeError("HTTP status client error (401 Unauthorized)"), "denied"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "network"),
        (TimeoutError("timed out"), "network"),
        (wrapped(Corrupt("sha256 differs")), "corrupt"),
        (KeyError("x"), "unknown"),
    ],
)
def test_kinds(error, kind):
    failure = classify(error)
    assert failure.kind == kind
    said = explain(failure, doing="testing", where="here", account=Account())
    assert said.hint
    assert "testing" in said.what


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7),
        ({"ratelimit": '"api";r=0;t=42'}, 42),
        ({}, None),
    ],
)
def test_the_wait_a_server_asks_for(headers, seconds):
    found = classify(Answered(429, **headers)).retry_after
    assert found == seconds


def test_the_wait_may_be_a_date():
    date = formatdate(time.time() + 60, usegmt=True)
    assert classify(Answered(429, retry_after=date)).retry_after == pytest.approx(60, abs=2)


def test_patience_ends():
    retry = Retry(attempts=3, base_delay=1, max_delay=1.5, max_wait=10)
    server = Failure("server")
    assert 0.5 <= retry.delay(server, 1) <= 1
    assert 0.75 <= retry.delay(server, 2) <= 1.5
    assert retry.delay(server, 3) is None
    assert retry.delay(Failure("denied"), 1) is None
    assert retry.delay(Failure("rate", retry_after=9), 1) == 9
    assert retry.delay(Failure("rate", retry_after=11), 1) is None


def test_a_client_told_to_stay_offline_is_named(alice, repo, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RequestError, match="HF_HUB_OFFLINE"):
        publish(make_dataset(tmp_path / "d"), repo=repo, account=alice, retry=QUICK)
