"""Reading a table of documents, whatever its format, with the place of every row.

A row that cannot be read does not stop the reading: it becomes a finding with its line, so that
`deepsynth check` can show all of them and a run can refuse on the first.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, cast

from deepsynth import parquet
from deepsynth.checks import Finding, Severity
from deepsynth.errors import DataError

FORMATS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_MOJIBAKE = re.compile(r"Ã[\x80-\xbf©¨ª«®´¹ ]|â€|Â[\xa0-\xbf]|ï»¿")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_END_OF_FILE = "\0end of file"
_SNIFF_BYTES = 65_536


@dataclass
class Table:
    """Rows as columns of equal length.

    Attributes:
        name: The file, folder or Hub name they came from, for messages.
        columns: Values by column name.
        places: `file:line` of each row (`name:row` for formats without lines).
        problems: Rows that could not be read, and trouble with their text.
        label_names: Names of integer labels by column, where the data declare them.
    """

    name: str
    columns: dict[str, list[Any]]
    places: list[str]
    problems: list[Finding] = field(default_factory=list)
    label_names: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.places)


def read_table(path: Path, encoding: str | None = None) -> Table:
    """Read one CSV, TSV, JSONL or Parquet file.

    Args:
        path: The file; its suffix tells the format.
        encoding: Of a text file; UTF-8, with or without a byte order mark, when None.

    Raises:
        DataError: The file is missing, empty, binary, in another encoding, or of no known format.
    """
    _check_file(path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _read_parquet(path)
    text = _decode(path, encoding)
    if suffix in (".jsonl", ".ndjson"):
        table = _read_json_lines(path, text)
    else:
        table = _read_delimited(path, text)
    if not len(table):
        raise _no_rows(path, table.problems)
    _find_mojibake(table)
    return table


def concatenate(tables: list[Table], name: str) -> Table:
    """The rows of several tables, one after the other; a column one of them lacks is None there."""
    names = list(dict.fromkeys(column for table in tables for column in table.columns))
    columns: dict[str, list[Any]] = {column: [] for column in names}
    merged = Table(name, columns, [])
    for table in tables:
        for column in names:
            columns[column] += table.columns.get(column, [None] * len(table))
        merged.places += table.places
        merged.problems += table.problems
        merged.label_names |= table.label_names
    return merged


def _no_rows(path: Path, problems: list[Finding]) -> DataError:
    if not problems:
        return DataError("there are no rows in this file.", where=path)
    first = problems[0]
    what = f"not one row can be read; the first: {first.what}"
    return DataError(what, where=path.with_name(first.where), hint=first.fix)


def _check_file(path: Path) -> None:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        near = sorted(p.name for p in path.parent.glob("*") if p.suffix.lower() in FORMATS)
        hint = f"Data files there: {', '.join(near[:8])}." if near else "Check the path."
        raise DataError("there is no such file.", where=path, hint=hint) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}.", where=path) from error
    if path.suffix.lower() not in FORMATS:
        raise DataError(
            f"the format {path.suffix or 'without a suffix'} is not known.",
            where=path,
            hint=f"Give one of {', '.join(FORMATS)}, a folder of those, or a Hub dataset.",
        )
    if path.stat().st_size == 0:
        raise DataError("the file is empty.", where=path)


def _decode(path: Path, encoding: str | None) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}.", where=path) from error
    if encoding is None and data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(
            "this text is in UTF-16.", where=path, hint="Say so in the job: data.encoding: utf-16"
        )
    if encoding is None and b"\0" in data[:_SNIFF_BYTES]:
        raise DataError(
            "this is a binary file, not text.",
            where=path,
            hint="Export the table as CSV (UTF-8), JSONL or Parquet.",
        )
    try:
        return data.decode(encoding or "utf-8-sig")
    except LookupError:
        raise DataError(
            f"the encoding {encoding!r} is not known.",
            where="data.encoding",
            hint="Usual ones: utf-8, cp1252 (Windows, western Europe), latin-1, utf-16.",
        ) from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"byte 0x{data[error.start]:02x} is not {encoding or 'UTF-8'}.",
            where=f"{path}:{line}",
            hint="If Excel on Windows wrote it, say so in the job: data.encoding: cp1252",
        ) from None


def _read_delimited(path: Path, text: str) -> Table:
    first = text.partition("\n")[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(first)
    csv.field_size_limit(2**31 - 1)
    # A quote that is never closed would swallow the rest of the file, and this line with it.
    lines = chain(io.StringIO(text, newline=""), [_END_OF_FILE])
    records = csv_records(lines, path, delimiter)
    _, first_record = next(records, (1, []))
    header = [name.strip() for name in first_record]
    if not any(header):
        raise DataError("the first line must name the columns.", where=f"{path}:1")
    doubles = sorted({name for name in header if header.count(name) > 1})
    if doubles:
        raise DataError(f"the column {doubles[0]!r} is there twice.", where=f"{path}:1")
    values: list[list[str]] = [[] for _ in header]
    table = Table(path.name, dict(zip(header, values, strict=True)), [])
    for line, row in records:
        if row == [_END_OF_FILE]:
            break
        if row and row[-1].endswith(_END_OF_FILE):
            where = f"{path.name}:{line}"
            what = "a quote is opened here and never closed; the rest of the file was not read."
            table.problems.append(
                _unreadable(where, what, "Close it, or double a quote in a text.")
            )
        elif len(row) == len(header):
            for column, value in zip(values, row, strict=True):
                column.append(value)
            table.places.append(f"{path.name}:{line}")
        elif row:
            what = f"{len(row)} fields where the header has {len(header)}."
            table.problems.append(
                _unreadable(
                    f"{path.name}:{line}",
                    what,
                    f"Put quotes around fields that contain {delimiter!r}, quotes or line breaks.",
                )
            )
    return table


def csv_records(
    lines: Iterable[str], path: Path | str, delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV file, each with the line it starts on.

    Raises:
        DataError: A line ends in a way that CSV does not know, such as a lone carriage return.
    """
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        start = reader.line_num + 1
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"this is not CSV: {error}.",
                where=f"{path}:{reader.line_num}",
                hint="Write line breaks as LF or CR LF, and put quotes around fields with them.",
            ) from None
        if record is None:
            return
        yield start, record


