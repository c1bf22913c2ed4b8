"""The verbs `generate` and `preview`: texts become pages, and pages are looked at."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import ConfigDict
from rich.table import Table

from deepsynth.data.opening import source_names
from deepsynth.errors import RequestError, StepFailed, Stopped
from deepsynth.families import every_family
from deepsynth.pages.generate import (
    OUTPUT,
    GenerateResult,
    refuse_public_sources,
    result_of,
)
from deepsynth.pages.generate import generate as run_generate
from deepsynth.pages.listing import list_datasets
from deepsynth.pages.preview import preview as run_preview
from deepsynth.pages.render.settings import PageSettings
from deepsynth.runners import on_help
from deepsynth.terminal.console import Console
from deepsynth.terminal.progress import progress_shown
from deepsynth.verbs.work import Work, work_on


class PageFlags(PageSettings):
    """The page settings as they are typed: text that becomes numbers."""

    model_config = ConfigDict(strict=False)


Flags = Annotated[PageFlags, Parameter(name="*")]
_PLAIN = PageFlags.model_validate({})
_ON = f"Where to draw: {on_help()}; in this process when left out."


def generate(
    *sources: str,
    text: str | None = None,
    summary: str | None = None,
    max_samples: int | None = None,
    private: Annotated[bool, Parameter(negative="--public")] = True,
    list_: Annotated[bool, Parameter(name="--list", negative=())] = False,
    start_index: int | None = None,
    end_index: int | None = None,
    chunk_id: str | None = None,
    output_dir: Path = OUTPUT,
    workers: int | None = None,
    pages: Flags = _PLAIN,
    licence: str | None = None,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    assemble: Annotated[bool, Parameter(negative=())] = False,
    revision_date: str | None = None,
    publish: Annotated[bool, Parameter(negative=())] = False,
    on: Annotated[str | None, Parameter(help=_ON)] = None,
    array: int = 1,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative=())] = False,
) -> None:
    """Turn texts with summaries into datasets of page images.

    Interrupted? Run the same command again: it goes on where it was.

    Args:
        sources: mlsum_fr mlsum_es mlsum_de cnn_dailymail xsum billsum, all, a CSV, JSONL or Parquet
            file or folder, or OWNER/NAME of a dataset on the Hub.
        text: Column of the documents; found by its usual names when not given.
        summary: Column of the summaries; likewise.
        max_samples: At most so many rows of every split.
        private: To be published privately; sources that may not be public refuse --public.
        list_: Show every known dataset: published, local, or missing.
        start_index: First row of a chunk, over train, validation and test laid end to end.
        end_index: Row after the last of a chunk.
        chunk_id: Name of the chunk.
        output_dir: Where datasets go, each in a folder of its own.
        workers: Processes; one per processor core when not given.
        pages: How pages look.
        licence: Licence of the texts, for sources whose licence is not known.
        dry_run: Count and estimate; write nothing.
        assemble: Put chunks made earlier together.
        revision_date: A date (YYYY-MM or YYYY-MM-DD) the dataset is to be known by.
        publish: Put each finished dataset on the Hub, privately unless --public is given.
        on: Where to draw.
        array: With --on: parts that are drawn side by side, as an array of jobs.
        quiet: Print the results only.
    """
    if list_:
        _print_list(output_dir)
        return
    if not sources:
        raise RequestError(
            "no source was named", where="generate", hint="deepsynth generate --list shows them."
        )
    if on is None and array != 1:
        raise RequestError("goes with --on SITE.", where="--array", hint="Here, see --workers.")
    if on is not None:
        if dry_run or assemble or chunk_id or start_index is not None or end_index is not None:
            raise RequestError(
                "goes with whole sources: no chunk, no --dry-run, no --assemble.", where="--on"
            )
        results = _draw_elsewhere(
            {
                "sources": source_names(sources),
                "text": text,
                "summary": summary,
                "max_samples": max_samples,
                "licence": licence,
                "pages": pages,
                "parts": array,
            },
            on=on,
            output_dir=output_dir,
            private=private,
            revision_date=revision_date,
            quiet=quiet,
        )
    else:
        with progress_shown(quiet=quiet) as progress:
            results = run_generate(
                sources,
                text=text,
                summary=summary,
                max_samples=max_samples,
                private=private,
                start_index=start_index,
                end_index=end_index,
                chunk_id=chunk_id,
                output_dir=output_dir,
                workers=workers,
                pages=pages,
                licence=licence,
                dry_run=dry_run,
                assemble=assemble,
                revision_date=revision_date,
                progress=progress,
            )
    console = _console(sys.stdout)
    for result in results:
        _print_result(console, result)
        if publish and result.estimate is None and result.chunk is None:
            _publish(console, result, private=private, revision_date=revision_date)


def _draw_elsewhere(
    request: dict[str, Any],
    *,
    on: str,
    output_dir: Path,
    private: bool,
    revision_date: str | None,
    quiet: bool,
) -> list[GenerateResult]:
    """Draw in parts by a run, and put the datasets it made where datasets go."""
    from deepsynth.pages.assemble import assemble
    from deepsynth.pages.steps import DATASETS, open_run

    refuse_public_sources(request["sources"], private)
    run = open_run(request)
    try:
        work_on(run, None, Work(on=on, quiet=quiet))
    except (Stopped, StepFailed) as error:
        again = "Or give the same command again: only what is missing is done."
        error.hint = f"{error.hint}\n  {again}" if error.hint else again
        raise
    return [
        result_of(
            output_dir / made.name,
            assemble([made], output_dir / made.name, private=private, revision_date=revision_date),
        )
        for made in sorted((run.path / DATASETS).iterdir())
    ]


def preview(
    source: str,
    *,
    output_dir: Path = Path("preview"),
    count: int | None = None,
    text: str | None = None,
    summary: str | None = None,
    pages: Flags = _PLAIN,
) -> None:
    """Show pages, or the lines of manuscripts, as the model gets them: an HTML gallery.

    Args:
        source: A dataset folder, or what generate takes as a source; a job of htr, or its ground
            truth.
        output_dir: Where the files go.
        count: Documents (12) or lines (100) to show.
        text: Column of the documents.
        summary: Column of the summaries.
        pages: How pages look; a dataset folder keeps its own settings.
    """
    console = _console(sys.stdout)
    for family in every_family():
        gallery = family.preview and family.preview(Path(source), output_dir, count)
        if gallery:
            console.print(f"gallery        {gallery}")
            return
    result = run_preview(
        source,
        output_dir=output_dir,
        count=12 if count is None else count,
        text=text,
        summary=summary,
        pages=pages,
    )
    console.print(f"{result.documents} documents, {result.pages} pages")
    for index, reason in result.skipped:
        console.print(f"row {index} left out: {reason}")
    console.print(f"contact sheet  {result.contact_sheet}\ngallery        {result.gallery}")


def _console(stream: Any) -> Console:
    # In a pipe there is no width to fit: lines are left whole for the next program.
    width = None if stream.isatty() else 200
    return Console(file=stream, soft_wrap=True, width=width)


def _print_result(console: Console, result: GenerateResult) -> None:
    for finding in result.findings:
        console.print(f"{finding.severity.name.lower()}: {finding.what}. {finding.fix}")
    if result.estimate is not None:
        e = result.estimate
        console.print(
            f"{result.source}: {e.documents:,} documents, about {e.pages:,} pages,"
            f" {_size(e.bytes)}, {_minutes(e.minutes)} with {e.workers} workers here,"
            f" {e.usd:.2f} USD on rented cores at 0.05 USD an hour each (an assumption)"
        )
        bad = f", {e.bad} of them not usable" if e.bad else ""
        console.print(f"  from a sample of {e.sampled:,} documents{bad}; nothing was written")
        return
    table = Table(title=result.source, title_justify="left", box=None, pad_edge=False)
    for heading in ("split", "processed", "errors"):
        table.add_column(heading, justify="left" if heading == "split" else "right")
    for split, counts in result.splits.items():
        table.add_row(split, f"{counts.processed:,}", f"{counts.errors:,}")
    console.print(table)
    for reason, count in list(result.reasons.items())[:5]:
        console.print(f"  left out {count:,}: {reason}")
    resumed = f", {result.resumed:,} rows were there already" if result.resumed else ""
    console.print(f"{result.pages:,} pages, {_size(result.bytes)}, {result.seconds:.1f} s{resumed}")
    if result.chunk is not None:
        console.print(
            f"chunk {result.chunk}: {result.folder}\n"
            f"  when all chunks are there: deepsynth generate {result.source} --assemble"
        )
    else:
        console.print(f"dataset: {result.folder}")


def _publish(
    console: Console, result: GenerateResult, *, private: bool, revision_date: str | None
) -> None:
    from deepsynth.hub.account import dataset_repo_name
    from deepsynth.hub.publish import publish

    with progress_shown() as show:
        done = publish(
            result.folder,
            repo=dataset_repo_name(result.folder.name),
            private=private,
            revision_date=revision_date,
            progress=show,
        )
    console.print(f"published: {done.url}\ncommit {done.sha}")


def _print_list(output_dir: Path) -> None:
    from deepsynth.errors import DeepSynthError
    from deepsynth.hub.account import Account
    from deepsynth.hub.remote import list_remote

    console, notes = _console(sys.stdout), _console(sys.stderr)
    account = Account.from_environment()
    try:
        published = (
            [item.repo for item in list_remote(account=account)]
            if account.token or account.username
            else None
        )
        why = "set HF_TOKEN to see what is published"
    except DeepSynthError as error:
        published, why = None, f"what is published is not known: {error}"
    listed = list_datasets(
        output_dir=output_dir, published=None if published is None else lambda: published
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "here", "documents", "published", "language", "licence"):
        table.add_column(heading, justify="right" if heading == "documents" else "left")
    for item in listed:
        documents = f"{item.documents:,}"
        if item.source_documents:
            documents += f" of {item.source_documents:,}"
        table.add_row(
            item.name,
            item.local or "missing",
            documents,
            "?" if item.published is None else item.published or "no",
            item.languages,
            item.licence + (" (private only)" if item.private_only else ""),
        )
    console.print(table)
    if published is None:
        notes.print(why)


def _size(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def _minutes(minutes: float) -> str:
    return f"{minutes * 60:.0f} s" if minutes < 2 else f"{minutes:,.0f} min"
