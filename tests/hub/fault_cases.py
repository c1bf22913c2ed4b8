"""The faults a publication or a load must survive, or say plainly, on either transport."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from deepsynth.hub.retry import Retry

COMMIT = "POST .*/commit/main"
WHOAMI = "GET /api/whoami"
INFO = r"GET /api/datasets/[^/]+/[^/]+(/revision/.*)?$"
STORE = {"lfs": "PUT /_s3/put", "xet": "POST /_cas/v1/xorbs"}
FETCH = {"lfs": "GET /_s3/get", "xet": "GET /_s3/xorb"}
FOREVER = 100_000
ONCE = {"retry": Retry(attempts=1, base_delay=0.05, max_delay=0.2)}
SUCCEEDS = ""


@dataclass(frozen=True)
class Case:
    """One fault and what must come of it.

    Attributes:
        name: As it stands in the table.
        match: The requests it hits; STORE or FETCH depend on the transport.
        fault: What the stand-in does to them.
        says: Regular expression of the message; SUCCEEDS when there must be none.
        options: Arguments of `publish` or `load`.
        thorough: Over these transports it is tried by `make test-all` only.
        transports: Where it applies.
    """

    name: str
    match: str | dict[str, str]
    fault: dict[str, Any]
    says: str = SUCCEEDS
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    thorough: tuple[str, ...] = ("xet",)
    transports: tuple[str, ...] = ("lfs", "xet")

    def pattern(self, transport: str) -> str:
        """The stand-in's `match` for one transport."""
        return self.match if isinstance(self.match, str) else self.match[transport]


NO_ANSWER = {"times": FOREVER, "delay": 60}
RETRY_AFTER = {"status": 429, "retry_after": 1, "times": 2}
HOUR = {"status": 429, "retry_after": 3600, "times": FOREVER}

PUBLISH = (
    Case("401 on the first question", WHOAMI, {"status": 401}, r"token was not accepted.*401"),
    Case("401 on the commit", COMMIT, {"status": 401}, r"token was not accepted.*401"),
    Case("403 on the commit", COMMIT, {"status": 403}, r"may not do this.*403"),
    Case("404 on the commit", COMMIT, {"status": 404}, r"nothing this token can see.*404"),
    Case("409 once on the commit", COMMIT, {"status": 409}),
    Case("412 once on the commit, nothing changed", COMMIT, {"status": 412}),
    Case("429 twice, Retry-After 1 s", COMMIT, RETRY_AFTER),
    Case("429, Retry-After 1 h", COMMIT, HOUR, r"limits how often.*in 3600 s"),
    Case("500 once on the commit", COMMIT, {"status": 500}),
    Case("503 once on the storage", STORE, {"status": 503}, thorough=()),
    Case(
        "500 forever on the commit",
        COMMIT,
        {"status": 500, "times": FOREVER},
        r"kept answering 500.*what was uploaded is kept",
    ),
    Case(
        "500 forever on the storage",
        STORE,
        {"status": 500, "times": FOREVER},
        r"kept answering 500",
        ONCE,
        thorough=("lfs",),  # the client itself tries five times, for 23 s
    ),
    Case("reset before the body", STORE, {"drop": "rst"}),
    Case(
        "reset in the middle of the body",
        STORE,
        {"drop": "rst", "upload": True, "after_bytes": 20_000},
        thorough=(),
    ),
    Case("reset after the body", STORE, {"drop": "rst", "lost_response": True}),
    Case("commit made, answer lost (reset)", COMMIT, {"drop": "rst", "lost_response": True}),
    Case("commit made, answer lost (closed)", COMMIT, {"drop": "fin", "lost_response": True}),
    Case("slow storage", STORE, {"delay": 0.7, "times": 2}),
    Case(
        "storage that never answers",
        STORE,
        NO_ANSWER,
        r"nothing moved for 4 s",
        {"stall_seconds": 4.0},
    ),
)

LOAD = (
    Case("401", INFO, {"status": 401}, r"token was not accepted.*401"),
    Case("403", INFO, {"status": 403}, r"may not do this.*403"),
    Case("404", INFO, {"status": 404}, r"nothing this token can see.*404"),
    Case("429 twice, Retry-After 1 s", INFO, RETRY_AFTER),
    Case("429, Retry-After 1 h", INFO, HOUR, r"limits how often.*in 3600 s"),
    Case("500 once", INFO, {"status": 500}),
    Case("503 once on the storage", FETCH, {"status": 503}, thorough=()),
    Case(
        "500 forever",
        INFO,
        {"status": 500, "times": FOREVER},
        r"kept answering 500",
    ),
    Case(
        "500 forever on the storage",
        FETCH,
        {"status": 500, "times": FOREVER},
        r"kept answering 500",
    ),
    Case("reset before the body", FETCH, {"drop": "rst"}),
    Case("reset in the middle of the body", FETCH, {"drop": "rst", "after_bytes": 9_000}),
    Case("reset in place of the answer", FETCH, {"drop": "rst", "lost_response": True}),
    Case("slow body", FETCH, {"bps": 40_000, "times": 2}),
    Case(
        "storage that never answers",
        FETCH,
        NO_ANSWER,
        r"nothing moved for 4 s",
        {"stall_seconds": 4.0},
    ),
    Case("one flipped bit, once", FETCH, {"corrupt": True}, thorough=()),
    Case(
        "one flipped bit, always",
        FETCH,
        {"corrupt": True, "times": FOREVER},
        r"damaged bytes arrived twice",
    ),
)
