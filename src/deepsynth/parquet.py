"""Parquet files of others: damaged ones are named, and none fills the memory.

A file of some kilobytes may describe terabytes: compression and dictionaries repeat a value for
almost nothing. What is read is therefore counted as it grows.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

LARGEST = 2 << 30
"""Bytes in memory that are read at once, of a row group or of a whole table."""
_ROWS = 1000


@contextmanager
def explained(path: Path | str, hint: str = "") -> Generator[None]:
    """Say of what Arrow cannot read in which file it is.

    Raises:
        DataError: The file is damaged, or is none.
    """
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        if getattr(error, "errno", None) in (ENOSPC, EDQUOT):  # of a copy that is written
            raise
        said = (str(error).splitlines() or [type(error).__name__])[0]
        said = said.rstrip(".")
        raise DataError(
            f"this is not a whole Parquet file: {said}.", where=path, hint=hint
        ) from None


def open_parquet(path: Path, hint: str = "") -> pq.ParquetFile:
    """A Parquet file, of which only the description was read.

    Raises:
        DataError: It is damaged, or is none.
    """
    import pyarrow.parquet as pq

    with explained(path, hint):
        file: Any = pq.ParquetFile(path, memory_map=True)
        _ = file.schema_arrow.names
        return file


def pieces(
    file: pq.ParquetFile, path: Path | str, group: int, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of one row group, so many at a time as keep within `LARGEST`.

    Raises:
        DataError: They do not, since a value is repeated again and again.
    """
    described = max(1, file.metadata.row_group(group).total_byte_size)
    rows = max(1, min(_ROWS, LARGEST // described))
    chosen = None if columns is None else [*columns]
    for batch in file.iter_batches(batch_size=rows, row_groups=[group], columns=chosen):
        if batch.nbytes > LARGEST:
            raise _too_large(path)
        yield batch


def batches(
    file: pq.ParquetFile,
    path: Path | str,
    *,
    columns: Sequence[str] | None = None,
    groups: Sequence[int] | None = None,
    hint: str = "",
) -> Iterator[pa.RecordBatch]:
    """The rows of some row groups, a few at a time.

    Args:
        file: As it was opened.
        path: For the message.
        columns: All by default.
        groups: Row groups by number; all by default.
        hint: What to do about a damaged one.

    Raises:
        DataError: The file is damaged, or a few of its rows are larger than `LARGEST`.
    """
    for group in range(file.num_row_groups) if groups is None else groups:
        found = pieces(file, path, group, columns)
        while True:
            with explained(path, hint):
                batch = next(found, None)
            if batch is None:
                break
            yield batch


def read(
    file: pq.ParquetFile,
    path: Path | str,
    *,
    columns: Sequence[str] | None = None,
    groups: Sequence[int] | None = None,
    hint: str = "",
) -> pa.Table:
    """The rows of some row groups in memory; see `batches`.

    Raises:
        DataError: The file is damaged, or its rows are together larger than `LARGEST`.
    """
    import pyarrow as pa

    with explained(path, hint):
        schema: Any = file.schema_arrow
        if columns is not None:
            schema = pa.schema([schema.field(name) for name in columns], schema.metadata)
    found = batches(file, path, columns=columns, groups=groups, hint=hint)
    return together(found, path, schema)


def together(found: Iterable[pa.RecordBatch], path: Path | str, schema: pa.Schema) -> pa.Table:
    """Pieces as one table.

    Raises:
        DataError: They are together larger than `LARGEST`.
    """
    import pyarrow as pa

    kept: list[pa.RecordBatch] = []
    size = 0
    for batch in found:
        size += batch.nbytes
        if size > LARGEST:
            raise _too_large(path)
        kept.append(batch)
    return pa.Table.from_batches(kept, schema)


def _too_large(path: Path | str) -> DataError:
    return DataError(
        f"a part of it takes more than {LARGEST >> 30} GiB in memory.",
        where=path,
        hint="Write it in smaller row groups, or leave out the columns that are not needed.",
    )
