"""What went wrong with the Hub, as plain data, and how it is said to the user.

The client raises `HfHubHTTPError`, two generations of httpx errors, `OSError`, and from its Rust
part plain `RuntimeError`; often one wrapped in another. `classify` reads the whole chain once, so
that the rest of the library decides on a kind, never on a class of somebody else's HTTP library.
"""

from __future__ import annotations

import email.utils
import errno
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from deepsynth.errors import DeepSynthError, RequestError
from deepsynth.hub.account import Account

TRANSIENT = frozenset({"rate", "server", "network"})
"""Kinds that may pass when the same thing is tried again."""

_STATUS_KINDS = {401: "denied", 403: "forbidden", 404: "missing", 409: "conflict", 412: "conflict"}
_DISK_ERRORS = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.ENOTDIR,
        errno.EIO,
        errno.EEXIST,
    }
)
_DISK_WORDS = (
    "no space left",
    "file i/o error",
    "merkledb",
    "read-only file system",
    "permission denied",
    "not a directory",
    "disk quota",
)
_DAMAGE_WORDS = ("malformed data", "hash mismatch", "checksum", "format error")
_STATUS_WORDS = re.compile(
    r"\b([45]\d\d) (?:unauthorized|forbidden|not found|too many|internal|bad gateway|service"
    r"|gateway)|status code:? ([45]\d\d)\b"
)
_NETWORK_WORDS = ("connection", "timed out", "timeout", "error sending request", "dns error")


class HubError(DeepSynthError):
    """The Hub, the network or a local cache failed; the same command may succeed later."""


