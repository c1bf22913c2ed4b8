"""Results as CSV, which people open in a spreadsheet."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_FORMULA = "=+-@\t\r＝＋－＠"
_NUMBER = re.compile(r"[-+]?(\d+([.,]\d+)*|[.,]\d+)([eE][-+]?\d+)?%?")


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table in which texts are texts to a spreadsheet, and numbers are numbers.

    A label or a document that begins like a formula would be computed when the table is opened,
    and may start programs or send what stands in other cells: it gets a `'` in front, which
    spreadsheets do not show.
    """
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([_cell(name) for name in header])
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(tuple(_FORMULA)):
        return value if _NUMBER.fullmatch(value) else f"'{value}"
    return value
