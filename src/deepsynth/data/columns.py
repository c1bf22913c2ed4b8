"""Which column holds the texts and which the labels; what the labels are called."""

from __future__ import annotations

from collections import Counter
from typing import Any

from deepsynth.data.table import Table
from deepsynth.errors import DataError

TEXT_NAMES = [
    "text",
    "texts",
    "message",
    "body",
    "content",
    "sentence",
    "ticket",
    "tweet",
    "review",
    "utterance",
    "description",
    "document",
    "comment_text",
    "query",
    "texte",
    "contenu",
    "phrase",
    "avis",
    "corps",
]
LABEL_NAMES = [
    "label",
    "labels",
    "category",
    "class",
    "intent",
    "target",
    "sentiment",
    "topic",
    "ticket_type",
    "étiquette",
    "etiquette",
    "catégorie",
    "categorie",
    "classe",
    "libellé",
    "libelle",
]
_MAX_LABELS = 200
_MISSING_REFUSED = 0.2
MISSING = (None, "")


def find_text_column(table: Table, wanted: str | None) -> str:
    """The column of the texts: the one named, else the one named like one, else the longest.

    Raises:
        DataError: It is not there, or several could be it.
    """
    if wanted is not None:
        return _named(table, wanted, "data.text")
    named = _called(table, TEXT_NAMES)
    if len(named) > 1:
        raise _several(table, "texts", named, "data.text")
    if named:
        return named[0]
    lengths = {
        column: sum(map(len, texts)) / len(texts)
        for column, values in table.columns.items()
        if (texts := [value for value in values if isinstance(value, str)])
        and column not in _called(table, LABEL_NAMES)
    }
    if not lengths:
        raise DataError("no column holds texts.", where=table.name, hint=_columns(table))
    return max(lengths, key=lambda column: lengths[column])


def find_label_column(table: Table, wanted: str | None, text: str) -> str:
    """The column of the labels: the one named, else one named like one, else one with few values.

    Raises:
        DataError: It is not there, or several could be it.
    """
    if wanted is not None:
        return _named(table, wanted, "data.label")
    named = [column for column in _called(table, LABEL_NAMES) if column != text]
    candidates = named or [
        column
        for column, values in table.columns.items()
        if column != text and _looks_like_labels(values)
    ]
    if len(candidates) > 1:
        raise _several(table, "labels", candidates, "data.label")
    if not candidates:
        raise DataError(
            "no column looks like labels.",
            where=table.name,
            hint=f"{_columns(table)} Name it in the job: data.label: NAME",
        )
    return candidates[0]


def label_text(value: Any, names: list[str] | None) -> str | None:
    """A label as text: its declared name, or the value itself; None when it is missing.

    Args:
        value: String, integer, boolean, or None.
        names: Declared names of integer labels; an index outside them (−1 marks unlabelled rows
            in many sets) counts as missing.
    """
    if value in MISSING or value != value:  # NaN is the one value that is not itself
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if names is not None and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None
    return str(value).strip() or None


def label_order(values: list[str], names: list[str] | None) -> list[str]:
    """The labels in the order they are shown: as declared, else sorted, numbers by size."""
    present = set(values)
    if names is not None and present <= set(names):
        return list(names)
    if all(value.lstrip("-").isdecimal() for value in present):
        return sorted(present, key=int)
    return sorted(present)


def refuse_missing_labels(table: Table, column: str, missing: int) -> None:
    """Refuse a label column that is empty in a fifth of the rows or more.

    Raises:
        DataError: So many are missing that this is probably the wrong column or an unfinished job.
    """
    if missing and missing >= _MISSING_REFUSED * len(table):
        raise DataError(
            f"{missing} of {len(table)} rows have no value in the label column {column!r}.",
            where=table.name,
            hint="Label them, remove them, or name another column: data.label: NAME",
        )


def _called(table: Table, names: list[str]) -> list[str]:
    return [column for column in table.columns if column.strip().lower() in names]


def _named(table: Table, wanted: str, key: str) -> str:
    if wanted not in table.columns:
        raise DataError(
            f"there is no column {wanted!r} ({key}).", where=table.name, hint=_columns(table)
        )
    return wanted


def _several(table: Table, what: str, candidates: list[str], key: str) -> DataError:
    return DataError(
        f"several columns could be the {what}: {', '.join(candidates)}.",
        where=table.name,
        hint=f"Name the right one in the job: {key}: {candidates[0]}",
    )


def _columns(table: Table) -> str:
    return f"Columns: {', '.join(table.columns)}."


def _looks_like_labels(values: list[Any]) -> bool:
    known = [value for value in values if value not in MISSING]
    if not known or not all(isinstance(value, (str, int, bool)) for value in known):
        return False
    counts = Counter(known)
    return 2 <= len(counts) <= min(_MAX_LABELS, max(2, len(known) // 3))
