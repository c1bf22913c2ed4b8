"""`generate --on SITE --array N`: the rows of every source in N parts, drawn side by side.

The parts are chunks like those of `--start-index` and `--end-index`: an array of one step, whose
failed elements are named and done again alone. What comes back is put together by `--assemble`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.data.opening import open_corpus, short_name, source_names
from deepsynth.errors import DeepSynthError, RequestError, StepFailed, Stopped
from deepsynth.job.job import Job, ResolvedJob
from deepsynth.pages.generate import refuse_public_sources
from deepsynth.pages.identity import SETTINGS
from deepsynth.pages.render.settings import PageSettings, parse_degrade
from deepsynth.pages.shards import ROWS_PER_SHARD
from deepsynth.run.run import Run, is_run
from deepsynth.run.step import Plan, Resources, Step
from deepsynth.runners import get_runner
from deepsynth.terminal.display import RunDisplay

PAGES = "pages"
"""Name of the step that draws; one element a part."""


def draw_elsewhere(
    sources: Sequence[str],
    options: Mapping[str, Any],
    *,
    on: str,
    parts: int,
    output_dir: Path,
    private: bool = True,
    runs: Path = Path("runs"),
    quiet: bool = False,
) -> None:
    """Draw every source in parts at a site, and bring the chunks into `output_dir`.

    The same request goes on with the same run: what is queued or done there stays as it is.

    Args:
        sources: As `generate` takes them.
        options: What decides the pages: `text`, `summary`, `max_samples`, `mode`, `size_px`,
            `profile`, `degrade`, `font`, `seed`, `licence`.
        on: As after `--on`.
        parts: Elements of the array.
        output_dir: Where the chunks go, as `NAME-chunks/`.
        private: To be published privately; sources that may not be public refuse False.
        runs: Folder of the run folder.
        quiet: Show no progress.

    Raises:
        RequestError: Something asked for cannot be; nothing was sent.
        StepFailed: Elements failed; names them.
        Stopped: Ctrl-C; the run goes on at the site.
    """
    if not 1 <= parts <= 10_000:
        raise RequestError(f"{parts} parts are not possible", where="--array")
    names = source_names(sources)
    refuse_public_sources(names, private)
    PageSettings(
        **{key: options[key] for key in ("mode", "size_px", "profile", "seed")},
        degrade=parse_degrade(options["degrade"]),
        font=Path(options["font"]) if options["font"] else None,
    )
    runner = get_runner(on)
    run = _open_run(names, options, parts, runs)
    again = "give the same command again: only what is missing is done."
    try:
        with RunDisplay(run, quiet=quiet) as display:
            runner.run(run, run.plan.steps, display.tick)
    except Stopped as error:
        error.hint = f"See deepsynth status {run.path}; to follow it, {again}"
        raise
    except StepFailed as error:
        log = f"Read the log: deepsynth logs {run.path}"
        error.hint = f"{error.hint or log}\n  When it is mended, {again}"
        raise
    _bring_chunks(run, output_dir)


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


def _open_run(names: list[str], options: Mapping[str, Any], parts: int, runs: Path) -> Run:
    files: dict[str, str] = {}
    digests: dict[str, Any] = {}
    for name in names:
        path = Path(name).expanduser()
        if path.exists():
            open_corpus(name, text=options["text"], summary=options["summary"])
            files[short_name(name)] = str(path.resolve())
            digests[name] = durable.digest(path)
    if font := options["font"]:
        files["font"] = str(Path(font).resolve())
    settings = dict(options) | {
        "sources": [short_name(name) if short_name(name) in files else name for name in names],
        "font": Path(font).name if font else None,
        "parts": parts,
    }
    made = durable.sha256_value([settings, digests])[:6]
    path = runs / f"generate-{short_name(names[0])}-{made}"
    if is_run(path):
        return Run.open(path)
    runs.mkdir(parents=True, exist_ok=True)
    resolved = ResolvedJob(Job(family="generate"), {}, "family: generate\n", path.name)
    return Run.create(path, resolved, _plan(names, files, settings, parts))


def _plan(names: list[str], files: dict[str, str], settings: dict[str, Any], parts: int) -> Plan:
    argv = ["{python}", "-m", "deepsynth.pages.element", "{run}"]
    draw = Step(
        name=PAGES,
        title="Drawing pages",
        argv=argv,
        sources=files,
        outputs=[f"{short_name(name)}-chunks/{{index}}" for name in names],
        settings=settings,
        array=parts,
        resources=Resources(cpus=4, memory_gb=8, minutes=480),
    )
    if len(files) - ("font" in files) == len(names):
        return Plan(steps=[draw])
    # Once before the array, not in every element of it at the same moment.
    get = Step(
        name="sources",
        title="Downloading the sources",
        argv=argv,
        outputs=["sources.json"],
        settings=settings,
        resources=Resources(minutes=240),
    )
    return Plan(steps=[get, draw.model_copy(update={"after": ["sources"]})])


def _bring_chunks(run: Run, output_dir: Path) -> None:
    """Link (or copy) the chunks of a run to where `--assemble` looks for them."""
    for part in sorted(run.path.glob("*-chunks/*")):
        target = output_dir / part.parent.name / f"{run.path.name[-6:]}-{int(part.name):05d}"
        if not (part / SETTINGS).exists() or target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with durable.appearing(target) as draft:
                durable.link_or_copy(part, draft)
        except OSError as error:
            raise DeepSynthError(
                f"the chunks cannot be put there: {error.strerror}.", where=output_dir
            ) from error
