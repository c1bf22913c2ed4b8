"""What a training leaves: the weights of its best checkpoint, and the base merged with them.

Step `export` writes `model/merged`; the step after it scores adapter and merged model in a fresh
process, and refuses what is not the model that was trained.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.errors import StepFailed
from deepsynth.families.summarize.job import SummarizeJob
from deepsynth.families.summarize.lora import BASE_FILE
from deepsynth.families.summarize.prepared import load_adapted
from deepsynth.families.summarize.session import Session
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run

TOLERANCE = {"no": 1e-3, "bf16": 0.03, "fp16": 0.03}
"""Relative difference of losses that rounding explains, by the precision of the weights."""


def export_checkpoint(
    session: Session, checkpoint: Path, target: Path, pages: dict[str, Any] | None = None
) -> None:
    """Copy the weights of a checkpoint (no optimiser, no scheduler) with processor and base.

    Args:
        session: What trained.
        checkpoint: Its best checkpoint.
        target: Where adapter or model go.
        pages: How the pages it was trained on were drawn, if that is known: whoever uses the
            model draws the same way.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(checkpoint.iterdir()):
        if path.suffix == ".safetensors" or path.name in (
            "adapter_config.json",
            "config.json",
            "generation_config.json",
            "model.safetensors.index.json",
        ):
            shutil.copy2(path, target / path.name)
    session.processor.save_pretrained(target)
    if session.is_lora:
        _record_base(session, target)
    # Where things lay on this machine is nobody else's business.
    config = session.config.model_dump(mode="json", exclude={"output_dir", "cache_dir"}) | {
        "model_name": public_name(session.config.model_name),
        "decided": session.decided,
        "trainable": session.trainable.by_part,
        "precision": session.precision,
        "pages": pages,
    }
    durable.write_json(target / "training_config.json", config)


def public_name(model: str) -> str:
    """A model's name without the folders of this machine."""
    return Path(model).name if Path(model).is_absolute() else model


def _record_base(session: Session, target: Path) -> None:
    """Say which base the adapter needs: by relative path where we made it, else by name."""
    base = Path(session.base)
    beside = base.is_dir() and target.resolve().is_relative_to(base.resolve().parent)
    place = os.path.relpath(base, target) if beside else session.base
    durable.write_json(target / BASE_FILE, session.fingerprint | {"name": place})
    settings = durable.read_json(target / "adapter_config.json")
    settings["base_model_name_or_path"] = place if beside else public_name(session.base)
    durable.write_json(target / "adapter_config.json", settings)


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


def check_same_start(began: float, loaded: float, precision: str) -> None:
    """Compare the model before training, as it is loaded now, with that which training began with.

    Raises:
        StepFailed: It is another model, so it is no baseline of this training.
    """
    if not abs(began - loaded) <= TOLERANCE[precision] * max(abs(began), 0.05):
        raise StepFailed(
            f"the model before training is not the one that training began with: loss {loaded:.5f} "
            f"now, {began:.5f} then.",
            where="step evaluate",
            hint="Compare nothing with it. Train again; if it happens again, please report it.",
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


def main(run: Run) -> None:
    """Merge the adapter of a run."""
    import torch

    job = run.job(SummarizeJob)
    adapter = run.path / "model" / "adapter"
    target = run.path / "model" / "merged"
    if job.lora.quantize == "nf4":
        raise StepFailed(
            "an adapter cannot be merged into 4-bit weights without loss.",
            where="export.merged",
            hint="Set export.merged: false, or use the preset standard.",
        )
    model, processor = load_adapted(run, "export", adapter)
    merged: Any = model.merge_and_unload()
    bad = [name for name, weight in merged.named_parameters() if not torch.isfinite(weight).all()]
    if bad:
        raise StepFailed(
            f"merged weights are not finite: {', '.join(bad[:3])}.",
            where=target,
            hint="Lower train.learning_rate.",
        )
    merged.save_pretrained(target)
    processor.save_pretrained(target)
    config = durable.read_json(adapter / "training_config.json")
    durable.write_json(target / "training_config.json", config)


if __name__ == "__main__":
    step_process(main)
