"""The learn gate for LoRA on a vision-language model, on the job's own model and a real batch.

Beside overfitting one batch it proves that the fast paths give the plain path's loss, that what is
on a page reaches the model, and that the adapter comes back from disk as it was: all of these fail
silently when they fail.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.checks import Finding, Severity
from deepsynth.checks.budget import check_budget, probe
from deepsynth.checks.learn import check_learning, overfit_one_batch
from deepsynth.errors import ModelError
from deepsynth.families.summarize.batches import PageCollator, batch_loss, loss_inputs
from deepsynth.families.summarize.job import SummarizeJob, TrainerConfig
from deepsynth.families.summarize.lora import BASE_FILE, load_adapter
from deepsynth.families.summarize.model import autocast, load_model
from deepsynth.families.summarize.recommend import expected_updates
from deepsynth.families.summarize.samples import PageSamples, Sample
from deepsynth.families.summarize.session import Session, open_session
from deepsynth.run.run import Run

_GATE_UPDATES = 80
_GATE_RATE = {"scratch": 1e-2, "lora": 1e-3, "full": 1e-4}
_EXACT = {"no": 1e-4, "bf16": 0.02, "fp16": 0.02}
"""Relative difference of two ways to the same loss that rounding explains."""
_UNSEEN = 1e-7
"""Relative difference of two losses below which the pages made none."""


def check_learns(
    run: Run, job: SummarizeJob, config: TrainerConfig, samples: PageSamples
) -> list[Finding]:
    """Run the gate; the model is loaded, changed, and thrown away.

    Args:
        run: Whose cache of features may be filled already.
        job: Its job.
        config: With the model as it is found here.
        samples: Training samples.
    """
    import torch

    few = samples.some(max(4, config.batch_size or 1))
    config = config.model_copy(update={"moe": config.moe.model_copy(update={"load_balancing": 0})})
    session = open_session(config, few, run.path / "base", keep_encoder=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    session.model.to(device)
    if session.is_lora:
        _leave_zero(session.model, config.seed)
    count = min(config.batch_size or 1, len(few))
    rows = [few[index] for index in range(count)]
    batch = {k: v.to(device) for k, v in session.collator(rows).items()}
    findings = _check_levers(session, few, batch, count, device)
    learner = _learner(session)
    entry = expected_updates(session.config, len(samples))
    budget = probe(
        learner,
        [batch] * 3,
        entry.updates * (session.config.gradient_accumulation or 1),
    )
    limit = job.check.memory_gb
    findings += check_budget(budget, limit)
    kind = "scratch" if job.is_scratch else "lora" if session.is_lora else "full"
    result = overfit_one_batch(
        learner, batch, learning_rate=_GATE_RATE[kind], updates=_GATE_UPDATES
    )
    findings += check_learning(result)
    findings += _check_pages_seen(session, few, batch, count, device)
    del learner
    if session.is_lora:
        findings.append(_check_reload(session, batch))
    return findings


def _learner(session: Session) -> Any:
    """The model as one that takes a batch of the collator and embeds it anew each time.

    Embeddings may be among what trains, so their graph cannot be shared by several updates.
    """
    from torch import nn

    class Learner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = session.model

        def forward(self, **batch: Any) -> Any:
            with autocast(session.precision):
                return self.model(**loss_inputs(self.model, batch, session.processor))

    return Learner()


def _leave_zero(model: Any, seed: int) -> None:
    """Give LoRA's B a small value: at its zero no gradient reaches A, by construction.

    One that was trained before is not at zero, and stays as it is.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name and not parameter.any():
                noise = torch.randn(parameter.shape, generator=generator) * 1e-3
                parameter.copy_(noise.to(parameter.device, parameter.dtype))