def _delimiter(header: str) -> str:
    return max(",;\t|", key=header.count)


def _read_json_lines(path: Path, text: str) -> Table:
    if text.lstrip().startswith("["):
        raise DataError(
            "this is one JSON list, not JSON Lines.",
            where=path,
            hint="Write one object a line, for example with: jq -c '.[]'",
        )
    rows: list[dict[str, Any]] = []
    table = Table(path.name, {}, [])
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path.name}:{number}"
        problem = "this line is not a JSON object."
        try:
            row: Any = json.loads(line)
        except json.JSONDecodeError as error:
            row = None
            problem = f"this line is not JSON: {error.msg} at column {error.colno}."
        except (ValueError, RecursionError):
            row, problem = None, "a number is too long, or lists are too deep in each other."
        if _SURROGATE.search(line) and not _is_unicode(row):
            row, problem = None, "an escaped emoji is cut in half (\\ud83d without its other half)."
        if isinstance(row, dict):
            rows.append(cast(dict[str, Any], row))
            table.places.append(place)
        else:
            table.problems.append(_unreadable(place, problem, "Write one JSON object a line."))
    names = dict.fromkeys(name for row in rows for name in row)
    table.columns = {name: [row.get(name) for row in rows] for name in names}
    return table


def _is_unicode(row: Any) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def _read_parquet(path: Path) -> Table:
    data = parquet.read(parquet.open_parquet(path), path)
    if not data.num_rows:
        raise DataError("there are no rows in this file.", where=path)
    features = _huggingface_features(data.schema.metadata or {})
    names = {
        column: [str(name) for name in feature["names"]]
        for column, feature in features.items()
        if isinstance(feature, dict)
        and feature.get("_type") == "ClassLabel"
        and isinstance(feature.get("names"), list)
    }
    with parquet.explained(path):
        columns = data.to_pydict()
    places = [f"{path.name}:row {index}" for index in range(1, data.num_rows + 1)]
    return Table(path.name, columns, places, label_names=names)


def _huggingface_features(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    """The features that the `datasets` library stores in a Parquet schema."""
    try:
        stored = json.loads(metadata.get(b"huggingface", b"{}"))
        features = stored["info"]["features"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _unreadable(where: str, what: str, fix: str) -> Finding:
    return Finding(Severity.ERROR, "row-unreadable", where, what, fix)


def _find_mojibake(table: Table) -> None:
    def places(bad: Callable[[str], Any]) -> list[str]:
        rows = zip(table.places, *table.columns.values(), strict=True)
        return [place for place, *row in rows if any(isinstance(v, str) and bad(v) for v in row)]

    for code, what, fix, bad in (
        (
            "encoding-replaced",
            "rows contain the replacement character �: letters were lost in an earlier conversion.",
            "Export the table again from its source, as UTF-8.",
            lambda value: "�" in value,
        ),
        (
            "encoding-mojibake",
            "rows look like UTF-8 read as another encoding (Ã© for é).",
            "Export the table again as UTF-8, or set data.encoding.",
            _MOJIBAKE.search,
        ),
    ):
        found = places(bad)
        if found:
            table.problems.append(
                Finding(
                    Severity.WARNING,
                    code,
                    table.name,
                    f"{len(found)} {what}",
                    fix,
                    tuple(found[:5]),
                )
            )
