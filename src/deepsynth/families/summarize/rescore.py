"""Refusing an export that is not the model that was trained."""

from __future__ import annotations

from typing import Any

from deepsynth.errors import StepFailed

TOLERANCE = {"no": 1e-3, "bf16": 0.03, "fp16": 0.03}
"""Relative difference of losses that rounding explains, by the precision of the weights."""


def check_same_loss(name: str, trained: float, reloaded: float, precision: str) -> None:
    """Compare the loss the training process measured with that of weights loaded from disk.

    Args:
        name: What was loaded: `adapter` or `merged`.
        trained: Loss before export.
        reloaded: Loss of the same samples afterwards, in another process.
        precision: The model's.

    Raises:
        StepFailed: They differ by more than rounding: weights were lost or changed.
    """
    allowed = TOLERANCE[precision] * max(abs(trained), 0.05)
    if not abs(trained - reloaded) <= allowed:
        raise StepFailed(
            f"the exported {name} is not the trained model: loss {reloaded:.5f} after loading, "
            f"{trained:.5f} before.",
            where=f"model/{name}",
            hint="Do not use it. Train again; if it happens again, please report it.",
        )


def compare_outputs(adapter: list[str], merged: list[str]) -> dict[str, Any]:
    """How many summaries adapter and merged model write alike, word for word."""
    same = sum(a == b for a, b in zip(adapter, merged, strict=True))
    return {"samples": len(adapter), "identical": same}


def check_same_outputs(
    adapter: dict[str, Any], merged: dict[str, Any], alike: dict[str, Any], precision: str
) -> None:
    """Refuse a merged model whose summaries score differently.

    In 32 bits every summary must be the same; in 16 bits merging rounds, which may turn a word
    here and there, but not the score.

    Raises:
        StepFailed: They differ.
    """
    differs = abs(adapter["rougeL"] - merged["rougeL"])
    if (precision == "no" and alike["identical"] < alike["samples"]) or differs > 0.02:
        raise StepFailed(
            f"adapter and merged model do not write the same: {alike['identical']} of "
            f"{alike['samples']} summaries alike, ROUGE-L {adapter['rougeL']:.4f} and "
            f"{merged['rougeL']:.4f}.",
            where="model/merged",
            hint="Use model/adapter with its base model, and please report this.",
        )
