"""Using a trained summariser: texts are drawn as pages first, pictures are taken as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.errors import DataError
from deepsynth.families.summarize.batches import PageCollator, Written, generate
from deepsynth.families.summarize.job import Pages, SummarizeJob
from deepsynth.families.summarize.model import autocast, page_view
from deepsynth.families.summarize.prepared import (
    drawn_settings,
    exported,
    generation_limit,
    load_adapted,
    load_whole,
    start_config,
    to_device,
)
from deepsynth.families.summarize.samples import PageSamples
from deepsynth.pages.render.settings import PageSettings
from deepsynth.run.run import Run
from deepsynth.training.arguments import choose_precision

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")


def predict(run: Run, texts: Sequence[str], files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Summarise with the model of a run.

    Args:
        run: A run whose training is done.
        texts: Documents to summarise.
        files: Text files (one document each) or pictures of pages.

    Yields:
        `text` (its beginning, or the file), `summary`, `pages`.

    Raises:
        ModelError: The run has no model yet.
        DataError: A file cannot be read, or a text cannot be drawn.
    """
    job = run.job(SummarizeJob)
    folders = exported(run)
    settings = page_settings(next(iter(folders.values())), job.pages)
    documents: list[tuple[str, list[Any]]] = [
        (text[:80], draw(text, settings, f"text {number}")) for number, text in enumerate(texts, 1)
    ]
    documents += [(str(file), read_document(file, settings)) for file in files]
    if not documents:
        return
    config = start_config(run, "evaluate")
    model, processor = (
        load_whole(folders["merged"], config)
        if "merged" in folders
        else load_adapted(run, "evaluate", folders["adapter"])
    )
    rows = [{"images": pages, "summary": ""} for _, pages in documents]
    samples = PageSamples(rows, "what is asked")
    alike: dict[tuple[int, int], list[int]] = {}  # the view depends on the size of the pages
    for index in range(len(samples)):
        alike.setdefault(samples[index].pages[0].size, []).append(index)
    written: dict[int, Written] = {}
    for size, indices in alike.items():
        view = page_view(processor, size, job.pages.tiles)
        collator = PageCollator(processor, view, job.prompt, job.train.max_target_tokens)
        with autocast(choose_precision(config.mixed_precision)):
            found = generate(
                to_device(model),
                collator,
                samples,
                indices,
                batch_size=job.evaluation.batch_size,
                max_new_tokens=generation_limit(run),
            )
        written |= zip(indices, found, strict=True)
    for index, (name, pages) in enumerate(documents):
        yield {"text": name, "summary": written[index].text, "pages": len(pages)}


def read_document(file: Path, settings: PageSettings) -> list[Any]:
    """The pages of a file: its picture, or its text drawn.

    Raises:
        DataError: It is neither.
    """
    if not file.is_file():
        raise DataError("there is no such file.", where=file)
    if file.suffix.lower() in PICTURES:
        return [file.read_bytes()]
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(
            "this is neither a picture nor a text file in UTF-8.",
            where=file,
            hint=f"Pictures end in {', '.join(PICTURES)}.",
        ) from None
    return draw(text, settings, str(file))


def page_settings(model: Path, asked: Pages) -> PageSettings:
    """How pages must look for a model: as those it was trained on.

    Args:
        model: Folder of adapter or model, which says how they were drawn.
        asked: The job's `pages:`, for models from before this was recorded.
    """
    trained = (durable.read_json(model / "training_config.json") or {}).get("pages") or {}
    return drawn_settings(trained, asked)


def draw(text: str, settings: PageSettings, name: str) -> list[Any]:
    """The pages of a text.

    Raises:
        DataError: Nothing in it can be drawn.
    """
    from deepsynth.pages.render.renderer import BadDocument, Renderer

    try:
        return list(Renderer(settings).render(text).pages)
    except BadDocument as error:
        raise DataError(f"cannot be drawn: {error}.", where=name) from None
