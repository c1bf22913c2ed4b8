"""The rows of a dataset, read where they lie, as samples: pages with their summary.

`datasets.load_dataset` would first write every page a second time as Arrow. Shards hold a hundred
rows in a row group; a group is read when one of its rows is wanted, and a few stay in memory.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepsynth import images, parquet
from deepsynth.errors import DataError

SPLITS = ("train", "validation", "test")
_KEPT_GROUPS = 8
_AGAIN = "Delete it and generate again; only what is missing is made."
_ALL = "Find all of them: deepsynth check; then generate those shards again."
_SPLIT = re.compile(r"^(train|validation|valid|val|dev|test)(?=[-_.0-9]|$)")
_NEEDED = ("images", "summary")


def find_shards(folder: Path) -> dict[str, list[Path]]:
    """Parquet files of each split of a dataset folder, by the beginning of their names.

    Raises:
        DataError: There is none, or no file says that it is for training.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.parquet")):
        match = _SPLIT.match(path.name)
        if match and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            name = {"valid": "validation", "val": "validation", "dev": "validation"}.get(
                match[1], match[1]
            )
            found.setdefault(name, []).append(path)
    if "train" not in found:
        held = ", ".join(found) or "no shard"
        raise DataError(
            f"the dataset has no training split (found: {held}).",
            where=folder,
            hint="Make one: deepsynth generate",
        )
    return {name: found[name] for name in SPLITS if name in found}