def _check_levers(
    session: Session, samples: PageSamples, batch: dict[str, Any], count: int, device: str
) -> list[Finding]:
    """The loss by cached features or bytes and by target-only logits, against the plain path."""
    import torch

    if session.collator.pages == "pixels" and not session.config.target_only_logits:
        return []
    plain = PageCollator(
        session.processor,
        session.view,
        session.config.prompt,
        session.config.max_target_tokens,
    )
    inputs = plain([samples.read(index) for index in range(count)])
    inputs = {name: value.to(device) for name, value in inputs.items()}
    session.model.eval()
    with torch.no_grad(), autocast(session.precision):
        slow = float(batch_loss(session.model, inputs, session.processor, target_only=False))
        fast = float(batch_loss(session.model, batch, session.processor))
    if abs(slow - fast) > _EXACT[session.precision] * max(abs(slow), 0.1):
        return [
            Finding(
                Severity.ERROR,
                "levers-differ",
                "train.cache_features",
                f"Pages as {session.collator.pages} and target-only logits give the loss "
                f"{fast:.5f}, the plain way {slow:.5f}.",
                "Set train.cache_features, train.uint8_pages and train.target_only_logits to false "
                "for this model.",
            )
        ]
    return [
        Finding(
            Severity.INFO,
            "levers-exact",
            "train",
            f"Pages as {session.collator.pages}, logits on the summary only: loss {fast:.5f}, "
            f"the plain way {slow:.5f}.",
        )
    ]


def _check_pages_seen(
    session: Session, samples: PageSamples, batch: dict[str, Any], count: int, device: str
) -> list[Finding]:
    """The loss with the pages of another document: a model that reads them has another one."""
    import torch

    pages = [sample.pages for sample in (samples[index] for index in range(len(samples)))]
    swapped = [
        Sample(index, pages[(index + 1) % len(pages)], samples.summaries()[index])
        for index in range(count)
    ]
    if all(sample.pages == pages[sample.index] for sample in swapped):
        return []
    wrong = {name: value.to(device) for name, value in session.collator(swapped).items()}
    session.model.eval()
    with torch.no_grad(), autocast(session.precision):
        own, other = (
            float(batch_loss(session.model, b, session.processor)) for b in (batch, wrong)
        )
    if abs(other - own) <= _UNSEEN * abs(own):
        return [
            Finding(
                Severity.ERROR,
                "pages-unseen",
                "model",
                f"With the pages of other documents the loss is the same, {own:.6f}: what is on a "
                "page does not reach the model.",
                "Take another model, or set train.cache_features and train.uint8_pages to false.",
            )
        ]
    return [
        Finding(
            Severity.INFO,
            "pages-seen",
            "model",
            f"The model sees its pages: loss {own:.5f}, and {other:.5f} with those of others.",
        )
    ]


def _check_reload(session: Session, batch: dict[str, Any]) -> Finding:
    """Save the adapter, put it on a base loaded afresh, and compare the loss."""
    import torch

    model, processor = session.model, session.processor
    model.eval()
    with torch.no_grad(), autocast(session.precision):
        before = float(batch_loss(model, batch, processor))
    with tempfile.TemporaryDirectory(prefix="deepsynth-adapter-") as folder:
        model.save_pretrained(folder)
        durable.write_json(Path(folder) / BASE_FILE, session.fingerprint)
        device = model.device
        # PEFT's unload() would leave a router that trained in full inside the base.
        del model
        session.model = None
        base = load_model(
            session.base,
            precision=session.precision,
            revision=session.config.model_revision,
            trust_remote_code=session.config.trust_remote_code,
        )
        try:
            again = load_adapter(base.to(device), Path(folder))
            with torch.no_grad(), autocast(session.precision):
                after = float(batch_loss(again.eval(), batch, processor))
        except ModelError as error:
            return Finding(
                Severity.ERROR,
                "adapter-reload",
                "model",
                f"The adapter does not come back from disk: {error.what}",
                "Use the versions of peft and transformers that DeepSynth asks for.",
            )
    if abs(before - after) > _EXACT[session.precision] * max(abs(before), 0.05):
        return Finding(
            Severity.ERROR,
            "adapter-reload",
            "model",
            f"The adapter is not the same once loaded: loss {after:.5f}, before {before:.5f}.",
            "Use the versions of peft and transformers that DeepSynth asks for.",
        )
    return Finding(
        Severity.INFO,
        "adapter-reload",
        "model",
        f"The adapter comes back from disk: loss {after:.5f}, before {before:.5f}.",
    )
