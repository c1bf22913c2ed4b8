"""The verb `generate`: sources in, datasets of page images out, resumable at any point."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock

from deepsynth import durable, processors
from deepsynth.checks import Finding
from deepsynth.data.corpus import Corpus
from deepsynth.data.opening import open_corpus, short_name, source_names
from deepsynth.data.registry import known_sources
from deepsynth.errors import RequestError, Stopped
from deepsynth.hub.account import check_date
from deepsynth.pages.estimate import Estimate, estimate
from deepsynth.pages.identity import claim, describe
from deepsynth.pages.manifest import finish
from deepsynth.pages.pool import draw_all
from deepsynth.pages.render.settings import PLAIN, PageSettings
from deepsynth.pages.selection import Selection
from deepsynth.pages.shards import (
    Receipt,
    ShardRange,
    is_whole,
    plan_shards,
    read_receipt,
    receipt_path,
    remove_leftovers,
)
from deepsynth.run.progress import Progress, Report, silent

OUTPUT = Path("datasets")


@dataclass(frozen=True)
class SplitResult:
    """Rows of one split: made into pages, and left out."""

    processed: int
    errors: int


@dataclass(frozen=True)
class GenerateResult:
    """What became of one source.

    Attributes:
        source: Its name.
        folder: Where it went.
        splits: Counts by split.
        pages: Pages drawn.
        bytes: Size of the shards.
        seconds: Wall time of this call.
        resumed: Rows an earlier call had finished.
        chunk: Name of the chunk, when it is one; `assemble` makes the dataset.
        reasons: How often rows were left out for which reason.
        findings: What is allowed but unwise.
        estimate: With `dry_run`: what it would take; nothing was written then.
    """

    source: str
    folder: Path
    splits: dict[str, SplitResult] = field(default_factory=dict[str, SplitResult])
    pages: int = 0
    bytes: int = 0
    seconds: float = 0.0
    resumed: int = 0
    chunk: str | None = None
    reasons: dict[str, int] = field(default_factory=dict[str, int])
    findings: tuple[Finding, ...] = ()
    estimate: Estimate | None = None


def generate(
    sources: str | Iterable[str],
    *,
    text: str | None = None,
    summary: str | None = None,
    max_samples: int | None = None,
    private: bool = True,
    start_index: int | None = None,
    end_index: int | None = None,
    chunk_id: str | None = None,
    output_dir: Path = OUTPUT,
    workers: int | None = None,
    pages: PageSettings = PLAIN,
    licence: str | None = None,
    dry_run: bool = False,
    assemble: bool = False,
    revision_date: str | None = None,
    progress: Report = silent,
) -> list[GenerateResult]:
    """Turn texts with summaries into datasets of page images, one dataset per source.

    The same inputs and settings give the same bytes, on one worker or many, in one go or after any
    number of interruptions: run the same command again and it goes on where it was.

    Args:
        sources: Known names, `all`, files (CSV, JSONL, Parquet), folders, or OWNER/NAME on the Hub.
        text: Column of the documents; found by its usual names when not given.
        summary: Column of the summaries; likewise.
        max_samples: At most so many rows of every split.
        private: To be published privately; sources that may not be public refuse False.
        start_index: First row of a chunk, counted over the splits laid end to end (train,
            validation, test).
        end_index: Row after the last of a chunk.
        chunk_id: Name of the chunk; its folder is `OUTPUT_DIR/NAME-chunks/CHUNK_ID`.
        output_dir: Where datasets go, each in a folder of its own.
        workers: Processes; as many as there are processor cores when not given.
        pages: How pages look.
        licence: Licence of the texts, for sources whose licence we do not know.
        dry_run: Count and estimate; write nothing.
        assemble: Put chunks made earlier together instead of drawing.
        revision_date: A date (YYYY-MM or YYYY-MM-DD) the dataset is to be known by.
        progress: Called as rows are done, from one thread at a time.

    Returns:
        One result per source, in the order given.

    Raises:
        RequestError: Something asked for cannot be; nothing was written.
        DeepSynthError: The work failed; what was finished is kept.
        Stopped: Ctrl-C; what was finished is kept.
    """
    started = time.monotonic()
    settings = pages.only_drawing()
    selection = Selection(max_samples, start_index, end_index, chunk_id)
    if revision_date is not None:
        check_date(revision_date)
    if workers is not None and workers < 1:
        raise RequestError(f"{workers} workers are none", where="--workers")
    names = source_names(sources)
    if not names:
        raise RequestError("no source was named", where="generate", hint="See --list.")
    folders = Counter(short_name(name) for name in names)
    if twice := [name for name, count in folders.items() if count > 1]:
        raise RequestError(
            f"two sources would share the folder {twice[0]}",
            where=output_dir,
            hint="Generate them in two calls, with another --output-dir.",
        )
    refuse_public_sources(names, private)
    if assemble:
        from deepsynth.pages.assemble import assemble_chunks

        made: list[GenerateResult] = []
        for name in map(short_name, names):
            receipts = assemble_chunks(
                output_dir, name, private=private, revision_date=revision_date
            )
            made.append(result_of(output_dir / name, receipts, started))
        return made
    results: list[GenerateResult] = []
    for name in names:
        corpus = open_corpus(name, text=text, summary=summary, licence=licence, progress=progress)
        if corpus.private_only:
            _refuse_public(name, private, corpus.licence_note)
        if dry_run:
            splits = selection.splits(corpus)
            start, end = selection.range(splits)
            shards = plan_shards(splits, start, end)
            results.append(
                GenerateResult(
                    corpus.name,
                    output_dir / corpus.name,
                    findings=tuple(settings.findings()),
                    estimate=estimate(corpus, shards, settings, workers or processors.available()),
                )
            )
            continue
        result = _generate_one(
            corpus,
            settings,
            selection,
            output_dir,
            workers or processors.available(),
            private,
            revision_date,
            progress,
        )
        results.append(result)
    return results


def _generate_one(
    corpus: Corpus,
    settings: PageSettings,
    selection: Selection,
    output_dir: Path,
    workers: int,
    private: bool,
    revision_date: str | None,
    progress: Report,
) -> GenerateResult:
    started = time.monotonic()
    splits = selection.splits(corpus)
    shards = plan_shards(splits, *selection.range(splits))
    identity = describe(corpus, settings, splits)
    fingerprint = durable.sha256_value(identity)
    folder = output_dir / corpus.name
    if selection.chunk is not None:
        folder = output_dir / f"{corpus.name}-chunks" / selection.chunk
    with _alone_in(folder):
        claim(folder, identity)
        remove_leftovers(folder)
        _refuse_other_rows(folder, shards)
        receipts = _finished(folder, shards, fingerprint)
        todo = [shard for shard in shards if shard not in receipts]
        total = sum(shard.stop - shard.start for shard in shards)
        resumed = total - sum(shard.stop - shard.start for shard in todo)
        done, lock = resumed, Lock()

        def advance(rows: int) -> None:
            nonlocal done
            with lock:
                done += rows
                progress(Progress(corpus.name, "", done, total, "rows", resumed))

        advance(0)
        if todo:
            job = {
                "folder": str(folder.resolve()),
                "corpus": corpus.as_dict(),
                "pages": settings.model_dump(),
                "settings": fingerprint,
            }

            def keep(receipt: Receipt) -> None:
                receipts[receipt.range] = receipt

            try:
                draw_all(todo, job, min(workers, len(todo)), advance, keep)
            except KeyboardInterrupt:
                raise Stopped(
                    "stopped", where=folder, hint="Run the same command again to go on."
                ) from None
            remove_leftovers(folder)
        ordered = [receipts[shard] for shard in shards]
        if selection.chunk is None:
            finish(folder, identity, ordered, private=private, revision_date=revision_date)
    result = result_of(folder, ordered, started)
    return replace(
        result,
        source=corpus.name,
        resumed=resumed,
        chunk=selection.chunk,
        findings=tuple(settings.findings()),
    )


def result_of(
    folder: Path, receipts: list[Receipt], started: float | None = None
) -> GenerateResult:
    """What became of a source, from the receipts of its shards.

    Args:
        folder: The dataset, named for its source.
        receipts: Of all its shards.
        started: When this call began, on the monotonic clock.
    """
    splits = {
        split: SplitResult(
            sum(r.rows for r in receipts if r.split == split),
            sum(len(r.errors) for r in receipts if r.split == split),
        )
        for split in dict.fromkeys(receipt.split for receipt in receipts)
    }
    return GenerateResult(
        folder.name,
        folder,
        splits,
        pages=sum(receipt.pages for receipt in receipts),
        bytes=sum(receipt.bytes for receipt in receipts),
        seconds=0.0 if started is None else time.monotonic() - started,
        reasons=dict(Counter(why for r in receipts for _, why in r.errors).most_common()),
    )


def _finished(
    folder: Path, shards: list[ShardRange], fingerprint: str
) -> dict[ShardRange, Receipt]:
    """Receipts of the shards that are there, whole, and made with these settings."""
    found: dict[ShardRange, Receipt] = {}
    for shard in shards:
        receipt = read_receipt(receipt_path(folder, shard))
        if receipt and receipt.settings == fingerprint and is_whole(folder, receipt):
            found[shard] = receipt
    return found


def _refuse_other_rows(folder: Path, shards: list[ShardRange]) -> None:
    planned = {f"{shard.name}.parquet" for shard in shards}
    other = sorted(p.name for p in (folder / "data").glob("*.parquet") if p.name not in planned)
    if other:
        raise RequestError(
            f"this folder holds rows that were not asked for now, in {other[0]}",
            where=folder,
            hint="It is a chunk of another range: give this one another --chunk-id.",
        )


def refuse_public_sources(names: Iterable[str], private: bool) -> None:
    """Refuse to publish known sources that may not be public.

    Raises:
        RequestError: One of them may not.
    """
    for name in names:
        known = known_sources().get(name)
        if known is not None and known.private_only:
            _refuse_public(name, private, known.licence_note)


def _refuse_public(name: str, private: bool, why: str) -> None:
    if not private:
        raise RequestError(
            f"may not be made public: {why}",
            where=name,
            hint="Leave out --public: private repositories are the default.",
        )


@contextmanager
def _alone_in(folder: Path) -> Generator[None]:
    """Hold the folder's lock; another `generate` in it is refused, not waited for."""
    busy = RequestError(
        "another generate is at work in this folder",
        where=folder,
        hint="Wait for it, or give this one another --chunk-id.",
    )
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(durable.locked(folder / ".lock", lambda: busy))
        except OSError as error:
            raise RequestError(
                f"cannot be written to: {error.strerror}", where=folder, hint="Give --output-dir."
            ) from error
        yield
