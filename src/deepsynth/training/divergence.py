"""A loss that is no number ends the training, whoever trains; the same words for all of them."""

from __future__ import annotations

from deepsynth.errors import DeepSynthError


def diverged(moment: str, where: str, look: str = "") -> DeepSynthError:
    """The error that ends such a training.

    Args:
        moment: When it was seen: `update 12`.
        where: The step, or the samples that did it.
        look: What to look at before the settings, a sentence.
    """
    lower = "Lower train.learning_rate, raise train.warmup_ratio, or train without fp16."
    return DeepSynthError(
        f"the loss is not a number any more at {moment}.",
        where=where,
        hint=f"{look} {lower} The last good checkpoint is kept.".strip(),
    )
