"""What object storage refuses, said so that a person knows what to change."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager

from deepsynth.errors import DeepSynthError, RequestError

_ENVIRONMENT = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for another service, AWS_ENDPOINT_URL"


class StorageError(DeepSynthError):
    """The storage could not be read or written, or gave back other bytes than were written."""


class LocationError(RequestError):
    """The location or the credentials given cannot work."""


_CAUSES: tuple[tuple[str, type[DeepSynthError], str, str], ...] = (
    (
        "RequestTimeTooSkewed",
        LocationError,
        "the clock of this machine is too far from the clock of the storage.",
        "Set the clock (for example: timedatectl set-ntp true), then do the same again.",
    ),
    (
        "InvalidAccessKeyId|InvalidAccessKey",
        LocationError,
        "the storage does not know this access key.",
        f"Check {_ENVIRONMENT}.",
    ),
    (
        "SignatureDoesNotMatch",
        LocationError,
        "the storage refuses the secret key.",
        "Check AWS_SECRET_ACCESS_KEY and AWS_REGION.",
    ),
    (
        "NoSuchBucket",
        LocationError,
        "there is no such bucket.",
        "Check the name, or have the bucket made first; buckets are not made for you.",
    ),
    (
        "AccessDenied|Forbidden|PermissionDenied|Unauthenticated",
        LocationError,
        "the storage does not allow this.",
        f"Check {_ENVIRONMENT}, and what the key is allowed to do there.",
    ),
    (
        "QuotaExceeded|InsufficientStorage|No space left",
        LocationError,
        "the storage is full.",
        "Free some space there, or choose another place.",
    ),
    (
        "error sending request|Connection refused|timed out|dns error|retries|retry",
        StorageError,
        "the storage cannot be reached.",
        "Check AWS_ENDPOINT_URL and the network, then do the same again: it goes on from there.",
    ),
)


@contextmanager
def explained(where: str) -> Generator[None]:
    """Turn what the storage library raises inside the block into an error of ours.

    A missing object stays a `FileNotFoundError`, unless it is the bucket that is missing. The
    library's own text, which may run over a page, is cut to its first line.

    Raises:
        LocationError: The place or the credentials are wrong.
        StorageError: It failed for another reason.
    """
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" not in str(error):
            raise
        raise _explain(str(error), where) from None
    except (BaseError, OSError) as error:
        if "Not a directory" in str(error):
            raise FileNotFoundError(where) from None
        raise _explain(f"{type(error).__name__} {error}", where) from None


def _explain(text: str, where: str) -> DeepSynthError:
    for pattern, kind, what, hint in _CAUSES:
        if re.search(pattern, text):
            return kind(what, where=where, hint=hint)
    first = text.strip().splitlines()[0][:300]
    return StorageError(f"the storage failed: {first}", where=where)
