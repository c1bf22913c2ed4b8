"""Findings about pages and summaries: what the model would see, and what it would have to write."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from deepsynth import images
from deepsynth.checks import Finding, Severity
from deepsynth.errors import DataError
from deepsynth.evaluation.comparison import FEWEST
from deepsynth.families.summarize.batches import IGNORED, PageCollator
from deepsynth.families.summarize.model import PageView
from deepsynth.families.summarize.samples import PageSamples

TRUNCATED_SHARE = 0.02
_ALIKE_SHARE = 0.2
"""Share of the documents from which on one summary is too common."""
_DISTINCT_SHARE = 0.5
"""Share of the documents that must have a summary of their own."""
_EXAMPLES = 5


def check_size(samples: PageSamples, split: str, total: int) -> list[Finding]:
    """Whether a held-out split is large enough for a figure.

    Args:
        samples: What is scored after training.
        split: Its name.
        total: Documents in all splits.
    """
    if split == "train" or len(samples) >= FEWEST:
        return []
    share = math.ceil(100 * FEWEST / total) / 100
    fix = f"Hold out more: data.{split}_share: {share:.2f}." if share < 0.5 else ""
    what = f"{len(samples)} documents of the {split} split are too few for a figure "
    what += f"(at least {FEWEST}): after training there will be none."
    return [Finding(Severity.WARNING, "split-small", f"data.{split}_share", what, fix)]


def check_pages(samples: PageSamples, split: str) -> list[Finding]:
    """Pages that are missing or damaged, and pages of different sizes.

    Every page is looked at: PNG carries a checksum for each of its parts, which finds damage
    without decoding the picture.
    """
    missing: list[str] = []
    damaged: list[str] = []
    sizes: Counter[tuple[int, int]] = Counter()
    for index in range(len(samples)):
        where = samples.where(index)
        try:
            pages = samples.read(index).pages
        except DataError as error:
            damaged.append(str(error.where))
            continue
        if not pages:
            missing.append(where)
        for page in pages:
            sizes[page.size] += 1
            try:
                with images.opened(page.data, where) as image:
                    image.verify()
            except DataError:
                damaged.append(where)
    findings: list[Finding] = []
    for code, places, what in (
        ("page-missing", missing, "documents have no page"),
        ("page-unreadable", damaged, "pages are damaged or no pictures"),
    ):
        if places:
            findings.append(
                Finding(
                    Severity.ERROR,
                    code,
                    split,
                    f"{len(places)} {what}.",
                    "Delete these shards and run deepsynth generate again; only they are made.",
                    tuple(places[:_EXAMPLES]),
                )
            )
    if len(sizes) > 1:
        shown = ", ".join(f"{w}x{h} ({n})" for (w, h), n in sizes.most_common(4))
        findings.append(
            Finding(
                Severity.WARNING,
                "page-sizes",
                split,
                f"Pages differ in size: {shown}.",
                "Generate all with one --mode, so that every page costs the same and none is "
                "scaled.",
            )
        )
    return findings


def check_geometry(view: PageView, pages: float) -> list[Finding]:
    """Whether the pages are as large as the encoder's view, and what they cost in tokens."""
    width, height = view.page
    cost = f"{view.tokens} tokens a page, {pages:.1f} pages a document"
    if not view.size or (width, height) == (view.size, view.size):
        return [
            Finding(Severity.INFO, "page-tokens", "pages", f"Pages of {width}x{height} px: {cost}.")
        ]
    scale = view.size / max(width, height)
    verb = "shrunk" if scale < 1 else "enlarged"
    if not view.call and view.tokens > 300:
        what = f"cut into tiles, {cost}"
        fix = "Set pages.tiles: false for one view, about four times cheaper."
    else:
        what = f"{verb} to one view of {view.size} px, {cost}"
        fix = f"Generate pages of {view.size} px, or take a model with a view of {width} px."
        if scale < 1:
            fix += f" Type of 16 px comes out {16 * scale:.0f} px high."
    return [
        Finding(
            Severity.WARNING,
            "page-geometry",
            "pages",
            f"Pages of {width}x{height} px are {what}.",
            fix,
        )
    ]


