"""Pages for people, each one self-contained file.

`report.html`: figures, documents with reference and output side by side, how it was trained.
`checks/preview.html`: one document as the model gets it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.evaluation.comparison import shown_interval
from deepsynth.families.summarize.batches import Written
from deepsynth.families.summarize.job import SummarizeJob
from deepsynth.families.summarize.metrics import rouge, words
from deepsynth.families.summarize.prepared import rows_of
from deepsynth.families.summarize.samples import Page, PageSamples, decode_page
from deepsynth.report import page as html
from deepsynth.report.curve import Series, draw_curve
from deepsynth.run.run import Run

_THUMBNAIL = 640
"""Side of a page in the gallery, in pixels; type of 16 px on a page of 1024 stays readable."""
_PAGES_SHOWN = 2


def write_report(
    run: Run,
    final: dict[str, Any],
    samples: PageSamples,
    written: dict[int, Written],
    untrained: list[str],
    experts: list[dict[str, Any]],
) -> None:
    """Write the page of a run.

    Args:
        run: Whose.
        final: What `metrics.json` holds.
        samples: What was summarised.
        written: By the trained model, of each document.
        untrained: By the model before training; empty when it was not asked.
        experts: The expert-usage report.
    """
    job = run.job(SummarizeJob)
    shown = list(enumerate(written.items()))[: job.evaluation.gallery]
    gallery = [
        {
            "where": samples.where(index),
            "pages": [page_picture(page) for page in samples[index].pages[:_PAGES_SHOWN]],
            "more": max(0, len(samples[index].pages) - _PAGES_SHOWN),
            "reference": samples.summaries()[index],
            "written": shared_words(one.text, samples.summaries()[index]),
            "before": untrained[place] if untrained else None,
            "rougeL": rouge(one.text, samples.summaries()[index])["rougeL"],
        }
        for place, (index, one) in shown
    ]
    curve = durable.read_json(run.path / "training" / "curve.json") or []
    html.write_report(
        run,
        Path(__file__).with_name("report.html.j2"),
        final=final,
        rows=rows_of(run),
        gallery=gallery,
        experts=experts,
        interval=shown_interval,
        curve=_curve(curve),
    )


def write_preview(run: Run, samples: PageSamples, preview: dict[str, Any]) -> None:
    """Write `checks/preview.html`.

    Args:
        run: Whose.
        samples: Their first document is shown.
        preview: As `check_mask` returns it.
    """
    pages = samples.read(0).pages
    page = html.render(
        Path(__file__).with_name("preview.html.j2"),
        p=preview,
        pages=[page_picture(page) for page in pages[:_PAGES_SHOWN]],
        more=max(0, len(pages) - _PAGES_SHOWN),
    )
    durable.write_text(run.path / "checks" / "preview.html", page)


def shared_words(written: str, reference: str) -> list[tuple[str, bool]]:
    """A summary in pieces, each with whether the reference has it at this place.

    What is shared is the longest common sequence of words, as ROUGE-L counts it.
    """
    from rapidfuzz.distance import LCSseq

    if not written.strip():
        return []
    pieces = re.split(r"(\s+)", written.strip())
    ours = [" ".join(words(piece)) for piece in pieces[::2]]
    theirs = [" ".join(words(piece)) for piece in reference.split()]
    common = {
        place
        for op in LCSseq.opcodes(ours, theirs)
        if op.tag == "equal"
        for place in range(op.src_start, op.src_end)
    }
    runs: list[tuple[str, bool]] = []
    for place, piece in enumerate(pieces[::2]):
        shared = place in common
        # The space between two pieces belongs to them if both are of the same kind.
        space = pieces[2 * place - 1] if place else ""
        if runs and runs[-1][1] == shared:
            runs[-1] = (runs[-1][0] + space + piece, shared)
        else:
            if space:
                runs.append((space, False))
            runs.append((piece, shared))
    return runs


def page_picture(page: Page) -> str:
    """A page as a data URL, small enough to put a dozen into one file.

    What is blank below the last line is left out, down to a third of the page.
    """
    from PIL import Image, ImageChops

    image = decode_page(page.data, page.where).convert("L")
    ink = ImageChops.difference(image, Image.new("L", image.size, 255)).getbbox()
    bottom = ink[3] if ink else 0
    margin = image.height // 16
    image = image.crop(
        (0, 0, image.width, min(image.height, max(bottom + margin, image.height // 3)))
    )
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return html.data_url_of(image)


def _curve(points: list[dict[str, Any]]) -> str:
    def found(key: str) -> list[tuple[float, float]]:
        return [(p["update"], p[key]) for p in points if p.get(key) is not None]

    return draw_curve(
        [
            Series("training loss", found("loss")),
            Series("validation loss", found("eval_loss")),
            Series("validation ROUGE-L", found("eval_rougeL"), share=True),
        ],
        x="updates",
        y="loss",
    )
