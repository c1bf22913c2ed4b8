"""Chunks made on different machines put together into one dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.errors import DataError, RequestError
from deepsynth.pages.identity import SETTINGS, claim, differences
from deepsynth.pages.manifest import finish
from deepsynth.pages.shards import (
    Receipt,
    is_whole,
    receipt_path,
    receipts_in,
    remove_leftovers,
    shard_path,
)


def assemble_chunks(
    output_dir: Path, name: str, *, private: bool, revision_date: str | None = None
) -> list[Receipt]:
    """Make the dataset `OUTPUT_DIR/NAME` of the chunks in `OUTPUT_DIR/NAME-chunks`.

    Every shard is checked against its receipt. Chunks stay where they are: shards are linked, or
    copied where links are not possible.

    Returns:
        The receipts of all shards, in order.

    Raises:
        RequestError: There are no chunks, or they were made with different settings.
        DataError: Rows are missing or there twice, or a shard is damaged.
    """
    home = output_dir / f"{name}-chunks"
    chunks = chunks_in(home)
    if not chunks:
        raise RequestError(
            "there are no chunks to assemble",
            where=home,
            hint=f"Make them with: deepsynth generate {name} --start-index A --end-index B",
        )
    return assemble(chunks, output_dir / name, private=private, revision_date=revision_date)


def chunks_in(folder: Path) -> list[Path]:
    """The chunks of a dataset that lie in a folder."""
    return sorted(path for path in folder.glob("*") if (path / SETTINGS).is_file())


def assemble(
    chunks: list[Path], target: Path, *, private: bool, revision_date: str | None = None
) -> list[Receipt]:
    """Make the dataset `target` of chunks that hold all its rows; see `assemble_chunks`."""
    settings = _common_settings(chunks)
    name = settings["source"]["name"]
    fingerprint = durable.sha256_value(settings)
    found = [(receipt, chunk) for chunk in chunks for receipt in receipts_in(chunk)]
    for receipt, chunk in found:
        if receipt.settings != fingerprint:
            raise RequestError(
                f"rows {receipt.start} to {receipt.stop} of {receipt.split} were made with other"
                " settings than its chunk says",
                where=chunk,
                hint="Make this chunk again, in an empty folder.",
            )
    order = list(settings["rows"])
    found.sort(key=lambda item: (order.index(item[0].split), item[0].start))
    _refuse_gaps(name, settings["rows"], found)
    claim(target, settings)
    remove_leftovers(target)
    for receipt, chunk in found:
        if not is_whole(chunk, receipt):
            raise DataError(
                "this shard is not the one its receipt describes",
                where=shard_path(chunk, receipt.range),
                hint="Copy it again, or make the chunk again: only what is damaged is drawn.",
            )
        if receipt.rows:
            _place(shard_path(chunk, receipt.range), shard_path(target, receipt.range))
        durable.write_json(receipt_path(target, receipt.range), receipt.as_dict())
    receipts = [receipt for receipt, _ in found]
    finish(target, settings, receipts, private=private, revision_date=revision_date)
    return receipts


def _common_settings(chunks: list[Path]) -> dict[str, Any]:
    settings = [durable.read_json(chunk / SETTINGS) for chunk in chunks]
    for chunk, other in zip(chunks[1:], settings[1:], strict=True):
        if other != settings[0]:
            raise RequestError(
                f"chunks were made with different settings: {differences(settings[0], other)}",
                where=chunk,
                hint=f"Compared with {chunks[0].name}. Make one of them again.",
            )
    return settings[0]


def _refuse_gaps(name: str, rows: dict[str, int], found: list[tuple[Receipt, Path]]) -> None:
    offset = 0
    for split, total in rows.items():
        expected, before = 0, ""
        ranges = [(r.start, r.stop, chunk.name) for r, chunk in found if r.split == split]
        for start, stop, chunk in [*ranges, (total, total, "")]:
            if start > expected:
                low, high = offset + expected, offset + start
                raise DataError(
                    f"rows {expected} to {start} of {split} are in no chunk",
                    where=f"{name}-chunks",
                    hint=f"Make them: deepsynth generate {name} --start-index {low}"
                    f" --end-index {high}, with the other options as before.",
                )
            if start < expected:
                raise DataError(
                    f"rows {start} to {min(stop, expected)} of {split} are in chunk {before} and"
                    f" again in chunk {chunk}",
                    where=f"{name}-chunks",
                    hint="Move one of the two chunks away.",
                )
            expected, before = stop, chunk
        offset += total


def _place(source: Path, target: Path) -> None:
    with durable.appearing(target) as draft:
        durable.link_or_copy(source, draft)
