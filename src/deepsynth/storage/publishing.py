"""Publishing a folder: all of its files first, the one object that makes them count last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, Field, ValidationError, field_validator

from deepsynth import durable
from deepsynth.storage.failure import LocationError, StorageError, explained
from deepsynth.storage.stores import PART_BYTES, PARTS_AT_ONCE, join, open_store

POINTER = "published.json"


class _File(BaseModel):
    """Size and digest of a published file."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Pointer(BaseModel):
    """What `published.json` says, whoever wrote it."""

    generation: str = Field(pattern=r"^[0-9a-f]{16}$")
    files: dict[str, _File]

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, _File]) -> dict[str, _File]:
        for name in files:
            parts = name.split("/")
            if not name or ".." in parts or "" in parts or "\\" in name:
                raise ValueError("a file would lie outside its folder")
        return files


@dataclass(frozen=True)
class Publication:
    """A published folder.

    Attributes:
        url: Where it was published.
        generation: Name, below `url`, of the folder that holds the files.
        files: Size and sha256 of every file, by path relative to that folder.
    """

    url: str
    generation: str
    files: dict[str, dict[str, Any]]

    @property
    def location(self) -> str:
        """The folder that holds the files."""
        return join(self.url, self.generation)


def publish(
    folder: Path,
    url: str,
    *,
    replace: bool = False,
    only: Callable[[str], bool] = lambda name: True,
) -> Publication:
    """Upload every file below `folder` so that it appears at `url` whole, or not at all.

    Doing it again after a failure sends only what is missing. Memory stays below some 32 MiB,
    whatever the size of the files.

    Args:
        folder: What to publish, or a single file; symbolic links are followed.
        url: Where; see `open_store`.
        replace: Let this folder take the place of another one published there. The older
            generation stays where it is, for readers that are at it; see `remove`.
        only: Which files, by their relative name; all by default.

    Raises:
        LocationError: The place is wrong, or something else is published there.
        StorageError: The upload failed.
    """
    files = {name: entry for name, entry in durable.digest(folder).items() if only(name)}
    generation = durable.sha256_value(files)[:16]
    published = read_publication(url)
    if published and published.generation == generation:
        return published
    if published and not replace:
        raise LocationError(
            "another folder is published there.", where=url, hint="Choose another place."
        )
    base = folder if folder.is_dir() else folder.parent
    for name, entry in files.items():
        _upload(join(url, generation, name), base / name, entry)
    publication = Publication(url, generation, files)
    text = json.dumps({"generation": generation, "files": files}, ensure_ascii=False, indent=2)
    _point(publication, text, replace)
    return publication


def read_publication(url: str) -> Publication | None:
    """What is published at `url`, or None.

    Raises:
        LocationError: The place is wrong.
        StorageError: It cannot be read, or is not what `publish` writes.
    """
    import obstore

    try:
        with explained(url):
            raw = bytes(obstore.get(*open_store(join(url, POINTER))).bytes())
    except FileNotFoundError:
        return None
    try:
        told = _Pointer.model_validate_json(raw)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        what = f"{POINTER} there was not written by DeepSynth: {said}."
        raise StorageError(what, where=url) from None
    return Publication(url, told.generation, {n: f.model_dump() for n, f in told.files.items()})


def remove(publication: Publication) -> None:
    """Remove what was published: first the object that makes it count, then its files.

    If another folder has taken its place by now, only the files of this one are removed.

    Raises:
        StorageError: It cannot be removed, or not all of it.
    """
    import obstore

    current = read_publication(publication.url)
    with explained(publication.url):
        if current and current.generation == publication.generation:
            obstore.delete(*open_store(join(publication.url, POINTER)))
        for name in publication.files:
            obstore.delete(*open_store(join(publication.location, name)))


def _upload(url: str, path: Path, entry: dict[str, Any]) -> None:
    import obstore

    store, name = open_store(url)
    sent = hashlib.sha256()

    def parts(stream: BinaryIO) -> Iterator[bytes]:
        while part := stream.read(PART_BYTES):
            sent.update(part)
            yield part

    with explained(url), path.open("rb") as stream:
        with suppress(FileNotFoundError):
            if obstore.head(store, name)["size"] == entry["bytes"]:
                return
        # An object appears with its last byte or not at all, also when sent in parts.
        obstore.put(
            store,
            name,
            parts(stream),
            use_multipart=entry["bytes"] > PART_BYTES,
            chunk_size=PART_BYTES,
            max_concurrency=PARTS_AT_ONCE,
        )
        if sent.hexdigest() != entry["sha256"]:
            obstore.delete(store, name)
            raise StorageError("the file changed while it was sent.", where=path)


def _point(publication: Publication, text: str, replace: bool) -> None:
    import obstore
    from obstore.exceptions import AlreadyExistsError

    url = publication.url
    with explained(url):
        try:
            mode = "overwrite" if replace else "create"
            obstore.put(*open_store(join(url, POINTER)), text.encode(), mode=mode)
        except AlreadyExistsError:
            winner = read_publication(url)
            if winner is None or winner.generation != publication.generation:
                raise LocationError(
                    "somebody else published another folder there at the same moment.",
                    where=url,
                    hint="Choose another place.",
                ) from None
