"""Opening a location: which service, which credentials, how patient.

obstore does the work: it is one compiled package without dependencies, signs every request body,
sends large files in parts with bounded memory, and retries what is worth retrying. The usual fsspec
packages would bring an asynchronous HTTP stack of twelve packages pinned to each other.
Credentials come from the environment (`AWS_*`, `GOOGLE_*`, `AZURE_*`) or from the machine's role.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth.errors import MissingDependency, install_extra
from deepsynth.storage.failure import LocationError, explained

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az", "file")
PART_BYTES = 8 << 20
"""Size of one part of a large upload; with `PARTS_AT_ONCE` it bounds the memory of an upload."""
PARTS_AT_ONCE = 4

_CONNECT = timedelta(seconds=10)
# One request carries at most one part: 8 MiB in ten minutes allows links down to 14 kB/s.
_REQUEST = timedelta(minutes=10)
_RETRY: Any = {
    "max_retries": 8,
    "retry_timeout": timedelta(minutes=3),
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=10)},
}


def is_url(place: str) -> bool:
    """Whether `place` is written as a location in storage: `s3://bucket/name`."""
    return re.match(r"[a-z][a-z0-9+.-]*://", place) is not None


def as_url(path: Path) -> str | None:
    """The location a path was written as, or None: as a path, `s3://b/x` has lost a slash."""
    found = re.fullmatch(rf"({'|'.join(SCHEMES)}):/(.+)", path.as_posix())
    if found is None:
        return None
    return f"file:///{found[2]}" if found[1] == "file" else f"{found[1]}://{found[2]}"


def join(url: str, *parts: str) -> str:
    """`url` with names below it."""
    return "/".join([url.rstrip("/"), *(part.strip("/") for part in parts)])


def last_name(url: str) -> str:
    """The last name of a location: `tickets.csv` of `s3://bucket/data/tickets.csv`."""
    return url.rstrip("/").rpartition("/")[2]


def open_store(url: str) -> tuple[ObjectStore, str]:
    """The service `url` is at, and the name there of the object or folder it means.

    Raises:
        LocationError: The location is not written in a way that is understood.
        MissingDependency: obstore is not installed.
    """
    if find_spec("obstore") is None:
        raise MissingDependency(
            "object storage needs the package obstore.",
            where=url,
            hint=install_extra("storage"),
        )
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES or not rest.strip("/"):
        raise LocationError(
            "this is no location in storage.",
            where=url,
            hint="Write s3://BUCKET/NAME, gs://BUCKET/NAME, az://CONTAINER/NAME or file:///FOLDER.",
        )
    bucket, _, name = rest.partition("/")
    if ".." in name.split("/") or re.search(r"[?#@:]", bucket):
        raise LocationError(
            "a location is a bucket and names, without options, passwords or `..`.",
            where=f"{scheme}://...",
            hint="Credentials belong in the environment.",
        )
    if scheme == "file" and bucket:
        raise LocationError("a file location starts with file:///.", where=url)
    endpoint = _endpoint() if scheme == "s3" else None
    return _open(f"{scheme}://{bucket}", endpoint), name.strip("/")


@lru_cache(maxsize=32)
def _open(root: str, endpoint: str | None) -> ObjectStore:
    from obstore.store import LocalStore, from_url

    if root == "file://":
        return LocalStore("/")
    options: dict[str, Any] = {
        "client_options": {
            "connect_timeout": _CONNECT,
            "timeout": _REQUEST,
            "allow_http": bool(endpoint and endpoint.startswith("http://")),
        },
        "retry_config": _RETRY,
    }
    if endpoint:
        options["endpoint"] = endpoint
    with explained(root):
        return from_url(root, **options)


def _endpoint() -> str | None:
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    return next((value for name in names if (value := os.environ.get(name))), None)