def check_summaries(
    samples: PageSamples, split: str, collator: PageCollator, limit: int
) -> tuple[list[Finding], int]:
    """Empty, repeated and overlong summaries.

    Args:
        samples: Of a split.
        split: Its name.
        collator: As in training.
        limit: Tokens after which a written summary is cut.

    Returns:
        Findings, and the tokens that 95 % of the summaries stay within.
    """
    import numpy as np

    texts = samples.summaries()
    empty = [index for index, text in enumerate(texts) if not text.strip()]
    findings: list[Finding] = []
    if empty:
        every = len(empty) == len(texts)
        findings.append(
            Finding(
                Severity.ERROR if every else Severity.WARNING,
                "summary-empty",
                split,
                f"{'All' if every else len(empty)} of {len(texts)} summaries are empty; the model "
                "would learn to say nothing.",
                "Look at the column that was taken for the summary, or remove these rows.",
                tuple(samples.where(index) for index in empty[:_EXAMPLES]),
            )
        )
    findings += _alike(texts, split)
    learned = collator.max_target_tokens
    # No token is longer than a few hundred characters: beyond this the count changes nothing.
    capped = [text[: 64 * max(learned, limit)] for text in texts]
    lengths = np.array([len(ids) + 1 for ids in collator.tokens_of(capped)] or [1])
    cut = np.flatnonzero(lengths > learned)
    middle, high, top = np.percentile(lengths, [50, 95, 100]).astype(int)
    findings.append(
        Finding(
            Severity.INFO,
            "summary-tokens",
            split,
            f"Tokens of a summary: {middle} in the middle, 95 % up to {high}, longest {top}; "
            f"{len(cut) / len(lengths):.1%} are cut at {learned}; {len(set(texts))} of "
            f"{len(texts)} are different. Summaries are written up to {limit} tokens.",
        )
    )
    if len(cut):
        severe = len(cut) / len(lengths) > TRUNCATED_SHARE
        findings.append(
            Finding(
                Severity.WARNING if severe else Severity.INFO,
                "summary-truncated",
                split,
                f"{len(cut)} summaries lose their end at train.max_target_tokens {learned}.",
                f"Set train.max_target_tokens: {high + 8}, or shorten them.",
                tuple(samples.where(int(index)) for index in cut[:_EXAMPLES]),
            )
        )
    beyond = np.flatnonzero(lengths > limit)
    if len(beyond):
        findings.append(
            Finding(
                Severity.WARNING,
                "summary-beyond-limit",
                split,
                f"{len(beyond)} of {len(texts)} summaries are longer than what the model may "
                f"write, {limit} tokens: it cannot score well on them.",
                f"Set evaluation.max_new_tokens: {top + 8}, or leave it out: it then follows the "
                "training summaries. Those are cut at train.max_target_tokens.",
                tuple(samples.where(int(index)) for index in beyond[:_EXAMPLES]),
            )
        )
    return findings, int(high)


def _alike(texts: list[str], split: str) -> list[Finding]:
    """A summary that stands under many documents: the model would learn to say it of any page."""
    (common, count), *_ = Counter(text.strip() for text in texts).most_common(1) or [("", 0)]
    if count < max(2, _ALIKE_SHARE * len(texts)) or not common:
        distinct = len({text.strip() for text in texts})
        if distinct > _DISTINCT_SHARE * len(texts):
            return []
        what = f"{len(texts)} documents have {distinct} different summaries, like labels. A model "
        what += "that guesses them scores well; for labels there is a family that sorts texts."
        return [Finding(Severity.WARNING, "summary-alike", split, what)]
    every = count == len(texts)
    return [
        Finding(
            Severity.ERROR if every else Severity.WARNING,
            "summary-alike",
            split,
            f"{count} of {len(texts)} documents have the same summary: “{common[:80]}”. A model "
            "that does not look at the page would score well.",
            "Look at the column that was taken for the summary, or remove these rows.",
        )
    ]


def check_mask(
    samples: PageSamples, collator: PageCollator
) -> tuple[list[Finding], dict[str, Any]]:
    """Whether loss falls on the summary and on nothing else, on the first document.

    Returns:
        Findings, and the sample as `preview.html` shows it: what is masked, and what is learned
        token by token.
    """
    tokenizer = collator.processor.tokenizer
    sample = samples.read(0)
    batch = collator([sample])
    ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
    # The labels themselves, not the inputs below them: what is learned is what stands here.
    learned = [label for label in labels if label != IGNORED]
    shown = [token for token, label in zip(ids, labels, strict=True) if label != IGNORED]
    wanted = collator.target_ids(sample.summary)
    decoded = tokenizer.decode(learned, skip_special_tokens=True)
    preview = {
        "where": samples.where(0),
        "prompt": collator.prompt_text(len(sample.pages)),
        "masked_tokens": len(ids) - len(learned),
        "learned_tokens": len(learned),
        "page_tokens": collator.view.tokens * len(sample.pages),
        "pieces": _pieces(tokenizer, learned),
        "decoded": decoded,
        "summary": sample.summary,
    }
    if learned != wanted or shown != wanted:
        return [
            Finding(
                Severity.ERROR,
                "mask-wrong",
                samples.where(0),
                f"Loss falls on “{decoded[:60]}”, {len(learned)} tokens; the summary is "
                f"“{sample.summary[:60]}”, {len(wanted)} tokens.",
                "This processor pads or orders its input in a way that is not supported.",
            )
        ], preview
    return [
        Finding(
            Severity.INFO,
            "mask",
            samples.where(0),
            f"{preview['masked_tokens']} tokens of pages and prompt are masked, "
            f"{len(learned)} tokens of the summary are learned: “{decoded[:80]}”.",
        )
    ], preview


def _pieces(tokenizer: Any, tokens: list[int]) -> list[dict[str, Any]]:
    """Tokens as text; those that make up one character only together are one piece."""
    pieces: list[dict[str, Any]] = []
    held: list[int] = []
    for token in tokens:
        held.append(token)
        text = tokenizer.decode(held)
        if not text.endswith("\ufffd"):
            end = held == [tokenizer.eos_token_id]
            pieces.append({"text": text, "tokens": len(held), "end": end})
            held = []
    if held:
        pieces.append({"text": tokenizer.decode(held), "tokens": len(held), "end": False})
    return pieces
