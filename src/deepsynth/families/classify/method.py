"""How a classifier is trained: the probe, fine-tuning, or one from the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deepsynth.errors import ModelError
from deepsynth.families.classify.job import ClassifyJob

ENOUGH = 50
"""Training texts a label from which fine-tuning may pay. On BANKING77 with 36 of them, passes over
all texts at 2e-5 and at 1e-4 left the probe ahead."""


@dataclass(frozen=True)
class Method:
    """What is done.

    Attributes:
        probe: A linear head on the encoder as it came.
        finetune: The whole model is trained, from the probe if there is one.
        why: The reason, for people.
    """

    probe: bool
    finetune: bool
    why: str


def choose_method(job: ClassifyJob, model: Any, texts: int) -> Method:
    """What `train.method` means for this model and so many training texts.

    Raises:
        ModelError: A probe is asked for of a model that has nothing to probe.
    """
    from deepsynth.families.classify.probe import head_of

    wanted, labels = job.train.method, model.config.num_labels
    if wanted == "finetune":
        return Method(False, True, "asked for by train.method")
    if job.is_scratch or head_of(model) is None:
        why = (
            "fresh weights know nothing yet"
            if job.is_scratch
            else "its last layer cannot be fitted by itself"
        )
        if wanted == "probe":
            raise ModelError(
                f"a probe reads a pretrained encoder, and this is none: {why}.",
                where=f"model: {job.model}",
                hint="Set train.method: finetune, or take a sentence encoder.",
            )
        return Method(False, True, why)
    if wanted == "probe":
        return Method(True, False, "asked for by train.method")
    each = texts / labels
    if each < ENOUGH:
        return Method(
            True,
            False,
            f"with {each:.0f} texts a label (fewer than {ENOUGH}) fine-tuning rarely gains "
            "anything; train.method: finetune tries it",
        )
    return Method(True, True, f"with {each:.0f} texts a label fine-tuning may gain")