class ShardRows:
    """The rows of several shards, as one sequence of dictionaries.

    Args:
        files: Shards in order.
        rows: Only these rows, by their position in all files; None: all.
    """

    def __init__(self, files: Sequence[Path], rows: Sequence[int] | None = None) -> None:
        self.files = list(files)
        self._starts: list[tuple[int, int, int]] = []
        total = 0
        for number, path in enumerate(self.files):
            metadata = _open(path).metadata
            for group in range(metadata.num_row_groups):
                self._starts.append((total, number, group))
                total += metadata.row_group(group).num_rows
        self._firsts = [start for start, _, _ in self._starts]
        self._rows = list(range(total)) if rows is None else list(rows)
        self._process = 0
        self._opened: dict[int, Any] = {}
        self._groups: OrderedDict[int, list[dict[str, Any]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The row, its images as `datasets` stores them: `{"bytes": ..., "path": None}`."""
        row = self._rows[index]
        place = bisect_right(self._firsts, row) - 1
        start = self._firsts[place]
        return self._group(place)[row - start]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": {}, "_groups": OrderedDict()}

    def where(self, index: int) -> str:
        """File and row, as an error names them."""
        row = self._rows[index]
        _, number, _ = self._starts[bisect_right(self._firsts, row) - 1]
        first = next(s for s, n, _ in self._starts if n == number)
        return f"{self.files[number].name}, row {row - first}"

    def column(self, name: str) -> list[Any]:
        """One column of all rows, without reading the pages."""
        values: list[Any] = []
        for path in self.files:
            file = _open(path)
            if name not in file.schema_arrow.names:
                raise DataError(f"there is no column {name!r}.", where=path)
            for batch in parquet.batches(file, path, columns=[name], hint=_AGAIN):
                with parquet.explained(path, _AGAIN):
                    values += batch.column(name).to_pylist()
        return [values[row] for row in self._rows]

    def _group(self, place: int) -> list[dict[str, Any]]:
        if self._process != os.getpid():
            # A worker must not share file positions with its parent.
            self._process = os.getpid()
            self._opened, self._groups = {}, OrderedDict()
        if place not in self._groups:
            _, number, group = self._starts[place]
            if number not in self._opened:
                self._opened[number] = _open(self.files[number])
            table = parquet.read(
                self._opened[number], self.files[number], groups=[group], hint=_AGAIN
            )
            with parquet.explained(self.files[number], _AGAIN):
                rows = table.to_pylist()
            if len(rows) != self._opened[number].metadata.row_group(group).num_rows:
                raise DataError(
                    "it holds other rows than it says.", where=self.files[number], hint=_AGAIN
                )
            self._groups[place] = rows
            if len(self._groups) > _KEPT_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(place)
        return self._groups[place]


def _open(path: Path) -> Any:
    file = parquet.open_parquet(path, _AGAIN)
    missing = [name for name in _NEEDED if name not in file.schema_arrow.names]
    if missing:
        raise DataError(
            f"the dataset has no column {missing[0]!r}.",
            where=path,
            hint=f"Columns there: {', '.join(file.schema_arrow.names)}.",
        )
    return file


@dataclass(frozen=True)
class Page:
    """A page: its identity, its size, its encoded bytes unless they are not needed, its row."""

    key: str
    size: tuple[int, int]
    data: bytes = b""
    where: str = ""


@dataclass(frozen=True)
class Sample:
    """One document: pages and the summary to learn."""

    index: int
    pages: tuple[Page, ...]
    summary: str

    @property
    def identity(self) -> str:
        """Digest of the pages and the summary, 60 bits of it as hexadecimal digits."""
        whole = "\n".join([*(page.key for page in self.pages), self.summary])
        return hashlib.sha256(whole.encode()).hexdigest()[:15]


class PageSamples:
    """A torch-style dataset over rows with `images` and `summary`.

    Args:
        rows: Any sequence of mappings: `ShardRows`, a `datasets.Dataset`, a list of dicts.
        name: What errors call it, usually the folder of the dataset.
        limit: Use at most so many rows, evenly drawn: datasets may lie end to end.
    """

    def __init__(self, rows: Any, name: str, limit: int | None = None) -> None:
        self._rows = _without_decoding(rows)
        self._places = evenly(len(rows) if limit is None else limit, len(rows))
        self._pages: list[tuple[Page, ...]] | None = None
        self._only_identity = False
        self._summaries: list[str] | None = None
        self.name = name

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:
        if self._only_identity:
            return Sample(index, self.pages()[index], self.summaries()[index])
        return self.read(index)

    def read(self, index: int) -> Sample:
        """The sample with the bytes of its pages."""
        row = self.row(index)
        pages = tuple(_page(image, self.where(index)) for image in _images(row))
        return Sample(index, pages, row["summary"] or "")

    def some(self, count: int) -> PageSamples:
        """At most `count` of the samples, evenly drawn, as samples of their own."""
        chosen = PageSamples(self._rows, self.name, 0)
        chosen._places = [self._places[place] for place in evenly(count, len(self))]
        return chosen

    def identity(self, index: int) -> str:
        """What tells the row from every other one: its pages and its summary."""
        return self[index].identity

    def row(self, index: int) -> Mapping[str, Any]:
        """The whole row, pages included."""
        return self._rows[self._places[index]]

    def where(self, index: int) -> str:
        """How an error names the row."""
        place = self._places[index]
        if hasattr(self._rows, "where"):
            return self._rows.where(place)
        return f"{self.name}, row {place}"

    def texts(self) -> list[str] | None:
        """The text of each document, without touching the pages; None where they are not kept."""
        try:
            found = self._column("text")
        except (DataError, KeyError):
            return None
        return found if any(found) else None

    def summaries(self) -> list[str]:
        """All summaries, without touching the pages."""
        if self._summaries is None:
            self._summaries = self._column("summary")
        return self._summaries

    def pages(self) -> list[tuple[Page, ...]]:
        """Identity and size of every page, without bytes; reads all of them the first time."""
        if self._pages is None:
            self._pages = [
                tuple(Page(page.key, page.size) for page in self.read(index).pages)
                for index in range(len(self))
            ]
        return self._pages

    def forget_bytes(self) -> None:
        """From now on hand out pages without bytes: their features are cached.

        Reading a page of 60 kB for its identity alone would cost as much as its features.
        """
        self._only_identity = True

    def _column(self, name: str) -> list[str]:
        if hasattr(self._rows, "files"):
            column = self._rows.column(name)
        elif hasattr(self._rows, "select_columns"):
            if name not in self._rows.column_names:
                raise KeyError(name)
            column = self._rows.select_columns([name])[:][name]
        else:
            return [self._rows[place][name] or "" for place in self._places]
        return [column[place] or "" for place in self._places]


def evenly(count: int, total: int) -> list[int]:
    """At most `count` of `total` places, as far apart as they can be."""
    count = min(count, total)
    return [place * total // count for place in range(count)]


def decode_page(page: bytes, where: str | None = None) -> Any:
    """The page as a PIL image.

    Raises:
        DataError: The bytes are no complete image.
    """
    return images.decode(page, where or f"page {hashlib.sha256(page).hexdigest()[:12]}", _ALL)


def _images(row: Mapping[str, Any]) -> Sequence[Any]:
    pages = row.get("images")
    if pages is None and row.get("image") is not None:
        return [row["image"]]
    return pages if isinstance(pages, list | tuple) else []


def _page(image: Any, where: str) -> Page:
    data = _encoded(image, where)
    with images.opened(data, where, _ALL) as opened:
        size = opened.size
    return Page(hashlib.sha256(data).hexdigest(), size, data, where)


def _encoded(image: Any, where: str) -> bytes:
    """The bytes of a page given as bytes, dict of `datasets`, `Path`, or PIL image.

    Text is no page: a file of rows would choose which file of this machine is read.
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, Mapping):
        if image.get("bytes"):
            return image["bytes"]
        image = image.get("path")
    if isinstance(image, str):
        raise DataError(
            f"a page is given by a path, without its bytes: {image[:80]!r}.",
            where=where,
            hint="Put the image itself into the dataset: its bytes, or an image that was opened.",
        )
    if isinstance(image, Path):
        try:
            return Path(image).read_bytes()
        except OSError as error:
            raise DataError(f"a page cannot be read: {error.strerror}.", where=where) from None
    if not hasattr(image, "save"):
        raise DataError("a page is missing.", where=where)
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def _without_decoding(rows: Any) -> Any:
    """A `datasets.Dataset` hands out pages as they are stored, so that each is decoded once."""
    features = getattr(rows, "features", None)
    if features is None or "images" not in features:
        return rows
    from datasets import Image, List

    return rows.cast_column("images", List(Image(decode=False)))
