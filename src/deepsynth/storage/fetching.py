"""Fetching what is in storage: streamed, verified, and put in place in one step."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from deepsynth import durable
from deepsynth.home import data_folder
from deepsynth.storage.failure import LocationError, StorageError, explained
from deepsynth.storage.publishing import read_publication
from deepsynth.storage.stores import is_url, join, last_name, open_store

_CHUNK = 4 << 20
_ATTEMPTS = 5


def fetch(url: str, folder: Path, *, only: Callable[[str], bool] = lambda name: True) -> Path:
    """Copy a published folder to `folder`, which appears whole and verified, or not at all.

    Args:
        url: Where it was published.
        folder: Must not exist yet, or be empty.
        only: Which files, by their relative name; all by default.

    Raises:
        LocationError: Nothing is published there, or `folder` is in use.
        StorageError: The storage failed, or gave other bytes than were published.
    """
    publication = read_publication(url)
    if publication is None:
        raise LocationError("nothing is published there.", where=url)
    wanted = {name: entry for name, entry in publication.files.items() if only(name)}
    with _appearing(folder) as temporary:
        for name, entry in wanted.items():
            target = _below(temporary, name)
            fetch_file(join(publication.location, name), target, entry["sha256"])
    return folder


def fetch_file(url: str, path: Path, sha256: str | None = None) -> str:
    """Copy one object to `path`; a connection that breaks is taken up where it broke.

    Returns:
        The sha256 of the bytes.

    Raises:
        LocationError: There is no such object.
        StorageError: The storage failed, or `sha256` was given and is not what came.
    """
    store, name = open_store(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = hashlib.sha256()
    try:
        with explained(url), path.open("wb") as stream:
            _stream(store, name, lambda chunk: (found.update(chunk), stream.write(chunk)))
            stream.flush()
            os.fsync(stream.fileno())
    except FileNotFoundError:
        raise LocationError("there is no such object.", where=url) from None
    if sha256 and found.hexdigest() != sha256:
        path.unlink()
        raise StorageError(
            "this is not what was published: its checksum is another one.",
            where=url,
            hint="The object was damaged or changed. Publish it again.",
        )
    return found.hexdigest()


def local_copy(url: str) -> Path:
    """A copy on this machine of the object, the published folder or the plain folder at `url`.

    The copy is kept below `DEEPSYNTH_HOME` under the identity the storage gives to the content,
    so the same content is fetched once and changed content anew.

    Raises:
        LocationError: There is nothing there.
        StorageError: The storage failed.
    """
    url = url.rstrip("/")
    home = data_folder() / "storage"
    publication = read_publication(url)
    if publication:
        place = home / _identity(url, publication.generation) / last_name(url)
        return place if place.exists() else fetch(url, place)
    objects = _objects(url)
    identity = [f"{name} {meta['size']} {meta['e_tag']}" for name, meta in sorted(objects.items())]
    place = home / _identity(url, *identity) / last_name(url)
    if not place.exists():
        with _appearing(place) as temporary:
            for name in objects:
                target = _below(temporary, name) if name else temporary
                fetch_file(join(url, name) if name else url, target)
    return place


def local_path(place: str) -> Path:
    """Where `place` is on this machine: a path as it is, a location in storage as its copy here.

    Raises:
        LocationError: There is nothing there.
        StorageError: The storage failed.
    """
    return local_copy(place) if is_url(place) else Path(place)


@contextmanager
def _appearing(target: Path) -> Generator[Path]:
    """A place for files that takes the name `target` only when all of them are there."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise LocationError("there is something already.", where=target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with durable.appearing(target) as draft:
        yield draft
        if not draft.exists():
            draft.mkdir()


def _stream(store: Any, name: str, write: Callable[[bytes], object]) -> None:
    """Pass on the bytes of an object; if the connection breaks, ask for the rest of the same."""
    import obstore
    from obstore.exceptions import BaseError

    done, total, e_tag = 0, None, None
    for attempt in range(_ATTEMPTS):
        try:
            options: Any = {"range": {"offset": done}, "if_match": e_tag} if done else None
            answer = obstore.get(store, name, options=options)
            total, e_tag = answer.meta["size"], answer.meta["e_tag"]
            for chunk in answer.stream(min_chunk_size=_CHUNK):
                write(bytes(chunk))
                done += len(chunk)
        except FileNotFoundError:
            raise
        except (BaseError, OSError):
            if attempt == _ATTEMPTS - 1:
                raise
            continue
        if done == total:
            return
    raise StorageError(f"only {done} of {total} bytes came.", where=name)


def _objects(url: str) -> dict[str, Any]:
    """The object at `url` under the empty name, else the objects below it by relative name."""
    import obstore

    store, name = open_store(url)
    with explained(url):
        with suppress(FileNotFoundError):
            return {"": obstore.head(store, name)}
        pages: Iterable[Any] = obstore.list(store, f"{name}/")
        metas = [meta for page in pages for meta in page]
    if not metas:
        raise LocationError("there is nothing there.", where=url)
    return {meta["path"].removeprefix(f"{name}/"): meta for meta in metas}


def _below(folder: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    if not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name:
        raise StorageError(f"{name!r} would lie outside its folder.", where=folder)
    return folder.joinpath(*parts)


def _identity(*words: str) -> str:
    return durable.sha256_value(list(words))[:20]
