"""The columns of a dataset: the same in all its shards, and the same as what is published."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth import parquet
from deepsynth.errors import DataError
from deepsynth.hub.content import Content
from deepsynth.hub.remote import Remote, RemoteState
from deepsynth.hub.shards import read_remote_schema

if TYPE_CHECKING:
    import pyarrow as pa

VIEWER_ROW_GROUP_BYTES = 300_000_000
"""Row groups beyond this are refused by the Hub's dataset viewer."""


def compare(content: Content, remote: Remote, state: RemoteState) -> list[str]:
    """Check the columns of every shard, and against the published ones; notes worth showing.

    Raises:
        DataError: Shards differ among themselves or from what is published, an image column
            holds paths of this machine instead of bytes, or a file is no parquet file.
    """
    shards = [item for item in content.items if item.path.endswith(".parquet")]
    if not shards:
        return []
    notes: list[str] = []
    first = _schema(shards[0].source)
    for item in shards:
        schema = _schema(item.source)
        if difference := differ(first, schema):
            raise DataError(
                f"its columns are not those of {shards[0].path}: {difference}.", where=item.source
            )
        notes += _row_groups(item.source, item.path)
        _refuse_unembedded(item.source)
    published = sorted(path for path in state.files if path.endswith(".parquet"))
    if published and (difference := differ(read_remote_schema(remote, state, published[0]), first)):
        raise DataError(
            f"its columns are not those published in {published[0]}: {difference}.",
            where=remote.url,
            hint="Nothing was sent. Publish it under another name, or with --revision-date, so "
            "that trainings which read the published one go on working.",
        )
    return notes


def differ(one: pa.Schema, other: pa.Schema) -> str:
    """How `other` differs from `one` in names and types; empty when it does not."""
    ours = {field.name: str(field.type) for field in one}
    theirs = {field.name: str(field.type) for field in other}
    parts = [f"{name} is missing" for name in ours if name not in theirs]
    parts += [f"{name} is new" for name in theirs if name not in ours]
    parts += [
        f"{name} is {theirs[name]}, not {ours[name]}"
        for name in ours
        if name in theirs and ours[name] != theirs[name]
    ]
    return "; ".join(parts)


def same_columns(files: Iterable[Path]) -> None:
    """Make sure that local parquet files can be read as one dataset.

    Raises:
        DataError: Two of them have different columns.
    """
    first: tuple[Path, pa.Schema] | None = None
    for file in files:
        schema = _schema(file)
        first = first or (file, schema)
        if difference := differ(first[1], schema):
            raise DataError(
                f"its columns are not those of {first[0]}: {difference}.",
                where=file,
                hint="Only datasets with the same columns can be mixed.",
            )


def _schema(file: Path) -> pa.Schema:
    return parquet.open_parquet(file).schema_arrow


def _row_groups(file: Path, name: str) -> list[str]:
    metadata: Any = parquet.open_parquet(file).metadata
    sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
    largest = max(sizes, default=0)
    if largest <= VIEWER_ROW_GROUP_BYTES:
        return []
    return [
        f"{name}: a row group of {largest / 1e6:.0f} MB is too big for the Hub's viewer "
        f"(300 MB); the data can be used all the same"
    ]


def _refuse_unembedded(file: Path) -> None:
    """Refuse image columns whose bytes are missing: a path of this machine is no image."""
    shard = parquet.open_parquet(file)
    columns = [field.name for field in shard.schema_arrow if _is_image(field.type)]
    if not columns or shard.metadata.num_rows == 0:
        return
    sample = next(parquet.batches(shard, file, columns=columns)).slice(0, 4)
    for column in columns:
        for cell in sample.column(column).to_pylist():
            for image in cell if isinstance(cell, list) else [cell]:
                if image and image["bytes"] is None:
                    raise DataError(
                        f"column {column} holds a path instead of the image itself.",
                        where=file,
                        hint="Generate the dataset again: images are embedded in its shards.",
                    )
                if image and "/" in (image["path"] or ""):
                    raise DataError(
                        f"column {column} names a place on this machine: {image['path']}",
                        where=file,
                    )


def _is_image(type_: Any) -> bool:
    """Whether a column holds images as `datasets` stores them, one or a list a row."""
    import pyarrow as pa

    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        type_ = type_.value_type
    names = {type_.field(i).name for i in range(type_.num_fields)}
    return pa.types.is_struct(type_) and names >= {"bytes", "path"}
