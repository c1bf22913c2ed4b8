"""Rows of a generated dataset, read where they lie: random access over parquet shards.

`datasets.load_dataset` would first write every page a second time as Arrow. Shards hold a hundred
rows in a row group; a group is read when one of its rows is wanted, and a few stay in memory.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepsynth.errors import DataError

SPLITS = ("train", "validation", "test")
_KEPT_GROUPS = 8
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
            values += file.read(columns=[name]).column(name).to_pylist()
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
            try:
                table = self._opened[number].read_row_group(group)
            except (OSError, ValueError) as error:
                raise DataError(
                    f"the shard is damaged: {error}.",
                    where=self.files[number],
                    hint="Delete it and generate again; only what is missing is made.",
                ) from None
            self._groups[place] = table.to_pylist()
            if len(self._groups) > _KEPT_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(place)
        return self._groups[place]


def _open(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, memory_map=True)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(
            f"this is no whole parquet file: {str(error).splitlines()[0]}.",
            where=path,
            hint="Delete it and generate again; only what is missing is made.",
        ) from None
    missing = [name for name in _NEEDED if name not in file.schema_arrow.names]
    if missing:
        raise DataError(
            f"the dataset has no column {missing[0]!r}.",
            where=path,
            hint=f"Columns there: {', '.join(file.schema_arrow.names)}.",
        )
    return file
