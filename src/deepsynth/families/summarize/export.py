"""Step `export`: the base model with the trained adapter merged into it, as `model/merged`.

The next step scores adapter and merged model in a fresh process and refuses them if they differ.
"""

from __future__ import annotations

from typing import Any

from deepsynth import durable
from deepsynth.errors import StepFailed
from deepsynth.families.summarize.job import SummarizeJob
from deepsynth.families.summarize.models import load_adapted
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run


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
