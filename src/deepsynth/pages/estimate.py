"""What a dataset would take, from a sample of its documents drawn in memory."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepsynth.data.corpus import Corpus
    from deepsynth.pages.render.settings import PageSettings
    from deepsynth.pages.shards import ShardRange

SAMPLE = 200
USD_PER_CORE_HOUR = 0.05
"""An assumption, shown with the price: a virtual core of a rented CPU machine."""
_PLACES = 10
_WRITE_SHARE = 1.25
"""Writing and hashing a shard on top of drawing it, as the benchmark finds it."""


@dataclass(frozen=True)
class Estimate:
    """What it would take.

    Attributes:
        documents: Rows to draw.
        pages: Pages, from the sample.
        bytes: Bytes on disk, from the sample.
        minutes: Wall time with `workers`, on this machine.
        workers: Processes.
        usd: Price on a rented CPU machine at `USD_PER_CORE_HOUR`.
        sampled: Documents the figures come from.
        bad: Of them, those that could not be drawn.
    """

    documents: int
    pages: int
    bytes: int
    minutes: float
    workers: int
    usd: float
    sampled: int
    bad: int


def estimate(
    corpus: Corpus, shards: list[ShardRange], settings: PageSettings, workers: int
) -> Estimate:
    """Draw a sample taken evenly from the rows asked for, and scale up."""
    from deepsynth.pages.render.renderer import BadDocument, Renderer

    renderer = Renderer(settings)
    documents = sum(shard.stop - shard.start for shard in shards)
    chosen = shards[:: max(1, len(shards) // _PLACES)]
    each = max(1, SAMPLE // len(chosen))
    rows = [
        row
        for shard in chosen
        for row in corpus.read(shard.split, shard.start, min(shard.stop, shard.start + each))
    ]
    if rows:
        renderer.render("Compiles the kernels before the clock starts.")
    pages = size = bad = 0
    begun = time.process_time()
    for row in rows:
        try:
            if row.problem:
                raise BadDocument(row.problem)
            drawn = renderer.render(row.text, str(row.index)).pages
            pages += len(drawn)
            size += sum(map(len, drawn)) + len(row.text) // 2
        except BadDocument:
            bad += 1
    seconds = (time.process_time() - begun) * _WRITE_SHARE
    scale = documents / len(rows) if rows else 0
    core_hours = seconds * scale / 3600
    return Estimate(
        documents=documents,
        pages=round(pages * scale),
        bytes=round(size * scale),
        minutes=core_hours * 60 / max(1, min(workers, len(shards))),
        workers=workers,
        usd=core_hours * USD_PER_CORE_HOUR,
        sampled=len(rows),
        bad=bad,
    )