@dataclass(frozen=True)
class Failure:
    """One failure, ready to cross a process border.

    Attributes:
        kind: offline, denied, forbidden, missing, conflict, rate, server, network, disk, refused,
            corrupt, stalled, crashed or unknown.
        detail: The client's or the server's own words, on one line.
        status: HTTP status, where there was an answer.
        retry_after: Seconds the server asked to wait.
    """

    kind: str
    detail: str = ""
    status: int | None = None
    retry_after: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The failure as plain data."""
        return asdict(self)

    @property
    def transient(self) -> bool:
        """Whether trying the same again may help."""
        return self.kind in TRANSIENT


class Corrupt(Exception):
    """Bytes that arrived are not the bytes that were promised."""


def classify(error: BaseException) -> Failure:
    """The failure behind an exception of the client, whatever it is wrapped in."""
    chain = list(_chain(error))
    detail = _one_line(error)
    if any(type(cause).__name__ == "OfflineModeIsEnabled" for cause in chain):
        return Failure("offline", detail)
    if any(isinstance(cause, Corrupt) for cause in chain):
        return Failure("corrupt", detail)
    for cause in chain:
        response: Any = getattr(cause, "response", None)
        status = getattr(response, "status_code", None)
        if isinstance(status, int):
            said = getattr(cause, "server_message", None) or _one_line(cause)
            return Failure(_kind_of(status), said, status, _retry_after(response.headers))
    for cause in chain:
        if isinstance(cause, OSError) and cause.errno in _DISK_ERRORS:
            return Failure("disk", _one_line(cause))
    words = " ".join(str(cause) for cause in chain).lower()
    if any(word in words for word in _DISK_WORDS):
        return Failure("disk", detail)
    if any(word in words for word in _DAMAGE_WORDS):
        return Failure("corrupt", detail)
    if found := _STATUS_WORDS.search(words):  # the Xet part tells of an answer only in words
        status = int(found[1] or found[2])
        return Failure(_kind_of(status), detail, status)
    for cause in chain:
        home = type(cause).__module__.split(".")[0]
        if isinstance(cause, ConnectionError | TimeoutError) or home in ("httpx", "httpx2"):
            return Failure("network", _one_line(cause))
    if any(word in words for word in _NETWORK_WORDS):
        return Failure("network", detail)
    return Failure("refused" if isinstance(error, ValueError) else "unknown", detail)


def explain(failure: Failure, *, doing: str, where: str, account: Account) -> DeepSynthError:
    """The error a user reads: what was being done, what went wrong, what to do next."""
    tokens = f"{account.endpoint}/settings/tokens"
    detail = account.redact(failure.detail)
    match failure.kind:
        case "offline":
            return RequestError(
                f"the Hub client is told to stay offline, while {doing}.",
                where="HF_HUB_OFFLINE",
                hint="unset HF_HUB_OFFLINE (and TRANSFORMERS_OFFLINE); to read only what an "
                "earlier load left here, --offline says so for one command.",
            )
        case "denied":
            return RequestError(
                f"the token was not accepted while {doing} (401).",
                where=where,
                hint=f"It is mistyped, expired or revoked. Make a new one at {tokens} and set "
                "HF_TOKEN. Nothing was taken from a cache in its place.",
            )
        case "forbidden":
            return RequestError(
                f"the token may not do this while {doing} (403): {detail}",
                where=where,
                hint=f"Use a token with write access to this namespace ({tokens}); for a gated "
                "repository, ask for access on its page.",
            )
        case "missing":
            return RequestError(
                f"nothing this token can see is there while {doing} (404).",
                where=where,
                hint="Check the name and the revision; a private repository of someone else looks "
                "the same as none. `deepsynth generate --list` shows yours.",
            )
        case "conflict":
            return HubError(
                f"someone else changed the repository while {doing} ({failure.status}).",
                where=where,
                hint="Nothing of theirs was touched. Run the same command again.",
            )
        case "rate":
            wait = failure.retry_after
            when = f"in {wait:.0f} s" if wait else "in a while"
            return HubError(
                f"the Hub limits how often this may be done (429) while {doing}: {detail}",
                where=where,
                hint=f"Run the same command again {when}; what was uploaded is kept.",
            )
        case "disk":
            return HubError(
                f"a folder on this machine is full or not writable while {doing}: {detail}",
                where=where,
                hint="Run `deepsynth doctor`: it names the cache folder and its free space. Free "
                "some, or point HF_HOME (or HF_XET_CACHE) at another disk.",
            )
        case "corrupt":
            return HubError(
                f"damaged bytes arrived twice while {doing}: {detail}",
                where=where,
                hint="Run the same command again; if it stays, the stored file itself is damaged: "
                "publish it again.",
            )
        case "refused":
            return RequestError(
                f"the Hub refused while {doing}: {detail}", where=where, hint=_refused_hint(detail)
            )
        case "server":
            return HubError(
                f"the Hub kept answering {failure.status or 'with errors'} while {doing}.",
                where=where,
                hint="It is a trouble on its side: run the same command again later; what was "
                "uploaded is kept. https://status.huggingface.co tells more.",
            )
        case "network":
            return HubError(
                f"the connection failed again and again while {doing}: {detail}",
                where=where,
                hint="Check the network and HF_ENDPOINT (`deepsynth doctor`), then run the same "
                "command again; what was uploaded is kept.",
            )
        case "stalled":
            return HubError(
                f"nothing moved for {detail} while {doing}; the transfer was ended.",
                where=where,
                hint="Run the same command again, with `--transport lfs` if it was Xet.",
            )
        case _:
            return HubError(
                f"the Hub client failed while {doing}: {detail}",
                where=where,
                hint="Run `deepsynth doctor`, then the same command again with `--transport lfs`.",
            )


def _refused_hint(detail: str) -> str:
    if "metadata" in detail.lower() or "yaml" in detail.lower():
        return "Correct the block between the '---' lines of README.md; `licence` is from a list."
    return "Nothing was committed."


def _kind_of(status: int) -> str:
    if status == 429:
        return "rate"
    if status >= 500 or status == 408:
        return "server"
    return _STATUS_KINDS.get(status, "refused")


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."


def _retry_after(headers: Any) -> float | None:
    """Seconds from `Retry-After` (a number or a date) or the `RateLimit` header's `t=`."""
    value = headers.get("retry-after")
    if value:
        try:
            return max(0.0, float(value))
        except ValueError:
            moment = email.utils.parsedate_to_datetime(value)
            return max(0.0, moment.timestamp() - time.time())
    for part in (headers.get("ratelimit") or "").split(";"):
        if part.strip().startswith("t=") and part.strip()[2:].isdigit():
            return float(part.strip()[2:])
    return None
