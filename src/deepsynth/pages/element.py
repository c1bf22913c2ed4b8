"""The steps of `generate --array`: download the sources once, and draw one part of each."""

from __future__ import annotations

import os
from typing import Any

from deepsynth import durable
from deepsynth.data.opening import open_corpus, short_name
from deepsynth.pages.array import PAGES, part_of
from deepsynth.pages.generate import generate
from deepsynth.pages.plan import Selection
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run


def main(run: Run) -> None:
    """Do what the step of this process is there for."""
    name = os.environ.get("DEEPSYNTH_STEP", PAGES)
    if name == PAGES:
        draw(run, int(os.environ.get("DEEPSYNTH_INDEX", "0")))
    else:
        _download(run)


def draw(run: Run, index: int) -> None:
    """Draw part `index` of every source into `NAME-chunks/INDEX`."""
    step = run.plan.step(PAGES)
    options = dict(step.settings)
    names, parts = options.pop("sources"), options.pop("parts")
    options["font"] = run.source(step, "font") if options["font"] else None
    cores = int(os.environ.get("SLURM_CPUS_PER_TASK") or step.resources.cpus)
    work = run.work(PAGES) / str(index)
    for name in names:
        source = str(run.source(step, name)) if name in step.sources else name
        target = run.path / f"{short_name(source)}-chunks" / str(index)
        start, end = part_of(_splits(source, options), index, parts)
        if start == end:
            target.mkdir(parents=True)
            continue
        (result,) = generate(
            source,
            **options,
            start_index=start,
            end_index=end,
            chunk_id=str(index),
            output_dir=work,
            workers=cores,
        )
        print(f"{name}: rows {start} to {end}, {result.pages} pages")
        target.parent.mkdir(exist_ok=True)
        result.folder.rename(target)


def _splits(source: str, options: dict[str, Any]) -> dict[str, int]:
    keys = ("text", "summary", "licence")
    corpus = open_corpus(source, **{key: options[key] for key in keys})
    return Selection(max_samples=options["max_samples"]).splits(corpus)


def _download(run: Run) -> None:
    options = run.plan.step("sources").settings
    step = run.plan.step(PAGES)
    splits = {
        name: _splits(name, options) for name in options["sources"] if name not in step.sources
    }
    durable.write_json(run.path / "sources.json", splits)


if __name__ == "__main__":
    step_process(main)
