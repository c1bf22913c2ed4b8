"""What a call of `generate` asks for, checked before anything is read or written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from deepsynth.data.corpus import Corpus
from deepsynth.errors import RequestError


@dataclass(frozen=True)
class Selection:
    """Which rows of a source.

    Attributes:
        max_samples: At most so many rows of every split.
        start: First row, counted over the splits laid end to end (train, validation, test).
        end: Row after the last; the end of the source when None.
        chunk_id: Name of the chunk these rows make; None for a whole dataset.
    """

    max_samples: int | None = None
    start: int | None = None
    end: int | None = None
    chunk_id: str | None = None

    def __post_init__(self) -> None:
        for name, value in (("--max-samples", self.max_samples), ("--end-index", self.end)):
            if value is not None and value < 1:
                raise RequestError(f"{value} rows are none", where=name, hint="Give 1 or more.")
        if self.start is not None and self.start < 0:
            raise RequestError(f"{self.start} is before the first row, 0", where="--start-index")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise RequestError(
                f"rows {self.start} to {self.end} are none",
                where="--start-index",
                hint="--end-index is the row after the last, and must be larger.",
            )
        if self.chunk_id is not None and not re.fullmatch(r"[\w.-]{1,64}", self.chunk_id):
            raise RequestError(
                f"{self.chunk_id!r} cannot be the name of a chunk",
                where="--chunk-id",
                hint="Use letters, digits, '.', '-' and '_'.",
            )

    @property
    def chunk(self) -> str | None:
        """Name of the chunk, made from the range when none was given; None for everything."""
        if self.chunk_id is not None:
            return self.chunk_id
        if self.start is None and self.end is None:
            return None
        return f"{self.start or 0}-{'end' if self.end is None else self.end}"

    def splits(self, corpus: Corpus) -> dict[str, int]:
        """Rows of each split of the dataset this selection belongs to."""
        limit = self.max_samples
        return {
            split: rows if limit is None else min(rows, limit)
            for split, rows in corpus.splits.items()
        }

    def range(self, splits: dict[str, int]) -> tuple[int, int]:
        """First row and row after the last, within the splits laid end to end.

        Raises:
            RequestError: The range lies outside.
        """
        total = sum(splits.values())
        start, end = self.start or 0, total if self.end is None else self.end
        if start >= total or end > total:
            parts = ", ".join(f"{split} {rows:,}" for split, rows in splits.items())
            raise RequestError(
                f"rows {start} to {end} are not all there: it has {total:,} rows ({parts})",
                where="--start-index" if start >= total else "--end-index",
                hint="Rows are counted over the splits laid end to end.",
            )
        return start, end
