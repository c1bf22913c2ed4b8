"""The manifest of a finished dataset: its files, its counts, its settings."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

from deepsynth import durable, images
from deepsynth.errors import DataError
from deepsynth.pages import card
from deepsynth.pages.render.modes import mode_named
from deepsynth.pages.shards import DATA, Receipt, shard_path

MANIFEST, ERRORS, CARD, EXAMPLE = "manifest.json", "errors.jsonl", "README.md", "example.png"
CHARACTERS_PER_TOKEN = 4
"""To estimate text tokens; what a tokenizer makes of a text differs by language and model."""


def finish(
    folder: Path,
    settings: dict[str, Any],
    receipts: list[Receipt],
    *,
    private: bool,
    revision_date: str | None = None,
) -> dict[str, Any]:
    """Write what makes a folder of shards a dataset: errors, example, card, and last the manifest.

    The same shards give the same files, byte for byte.

    Args:
        folder: The dataset folder; its shards are in place.
        settings: What it was made from.
        receipts: Of all shards, in order.
        private: Whether it is to be published privately.
        revision_date: A date to be known by, if any.

    Returns:
        The manifest.
    """
    errors = "".join(
        json.dumps({"split": r.split, "index": index, "reason": reason}, ensure_ascii=False) + "\n"
        for r in receipts
        for index, reason in r.errors
    )
    durable.write_text(folder / ERRORS, errors)
    first = next((receipt for receipt in receipts if receipt.rows), None)
    if first is None:
        raise DataError(
            "not one row could become pages",
            where=folder / ERRORS,
            hint=f"The first reason: {receipts[0].errors[0][1]}." if receipts else None,
        )
    _write_example(folder, shard_path(folder, first.range))
    manifest = {
        "format": 1,
        "source": settings["source"]["name"],
        "settings": settings,
        "fingerprint": durable.sha256_value(settings),
        "licence": settings["source"]["licence"],
        "private_only": settings["source"]["private_only"],
        "private": private,
        "revision_date": revision_date,
        "splits": {
            split: sum(r.rows for r in receipts if r.split == split)
            for split in settings["rows"]
            if any(r.rows for r in receipts if r.split == split)
        },
        "errors": {
            split: sum(len(r.errors) for r in receipts if r.split == split)
            for split in settings["rows"]
        },
        "counts": counts(settings, receipts),
        "files": [
            {
                "path": f"{DATA}/{r.range.name}.parquet",
                "split": r.split,
                "rows": r.rows,
                "bytes": r.bytes,
                "sha256": r.sha256,
            }
            for r in receipts
            if r.rows
        ]
        + [_entry(folder, name) for name in (ERRORS, EXAMPLE)],
    }
    durable.write_text(folder / CARD, card.write_card(manifest))
    durable.write_json(folder / MANIFEST, manifest)
    return manifest


def counts(settings: dict[str, Any], receipts: list[Receipt]) -> dict[str, Any]:
    """Totals over all shards, with what the pages cost in tokens."""
    pages = sum(receipt.pages for receipt in receipts)
    characters = sum(receipt.characters for receipt in receipts)
    removed: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    for receipt in receipts:
        removed.update(receipt.removed)
        missing.update(receipt.missing)
    per_page = mode_named(settings["pages"]["mode"]).tokens
    vision = pages * mode_named(settings["pages"]["mode"]).decoder_tokens
    return {
        "documents": sum(receipt.rows for receipt in receipts),
        "pages": pages,
        "characters": characters,
        "bytes": sum(receipt.bytes for receipt in receipts),
        "vision_tokens_per_page": per_page,
        "vision_tokens": vision,
        "characters_per_vision_token": round(characters / vision, 2) if vision else None,
        "text_tokens_estimated": characters // CHARACTERS_PER_TOKEN,
        "text_tokens_per_vision_token_estimated": (
            round(characters / CHARACTERS_PER_TOKEN / vision, 2) if vision else None
        ),
        "set_by_pango": sum(receipt.shaped for receipt in receipts),
        "cut_at_page_limit": sum(receipt.cut for receipt in receipts),
        "characters_removed": dict(sorted(removed.items())),
        "characters_without_glyph": dict(missing.most_common(100)),
    }


def _entry(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    return {"path": name, "bytes": path.stat().st_size, "sha256": durable.sha256_file(path)}


def _write_example(folder: Path, shard: Path) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetFile(shard) as file:
        pages = next(file.iter_batches(batch_size=1, columns=["images"])).column(0)[0].as_py()
    stream = io.BytesIO()
    # Degraded pages are JPEG; the example is a PNG either way.
    images.decode(pages[0]["bytes"], shard).save(stream, "PNG", optimize=True)
    durable.write_bytes(folder / EXAMPLE, stream.getvalue())
