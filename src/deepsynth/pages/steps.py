"""Drawing as the steps of a run: `generate --on SITE --array N`.

The rows of every source are drawn in N parts, the elements of one step; another puts them together.
Like those of any run, what failed is named and done again alone. Parts are chunks like those of
`--start-index` and `--end-index`, so the pages are those one machine would have drawn.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from deepsynth import durable
from deepsynth.data.corpus import Corpus
from deepsynth.data.opening import open_corpus, short_name, source_names
from deepsynth.errors import RunError
from deepsynth.job.job import settings_of, settings_yaml
from deepsynth.job.settings import Section, Setting, validate
from deepsynth.job.strict_yaml import KeyPath
from deepsynth.pages.assemble import assemble, chunks_in
from deepsynth.pages.generate import generate
from deepsynth.pages.render.settings import PLAIN, PageSettings
from deepsynth.pages.selection import Selection
from deepsynth.pages.shards import ROWS_PER_SHARD
from deepsynth.printing import say
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run, is_run
from deepsynth.run.step import Plan, Resources, Step
from deepsynth.run.trust import require_plan

DATASETS, _CHUNKS = "datasets", "chunks"
"""In the run folder: the datasets, and the parts they are put together from."""


class Request(Section):
    """What is drawn, and in how many parts."""

    sources: list[str] = Field(min_length=1, description="As `generate` takes them.")
    text: str | None = Field(None, description="Column of the documents.")
    summary: str | None = Field(None, description="Column of the summaries.")
    max_samples: int | None = Field(None, ge=1, description="At most so many rows of a split.")
    licence: str | None = Field(None, description="Licence of the texts, where it is not known.")
    pages: PageSettings = Field(PLAIN, description="How pages look.")
    parts: int = Field(1, ge=1, le=10_000, description="Parts drawn side by side.")

    def open(self, source: str) -> Corpus:
        """A source, read as the request says."""
        return open_corpus(source, text=self.text, summary=self.summary, licence=self.licence)

    def splits(self, source: str) -> dict[str, int]:
        """Rows of each split that are drawn."""
        return Selection(max_samples=self.max_samples).splits(self.open(source))


@dataclass(frozen=True)
class _Described:
    """A request as the folder of its run records it."""

    text: str
    name: str
    settings: Mapping[str, Setting]

    def to_yaml(self) -> str:
        return settings_yaml(self.settings)


def open_run(given: Mapping[str, Any], runs: Path = Path("runs")) -> Run:
    """The run that draws what is asked for: the one that is there, or a new one.

    Args:
        given: Fields of `Request`.
        runs: Folder of the run folders.

    Raises:
        RequestError: Something asked for cannot be; nothing was made.
    """
    flags = {"parts": "--array", "max_samples": "--max-samples"}
    origins: dict[KeyPath, Setting] = {
        (key,): Setting(None, "flag", flags.get(key, "generate")) for key in given
    }
    request = validate(Request, given, "generate", "generate", origins)
    names = source_names(request.sources)
    files: dict[str, str] = {}
    digests: dict[str, Any] = {}
    for name in names:
        path = Path(name).expanduser()
        if path.exists():
            request.open(name)
            files[short_name(name)] = str(path.resolve())
            digests[name] = durable.digest(path)
    if font := request.pages.font_file:
        files["font"] = str(font.resolve())
        digests["font"] = durable.sha256_file(font)
    pages = request.pages.only_drawing()
    if font:
        pages = pages.model_copy(update={"font": font.name})
    there = [short_name(name) if short_name(name) in files else name for name in names]
    request = request.model_copy(update={"sources": there, "pages": pages})
    made = durable.sha256_value([request.model_dump(), digests])[:6]
    path = runs / f"generate-{short_name(names[0])}-{made}"
    if is_run(path):
        return require_plan(Run.open(path), plan(request, files), tell=say)
    runs.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(request.model_dump(exclude_defaults=True), sort_keys=False)
    usual = settings_of(validate(Request, {"sources": ["all"]}, "generate", "generate"), {})
    settings = {
        key: setting if setting == usual[key] else replace(setting, origin="flag")
        for key, setting in settings_of(request, {}).items()
    }
    return Run.create(path, _Described(text, path.name, settings), plan(request, files))


def plan(request: Request, files: dict[str, str]) -> Plan:
    """The steps.

    Args:
        request: Local sources by their short names.
        files: Where each of these is, and `font`, if there is one.
    """
    argv = ["{python}", "-m", "deepsynth.pages.steps", "{run}"]
    names = [short_name(name) for name in request.sources]
    settings = request.model_dump()
    # Once before the array, not in every element of it at the same moment.
    get = Step(
        name="sources",
        title="Downloading the sources",
        argv=argv,
        outputs=["sources.json"],
        settings=settings,
        resources=Resources(minutes=240),
    )
    fetched = [get] if set(names) - set(files) else []
    draw = Step(
        name="pages",
        title="Drawing pages",
        argv=argv,
        after=[step.name for step in fetched],
        sources=files,
        outputs=[f"{_CHUNKS}/{name}/{{index}}" for name in names],
        settings=settings,
        array=request.parts,
        resources=Resources(cpus=4, memory_gb=8, minutes=480),
    )
    together = Step(
        name="assemble",
        title="Putting the parts together",
        argv=argv,
        after=["pages"],
        inputs=[f"{_CHUNKS}/{name}" for name in names],
        outputs=[*(f"{DATASETS}/{name}" for name in names), "metrics.json"],
        resources=Resources(minutes=240),
    )
    return Plan(steps=[*fetched, draw, together])


def plan_of(run: Run) -> Plan:
    """The steps of a run that draws, made anew of what it draws.

    Raises:
        RunError: It does not draw, or what it draws cannot be read.
    """
    try:
        draw = run.plan.step("pages")
        return plan(Request.model_validate(draw.settings), draw.sources)
    except (KeyError, ValidationError):
        raise RunError("this is no run of `deepsynth generate`.", where=run.path) from None


def part_of(splits: Mapping[str, int], index: int, parts: int) -> tuple[int, int]:
    """First row and row after the last of one part, over the splits laid end to end.

    Parts of more than a shard begin where a shard does, so that the shards are those one machine
    would have made.
    """
    total = sum(splits.values())

    def cut(number: int) -> int:
        row, first = number * total // parts, 0
        if total // parts < ROWS_PER_SHARD or number == parts:
            return row
        for rows in splits.values():
            if row < first + rows:
                return first + (row - first) // ROWS_PER_SHARD * ROWS_PER_SHARD
            first += rows
        return total

    return cut(index), cut(index + 1)


def main(run: Run) -> None:
    """Do the step of this process."""
    name = os.environ.get("DEEPSYNTH_STEP", "pages")
    {"sources": _download, "pages": _draw, "assemble": _assemble}[name](run)


def _draw(run: Run) -> None:
    """Draw one part of every source."""
    index = int(os.environ.get("DEEPSYNTH_INDEX", "0"))
    step = run.plan.step("pages")
    request = Request.model_validate(step.settings)
    pages = request.pages
    if pages.font:
        pages = pages.model_copy(update={"font": str(run.source(step, "font"))})
    cores = int(os.environ.get("SLURM_CPUS_PER_TASK") or step.resources.cpus)
    for name in request.sources:
        source = str(run.source(step, name)) if name in step.sources else name
        target = run.path / _CHUNKS / short_name(source) / str(index)
        start, end = part_of(request.splits(source), index, request.parts)
        if start == end:
            target.mkdir(parents=True)
            continue
        (result,) = generate(
            source,
            text=request.text,
            summary=request.summary,
            licence=request.licence,
            max_samples=request.max_samples,
            start_index=start,
            end_index=end,
            chunk_id=str(index),
            output_dir=run.work("pages") / str(index),
            workers=cores,
            pages=pages,
        )
        say(f"{name}: rows {start} to {end}, {result.pages} pages")
        target.parent.mkdir(parents=True, exist_ok=True)
        result.folder.rename(target)


def _assemble(run: Run) -> None:
    """Put the parts of every source together, and count what came of it."""
    figures: dict[str, dict[str, int]] = {}
    for output in run.plan.step("assemble").inputs:
        name = Path(output).name
        receipts = assemble(chunks_in(run.path / output), run.path / DATASETS / name, private=True)
        figures[name] = {
            "documents": sum(receipt.rows for receipt in receipts),
            "errors": sum(len(receipt.errors) for receipt in receipts),
            "pages": sum(receipt.pages for receipt in receipts),
            "bytes": sum(receipt.bytes for receipt in receipts),
        }
    durable.write_json(run.path / "metrics.json", figures)


def _download(run: Run) -> None:
    request = Request.model_validate(run.plan.step("sources").settings)
    here = run.plan.step("pages").sources
    splits = {name: request.splits(name) for name in request.sources if name not in here}
    durable.write_json(run.path / "sources.json", splits)


if __name__ == "__main__":
    step_process(main)
