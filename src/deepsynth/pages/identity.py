"""What a dataset of pages is made from: the settings that, together, decide all its bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.data.corpus import Corpus
from deepsynth.errors import RequestError
from deepsynth.pages.render.settings import PageSettings
from deepsynth.pages.shards import DATA, RECEIPTS, ROWS_PER_GROUP, ROWS_PER_SHARD

SETTINGS = "settings.json"


def describe(corpus: Corpus, pages: PageSettings, splits: dict[str, int]) -> dict[str, Any]:
    """The settings of a dataset as plain data.

    Args:
        corpus: The source.
        pages: How pages look.
        splits: Rows of each split that are asked for, after `--max-samples`.
    """
    return {
        "source": {
            "name": corpus.name,
            "origin": corpus.origin,
            "revision": corpus.revision,
            "text_column": corpus.text,
            "summary_column": corpus.summary,
            "language": corpus.language,
            "licence": corpus.licence,
            "licence_note": corpus.licence_note,
            "private_only": corpus.private_only,
        },
        "rows": splits,
        "pages": pages.as_dict(),
        "rows_per_shard": ROWS_PER_SHARD,
        "rows_per_group": ROWS_PER_GROUP,
    }


def claim(folder: Path, settings: dict[str, Any]) -> None:
    """Make `folder` the place of this dataset, or make sure that it is.

    Raises:
        RequestError: It holds a dataset of other settings, or files that are not ours.
    """
    known = durable.read_json(folder / SETTINGS)
    if known is None:
        if folder.is_dir() and any(not p.name.startswith(".") for p in folder.iterdir()):
            raise RequestError(
                "this folder holds files that are not a dataset of pages",
                where=folder,
                hint="Choose another --output-dir.",
            )
        for part in (DATA, RECEIPTS):
            (folder / part).mkdir(parents=True, exist_ok=True)
        durable.write_json(folder / SETTINGS, settings)
    elif known != settings:
        raise RequestError(
            f"this folder holds a dataset of other settings: {differences(known, settings)}",
            where=folder,
            hint="Choose another --output-dir, or move that folder away.",
        )


def differences(one: Any, other: Any) -> str:
    """Where two settings differ, as `pages.size_px 16 -> 14`."""
    found = list(_differences(one, other, ""))
    shown = "; ".join(found[:6])
    return f"{shown}; and {len(found) - 6} more" if len(found) > 6 else shown


def _differences(one: Any, other: Any, path: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from _differences(one.get(key), other.get(key), f"{path}.{key}" if path else key)
    elif one != other:
        yield f"{path} {_short(one)} -> {_short(other)}"


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:21]}..."
