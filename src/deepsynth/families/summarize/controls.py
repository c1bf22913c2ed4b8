"""Does a model look at its pages? The same model, given other pages than those of the document.

Whatever a model writes must come from the pages: with those of another document it must write that
document's summary. One that scores as well on wrong pages has learned what summaries are like here,
not what is on a page.
"""

from __future__ import annotations

import io
import random
from collections.abc import Sequence

from deepsynth.errors import StepFailed
from deepsynth.families.summarize.batches import Written
from deepsynth.families.summarize.metrics import rouge_l
from deepsynth.families.summarize.samples import Page, PageSamples, Sample

LOOKED_AT = 32
"""Documents that are summarised from the pages of another one."""
_ALIKE = {"no": 0.9, "bf16": 0.3, "fp16": 0.3}
"""Mean ROUGE-L between two writings of the same pages, whatever rounding does to batches."""


def other_documents(indices: Sequence[int], seed: int) -> dict[int, int]:
    """For each document another one of them, in no regular order; empty for less than two."""
    drawn = list(indices)
    random.Random(seed).shuffle(drawn)
    if len(drawn) < 2:
        return {}
    following = dict(zip(drawn, [*drawn[1:], drawn[0]], strict=True))
    return {index: following[index] for index in indices}


class OtherPages:
    """The documents, each with the pages of another one.

    Args:
        samples: Their owner.
        others: Whose pages each document is given.
    """

    def __init__(self, samples: PageSamples, others: dict[int, int]) -> None:
        self._samples = samples
        self._others = others

    def __getitem__(self, index: int) -> Sample:
        pages = self._samples[self._others[index]].pages
        return Sample(index, pages, self._samples.summaries()[index])


class BlankPages:
    """The documents, each with as many pages of the same size and nothing on them."""

    def __init__(self, samples: PageSamples) -> None:
        self._samples = samples

    def __getitem__(self, index: int) -> Sample:
        pages = tuple(_blank(page.size) for page in self._samples[index].pages)
        return Sample(index, pages, self._samples.summaries()[index])

    def representatives(self, indices: Sequence[int]) -> dict[int, int]:
        """For each document the first one with blank pages of the same number and sizes."""
        first: dict[tuple[tuple[int, int], ...], int] = {}
        found: dict[int, int] = {}
        for index in indices:
            sizes = tuple(page.size for page in self._samples[index].pages)
            found[index] = first.setdefault(sizes, index)
        return found


def require_own_summaries(
    written: dict[int, Written], swapped: dict[int, Written], others: dict[int, int], precision: str
) -> None:
    """Refuse summaries that do not belong to the pages they are filed under.

    Args:
        written: By document, from its own pages.
        swapped: By document, from the pages of another one.
        others: Whose pages these were.
        precision: What was computed in.

    Raises:
        StepFailed: The same pages, summarised twice, have different summaries: predictions are
            mixed up, or something beside the pages reaches the model.
    """
    if not others:
        return
    first, again = zip(
        *((written[other].text, swapped[index].text) for index, other in others.items()),
        strict=True,
    )
    scores = rouge_l(first, again)
    alike = [1.0 if a == b else s for a, b, s in zip(first, again, scores, strict=True)]
    if sum(alike) / len(alike) < _ALIKE[precision]:
        raise StepFailed(
            "the summaries do not belong to the pages they are filed under: written again from "
            f"the same pages, {sum(a == b for a, b in zip(first, again, strict=True))} of "
            f"{len(first)} are the same.",
            where="step evaluate",
            hint="Do not use these figures, and please report this.",
        )


def _blank(size: tuple[int, int]) -> Page:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("L", size, "white").save(stream, format="PNG")
    return Page(f"blank {size[0]}x{size[1]}", size, stream.getvalue(), "a blank page")
