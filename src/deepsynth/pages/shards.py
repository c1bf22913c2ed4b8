"""Shards: one parquet file per thousand rows, whole or absent, each with a receipt.

A shard is a pure function of its row range and the settings, so it does not matter who writes it,
when, or how often it is tried. Rows are counted from the start of the split whatever chunk is being
made, so chunks made on different machines have the very shards one machine would have made.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from deepsynth import durable

if TYPE_CHECKING:
    from deepsynth.data.corpus import Corpus, Row
    from deepsynth.pages.render.renderer import Document, Renderer

ROWS_PER_SHARD = 1000
ROWS_PER_GROUP = 100
DATA, RECEIPTS = "data", ".receipts"
_TEMPORARY = ".tmp-"


@dataclass(frozen=True, order=True)
class ShardRange:
    """Rows `start` to `stop` (exclusive) of a split."""

    split: str
    start: int
    stop: int

    @property
    def name(self) -> str:
        """File name without ending; sorts in row order."""
        return f"{self.split}-{self.start:09d}-{self.stop:09d}"


@dataclass
class Receipt:
    """What became of the rows of one shard.

    Attributes:
        settings: Fingerprint of the settings the shard was made with.
        split: Its split.
        start: First row of the source.
        stop: Row of the source after the last.
        rows: Documents written.
        pages: Their pages.
        characters: Characters of their texts.
        bytes: Size of the parquet file; 0 when no row was good and there is no file.
        sha256: Of the parquet file.
        errors: Rows left out, as (row of the split, reason).
        shaped: Documents set by Pango.
        cut: Documents cut at the page limit.
        removed: Characters removed before drawing, by kind.
        missing: Characters no font covers, drawn as boxes.
    """

    settings: str
    split: str
    start: int
    stop: int
    rows: int = 0
    pages: int = 0
    characters: int = 0
    bytes: int = 0
    sha256: str = ""
    errors: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    shaped: int = 0
    cut: int = 0
    removed: dict[str, int] = field(default_factory=dict[str, int])
    missing: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def range(self) -> ShardRange:
        """The rows it accounts for."""
        return ShardRange(self.split, self.start, self.stop)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Receipt:
        """The receipt `as_dict` described."""
        fields: dict[str, Any] = {**data, "errors": [tuple(error) for error in data["errors"]]}
        return cls(**fields)


def plan_shards(splits: dict[str, int], start: int = 0, end: int | None = None) -> list[ShardRange]:
    """The shards that hold rows `start` to `end` of the splits laid end to end.

    Shards begin at whole thousands of their split, except where the range itself begins or ends.
    """
    shards: list[ShardRange] = []
    first = 0
    for split, rows in splits.items():
        low = max(start - first, 0)
        high = min((end if end is not None else first + rows) - first, rows)
        while low < high:
            stop = min((low // ROWS_PER_SHARD + 1) * ROWS_PER_SHARD, high)
            shards.append(ShardRange(split, low, stop))
            low = stop
        first += rows
    return shards


def shard_path(folder: Path, shard: ShardRange) -> Path:
    """Where the parquet file of a shard is."""
    return folder / DATA / f"{shard.name}.parquet"


def receipt_path(folder: Path, shard: ShardRange) -> Path:
    """Where its receipt is."""
    return folder / RECEIPTS / f"{shard.name}.json"


def read_receipt(path: Path) -> Receipt | None:
    """The receipt at `path`; None when it is absent or was cut short."""
    data = durable.read_json(path)
    if not isinstance(data, dict):
        return None
    try:
        return TypeAdapter(Receipt).validate_python(data)
    except ValidationError:
        return None


def receipts_in(folder: Path) -> Iterator[Receipt]:
    """All receipts of a dataset or chunk folder, by split and row."""
    for path in sorted((folder / RECEIPTS).glob("*.json")):
        receipt = read_receipt(path)
        if receipt is not None:
            yield receipt


def is_whole(folder: Path, receipt: Receipt) -> bool:
    """Whether the shard of a receipt is there, byte for byte."""
    path = shard_path(folder, receipt.range)
    if not receipt.rows:
        return True
    return (
        path.is_file()
        and path.stat().st_size == receipt.bytes
        and durable.sha256_file(path) == receipt.sha256
    )


def remove_leftovers(folder: Path) -> None:
    """Delete what killed writers left behind; call while no writer is at work here."""
    for path in [*(folder / DATA).glob(f"{_TEMPORARY}*"), *(folder / RECEIPTS).glob(".*.tmp")]:
        path.unlink(missing_ok=True)


def write_shard(
    folder: Path,
    shard: ShardRange,
    corpus: Corpus,
    renderer: Renderer,
    settings: str,
    progress: Callable[[int], None],
) -> Receipt:
    """Draw and write one shard, then its receipt; nothing half-written keeps its final name.

    Args:
        folder: The dataset or chunk folder, with its two sub-folders.
        shard: Which rows.
        corpus: Where they come from.
        renderer: Draws them.
        settings: Fingerprint of the dataset's settings.
        progress: Called with the number of rows done, every hundred.
    """
    import pyarrow.parquet as pq

    from deepsynth.pages import schema

    receipt = Receipt(settings, shard.split, shard.start, shard.stop)
    path = shard_path(folder, shard)
    temporary = path.with_name(f"{_TEMPORARY}{shard.name}-{os.getpid()}")
    shard_schema = schema.schema(settings)
    compression: Any = schema.COMPRESSION
    try:
        with pq.ParquetWriter(
            temporary,
            shard_schema,
            compression=compression,
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        ) as writer:
            for rows, seen in _groups(shard, corpus, renderer, receipt):
                if rows:
                    writer.write_table(
                        schema.row_group(rows, corpus.name, shard.split, shard_schema)
                    )
                progress(seen)
        if receipt.rows:
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            receipt.bytes = temporary.stat().st_size
            receipt.sha256 = durable.sha256_file(temporary)
            temporary.replace(path)
            _sync_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    durable.write_json(receipt_path(folder, shard), receipt.as_dict())
    return receipt


def _groups(
    shard: ShardRange, corpus: Corpus, renderer: Renderer, receipt: Receipt
) -> Iterator[tuple[list[tuple[Row, Document]], int]]:
    """Up to a hundred drawn documents at a time and the rows seen so far; fills the receipt."""
    from deepsynth.pages.render.clean import clean
    from deepsynth.pages.render.renderer import BadDocument

    removed: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    rows: list[tuple[Row, Document]] = []
    seen = 0
    for row in corpus.read(shard.split, shard.start, shard.stop):
        seen += 1
        problem = row.problem
        if not problem:
            try:
                name = f"{corpus.name}/{shard.split}/{row.index}"
                document = renderer.render(row.text, name)
                if not _encodable(row.summary):
                    row = type(row)(row.index, row.text, clean(row.summary)[0])
                rows.append((row, document))
                receipt.rows += 1
                receipt.pages += len(document.pages)
                receipt.characters += len(document.text)
                receipt.shaped += document.shaped
                receipt.cut += document.cut
                removed.update(document.removed)
                missing.update(document.missing)
            except BadDocument as error:
                problem = str(error)
        if problem:
            receipt.errors.append((row.index, problem))
        if len(rows) == ROWS_PER_GROUP:
            yield rows, seen
            rows = []
    receipt.removed = dict(sorted(removed.items()))
    receipt.missing = dict(sorted(missing.items()))
    yield rows, seen


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
