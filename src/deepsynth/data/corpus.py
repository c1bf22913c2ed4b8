"""A corpus ready to be read by row ranges: which files hold which split, and where rows start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepsynth.data.formats import FileIndex, Record, read_rows
from deepsynth.errors import DataError

SPLITS = ("train", "validation", "test")
TEXT_COLUMNS = ("text", "article", "document", "content", "body", "texte")
SUMMARY_COLUMNS = ("summary", "highlights", "abstract", "target", "résumé", "resume")


@dataclass(frozen=True)
class Row:
    """One document: its place in the split, and either text and summary or what is wrong."""

    index: int
    text: str = ""
    summary: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Corpus:
    """Texts with summaries, in splits.

    Attributes:
        name: Short name; the folder of the generated dataset.
        origin: What it is read from, without any path of this machine.
        revision: Commit on the Hub, or digest of the files.
        text: Column of the documents.
        summary: Column of the summaries.
        files: Files of each split in reading order.
        language: ISO 639-1 code, or empty when not known.
        licence: Identifier as dataset cards write it.
        licence_note: What that means for who publishes.
        private_only: Whether the result may be published privately only.
    """

    name: str
    origin: str
    revision: str
    text: str
    summary: str
    files: dict[str, tuple[FileIndex, ...]]
    language: str = ""
    licence: str = "unknown"
    licence_note: str = ""
    private_only: bool = False

    def rows_in(self, split: str) -> int:
        """Number of rows of a split, bad ones included."""
        return sum(file.rows for file in self.files[split])

    @property
    def splits(self) -> dict[str, int]:
        """Rows by split, in the order train, validation, test."""
        return {split: self.rows_in(split) for split in SPLITS if split in self.files}

    def read(self, split: str, start: int, stop: int) -> Iterator[Row]:
        """Rows `start` to `stop` (exclusive) of a split; bad rows come with their problem."""
        first = 0
        for file in self.files[split]:
            last = first + file.rows
            if first < stop and start < last:
                begin = max(start, first)
                records = read_rows(
                    file, (self.text, self.summary), begin - first, min(stop, last) - first
                )
                for index, record in enumerate(records, begin):
                    yield self._row(index, record)
            first = last

    def _row(self, index: int, record: Record) -> Row:
        if isinstance(record, str):
            return Row(index, problem=record)
        for column, value in zip((self.text, self.summary), record, strict=True):
            if value is None:
                return Row(index, problem=f"no {column}")
            if not isinstance(value, str):
                return Row(index, problem=f"{column} is a {type(value).__name__}, not text")
            if not value.strip():
                return Row(index, problem=f"empty {column}")
        return Row(index, *record)

    def as_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` turns back: what a worker is started with."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Corpus:
        """The corpus `as_dict` described."""
        files = {
            split: tuple(FileIndex.from_dict(file) for file in given)
            for split, given in data["files"].items()
        }
        fields: dict[str, Any] = {**data, "files": files}
        return cls(**fields)


def choose_columns(
    columns: list[str], text: str | None, summary: str | None, where: object
) -> tuple[str, str]:
    """The text and summary columns: those named, else those called as such columns usually are.

    Raises:
        DataError: A column is not there; the message lists those that are.
    """
    chosen: list[str] = []
    for option, wanted, usual in (
        ("--text", text, TEXT_COLUMNS),
        ("--summary", summary, SUMMARY_COLUMNS),
    ):
        by_name = {column.lower(): column for column in reversed(columns)}
        found = wanted if wanted in columns else None
        if wanted is None:
            found = next((by_name[name] for name in usual if name in by_name), None)
        if found is None:
            missing = f"there is no column {wanted!r}" if wanted else "no column is called a usual"
            ending = "" if wanted else f" name for {option[2:]}"
            raise DataError(
                missing + ending,
                where=where,
                hint=f"Columns: {', '.join(columns)}. Name one with {option}.",
            )
        chosen.append(found)
    return chosen[0], chosen[1]


def split_of(path: Path) -> str | None:
    """The split a data file belongs to by its name or its folder's; None when neither says."""
    aliases = {"training": "train", "valid": "validation", "val": "validation", "dev": "validation"}
    for name in (path.name.lower(), path.parent.name.lower()):
        word = name.split(".")[0].split("-")[0]
        word = aliases.get(word, word)
        if word in SPLITS:
            return word
    return None
