"""CSV, JSONL and Parquet files read from any row on, in little memory.

Lines of text have no index, so one pass over the file notes where every thousandth row starts
and takes the digest of the file on the way.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from deepsynth import parquet
from deepsynth.data.table import csv_records
from deepsynth.errors import DataError

STEP = 1000
"""Rows between two noted offsets."""
SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_LINES_IN_A_RECORD = 100_000
_BOM = b"\xef\xbb\xbf"

Record = tuple[Any, Any] | str
"""The two values of a row, or what is wrong with the row."""


@dataclass(frozen=True)
class FileIndex:
    """A data file and what is needed to start reading at any row.

    Attributes:
        path: The file.
        format: csv, jsonl or parquet.
        rows: Number of rows.
        sha256: Of the file; empty when a revision of the Hub identifies it.
        columns: Its columns, in order.
        offsets: Byte where row 0, 1000, 2000... starts; empty for parquet.
        delimiter: Of a CSV file.
    """

    path: str
    format: str
    rows: int
    sha256: str
    columns: tuple[str, ...]
    offsets: tuple[int, ...] = ()
    delimiter: str = ","

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> FileIndex:
        """The index from plain data, where tuples have become lists."""
        fields: dict[str, Any] = {
            **data,
            "columns": tuple(data["columns"]),
            "offsets": tuple(data["offsets"]),
        }
        return cls(**fields)


def index_file(path: Path, *, digest: bool = True) -> FileIndex:
    """Read a file once: count its rows and note where they start.

    Raises:
        DataError: The file is empty, broken, or of a format that is not read.
    """
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        known = ", ".join(SUFFIXES)
        raise DataError("is not a format that is read", where=path, hint=f"Formats: {known}.")
    try:
        index = {"csv": _index_csv, "jsonl": _index_jsonl, "parquet": _index_parquet}[kind](
            path, digest
        )
    except OSError as error:
        raise DataError(
            f"cannot be read: {error.strerror or error}", where=path, hint="Check the file."
        ) from error
    if not index.rows:
        raise DataError("has no rows", where=path, hint="Give a file with at least one document.")
    return index


class _Lines:
    """Decoded lines of a binary file, which tells how far it has been read and hashes it."""

    def __init__(self, stream: BinaryIO, path: Path | str, hasher: Any = None) -> None:
        self._stream, self._path, self._hasher = stream, path, hasher
        self.offset = stream.tell()
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        for raw in self._stream:
            if self._hasher:
                self._hasher.update(raw)
            self.number += 1
            self.offset += len(raw)
            try:
                yield raw.removeprefix(_BOM).decode() if self.number == 1 else raw.decode()
            except UnicodeDecodeError as error:
                raise DataError(
                    f"is not UTF-8: byte {raw[error.start]:#04x}",
                    where=f"{self._path}:{self.number}",
                    hint="Convert it, for example: iconv -f WINDOWS-1252 -t UTF-8 IN > OUT",
                ) from error


def _index_csv(path: Path, digest: bool) -> FileIndex:
    _allow_long_fields()
    hasher = hashlib.sha256()
    offsets: list[int] = []
    with path.open("rb") as stream:
        head = stream.readline().removeprefix(_BOM).decode(errors="replace")
        delimiter = max(",;\t|", key=head.count)
        stream.seek(0)
        lines = _Lines(stream, path, hasher)
        reader = (record for _, record in csv_records(iter(lines), path, delimiter))
        columns = tuple(next(reader, ()))
        if len(set(columns)) != len(columns):
            raise DataError("names a column twice", where=f"{path}:1", hint=", ".join(columns))
        rows = 0
        while True:
            start, line = lines.offset, lines.number
            if next(reader, None) is None:
                break
            if lines.number - line > _LINES_IN_A_RECORD:
                raise DataError(
                    f"a quotation mark opens here and is open for {_LINES_IN_A_RECORD:,} lines",
                    where=f"{path}:{line + 1}",
                    hint="Close it, or write two quotation marks for one inside a field.",
                )
            if rows % STEP == 0:
                offsets.append(start)
            rows += 1
    digested = hasher.hexdigest() if digest else ""
    return FileIndex(str(path), "csv", rows, digested, columns, tuple(offsets), delimiter)


def _index_jsonl(path: Path, digest: bool) -> FileIndex:
    hasher = hashlib.sha256()
    offsets: list[int] = []
    columns: tuple[str, ...] = ()
    rows = offset = 0
    with path.open("rb") as stream:
        for raw in stream:
            if raw.strip():
                if rows % STEP == 0:
                    offsets.append(offset)
                if not columns:
                    columns = _keys(raw)
                rows += 1
            if digest:
                hasher.update(raw)
            offset += len(raw)
    if rows and not columns:
        raise DataError(
            "no line is a JSON object",
            where=path,
            hint='JSONL has one object per line: {"text": "...", "summary": "..."}',
        )
    return FileIndex(str(path), "jsonl", rows, hasher.hexdigest(), columns, tuple(offsets))


def _keys(raw: bytes) -> tuple[str, ...]:
    try:
        value = json.loads(raw.removeprefix(_BOM))
    except (ValueError, RecursionError):
        return ()
    return tuple(value) if isinstance(value, dict) else ()


def _index_parquet(path: Path, digest: bool) -> FileIndex:
    from deepsynth.durable import sha256_file

    with parquet.open_parquet(path, "Was it cut short? Copy it again.") as file:
        rows, columns = file.metadata.num_rows, tuple(file.schema_arrow.names)
    return FileIndex(str(path), "parquet", rows, sha256_file(path) if digest else "", columns)


def read_rows(file: FileIndex, columns: tuple[str, str], start: int, stop: int) -> Iterator[Record]:
    """The two columns of rows `start` to `stop` (exclusive) of a file."""
    return {"csv": _read_csv, "jsonl": _read_jsonl, "parquet": _read_parquet}[file.format](
        file, columns, start, stop
    )


def _read_csv(file: FileIndex, columns: tuple[str, str], start: int, stop: int) -> Iterator[Record]:
    _allow_long_fields()
    places = [file.columns.index(column) for column in columns]
    with Path(file.path).open("rb") as stream:
        stream.seek(file.offsets[start // STEP])
        records = csv_records(iter(_Lines(stream, file.path)), file.path, file.delimiter)
        for number, (_, fields) in enumerate(records, start // STEP * STEP):
            if number >= stop:
                return
            if number < start:
                continue
            if len(fields) != len(file.columns):
                yield f"{len(fields)} fields instead of {len(file.columns)}"
            else:
                yield fields[places[0]], fields[places[1]]


def _read_jsonl(
    file: FileIndex, columns: tuple[str, str], start: int, stop: int
) -> Iterator[Record]:
    number = start // STEP * STEP
    with Path(file.path).open("rb") as stream:
        stream.seek(file.offsets[start // STEP])
        for raw in stream:
            if not raw.strip():
                continue
            if number >= stop:
                return
            if number >= start:
                yield _parse(raw, columns)
            number += 1


def _parse(raw: bytes, columns: tuple[str, str]) -> Record:
    try:
        value = json.loads(raw.removeprefix(_BOM))
    except UnicodeDecodeError:
        return "not UTF-8"
    except (ValueError, RecursionError):
        return "not JSON"
    if not isinstance(value, dict):
        return "not a JSON object"
    return value.get(columns[0]), value.get(columns[1])


def _read_parquet(
    file: FileIndex, columns: tuple[str, str], start: int, stop: int
) -> Iterator[Record]:
    with parquet.open_parquet(Path(file.path)) as opened:
        first = 0
        for group in range(opened.num_row_groups):
            last = first + opened.metadata.row_group(group).num_rows
            if first < stop and start < last:
                number = first
                wanted = list(dict.fromkeys(columns))
                for batch in parquet.batches(opened, file.path, groups=[group], columns=wanted):
                    low, high = max(start - number, 0), min(stop - number, batch.num_rows)
                    if low < high:
                        part = batch.slice(low, high - low)
                        yield from zip(*(_values(part.column(c)) for c in columns), strict=True)
                    number += batch.num_rows
            first = last


def _values(column: Any) -> list[Any]:
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        # One bad string would hide its whole batch; the others are read one by one.
        values: list[Any] = []
        for item in column:
            try:
                values.append(item.as_py())
            except UnicodeDecodeError:
                values.append(None)
        return values


def _allow_long_fields() -> None:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
