"""The columns of a dataset of pages, as Arrow and as the `datasets` library sees them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from deepsynth.data.corpus import Row
from deepsynth.pages.render.renderer import Document

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_FEATURES: dict[str, Any] = {
    "images": {"feature": {"_type": "Image"}, "_type": "List"},
    "text": {"dtype": "string", "_type": "Value"},
    "summary": {"dtype": "string", "_type": "Value"},
    "source_dataset": {"dtype": "string", "_type": "Value"},
    "original_split": {"dtype": "string", "_type": "Value"},
    "original_index": {"dtype": "int64", "_type": "Value"},
    "n_pages": {"dtype": "int32", "_type": "Value"},
}
COMPRESSION = {
    name: "none" if name == "images" else "zstd" for name in _FEATURES if name != "images"
} | {"images.list.element.bytes": "none", "images.list.element.path": "none"}
"""Page images are compressed already."""


def schema(settings: str) -> pa.Schema:
    """The Arrow schema of a shard, with what `datasets` needs to show images, not structs.

    Args:
        settings: Fingerprint of the dataset's settings, kept in every shard.
    """
    return pa.schema(
        [
            ("images", pa.list_(_IMAGE)),
            ("text", pa.string()),
            ("summary", pa.string()),
            ("source_dataset", pa.string()),
            ("original_split", pa.string()),
            ("original_index", pa.int64()),
            ("n_pages", pa.int32()),
        ],
        metadata={
            "huggingface": json.dumps({"info": {"features": _FEATURES}}),
            "deepsynth": json.dumps({"settings": settings}),
        },
    )


def row_group(
    rows: list[tuple[Row, Document]], source: str, split: str, shard_schema: pa.Schema
) -> pa.Table:
    """Documents as an Arrow table of `shard_schema`."""
    pages = [page for _, document in rows for page in document.pages]
    counts = [len(document.pages) for _, document in rows]
    # One copy of the images, instead of one per image and one more whenever the array grows.
    data = pa.Array.from_buffers(
        pa.binary(),
        len(pages),
        [None, pa.py_buffer(_offsets(map(len, pages))), pa.py_buffer(b"".join(pages))],
    )
    images = pa.StructArray.from_arrays(
        [data, pa.nulls(len(pages), pa.string())], fields=list(_IMAGE)
    )
    columns = [
        pa.ListArray.from_arrays(pa.array(_offsets(counts)), images),
        pa.array([document.text for _, document in rows], pa.string()),
        pa.array([row.summary for row, _ in rows], pa.string()),
        pa.array([source] * len(rows), pa.string()),
        pa.array([split] * len(rows), pa.string()),
        pa.array([row.index for row, _ in rows], pa.int64()),
        pa.array(counts, pa.int32()),
    ]
    return pa.Table.from_arrays(columns, schema=shard_schema)


def _offsets(lengths: Iterable[int]) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.concatenate([[0], np.cumsum(list(lengths))]).astype(np.int32)
