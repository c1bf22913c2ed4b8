"""The model of a run: which one a job means, and the trained one loaded for use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepsynth.errors import JobError, ModelError
from deepsynth.families.summarize.adapters import load_adapter
from deepsynth.families.summarize.config import TrainerConfig
from deepsynth.families.summarize.job import SummarizeJob
from deepsynth.families.summarize.prepared import model_source
from deepsynth.families.summarize.tiny_model import SCRATCH_MODELS, SCRATCH_PREFIX
from deepsynth.families.summarize.vlm_model import load_model, load_processor
from deepsynth.families.summarize.vlm_session import base_of
from deepsynth.run.run import Run
from deepsynth.training.arguments import choose_precision


def check_model_name(job: SummarizeJob) -> None:
    """Refuse, before a run is made, what can be seen to be wrong from the name alone.

    Raises:
        ModelError: The model cannot be trained here.
        JobError: Remote code is asked for without a full commit.
    """
    if job.is_scratch and job.model.removeprefix(SCRATCH_PREFIX) not in SCRATCH_MODELS:
        known = ", ".join(SCRATCH_PREFIX + name for name in SCRATCH_MODELS)
        raise ModelError("this cannot be made from scratch.", where=job.model, hint=f"Can: {known}")
    name = job.model.lower().rstrip("/")
    if name.endswith("deepseek-ocr") and not job.trust_remote_code:
        raise ModelError(
            "DeepSeek-OCR version 1 is not supported: it runs only by code of its own repository, "
            "written for transformers 4.46.",
            where=job.model,
            hint="Use deepseek-community/DeepSeek-OCR-2, which transformers has natively.",
        )
    if job.trust_remote_code and len(job.revision or "") != 40:
        raise JobError(
            "trust_remote_code needs revision, a full 40-digit commit.",
            where="trust_remote_code",
            hint="Read that commit's code first: it runs with your rights.",
        )


def start_config(run: Run, step: str) -> TrainerConfig:
    """The job's training settings with the model as it is found on this machine."""
    job = run.job(SummarizeJob)
    name = str(run.path / "base") if job.is_scratch else model_source(run, step)
    return job.trainer_config(name)


def load_start(run: Run, step: str) -> tuple[Any, Any]:
    """Model and processor as they were before training: the baseline.

    Starting from an earlier run, that run's adapter is part of it.
    """
    config = start_config(run, step)
    base, adapter = base_of(config, run.path / "base", list)
    model = _load(base, config)
    if adapter is not None:
        model = load_adapter(model, adapter)
    processor = load_processor(base, config.model_revision, config.trust_remote_code)
    return model.eval(), processor


def load_adapted(run: Run, step: str, adapter: Path) -> tuple[Any, Any]:
    """The base with the trained adapter on it, and the processor saved beside the adapter."""
    config = start_config(run, step)
    base, _ = base_of(config, run.path / "base", list)
    return load_adapter(_load(base, config), adapter).eval(), load_processor(str(adapter))


def load_whole(folder: Path, config: TrainerConfig) -> tuple[Any, Any]:
    """A merged or fully trained model and its processor."""
    precision = choose_precision(config.mixed_precision)
    return load_model(str(folder), precision=precision).eval(), load_processor(str(folder))


def to_device(model: Any) -> Any:
    """The model on the GPU if there is one."""
    import torch

    return model.to("cuda") if torch.cuda.is_available() else model


def _load(base: str, config: TrainerConfig) -> Any:
    return load_model(
        base,
        precision=choose_precision(config.mixed_precision),
        revision=config.model_revision,
        trust_remote_code=config.trust_remote_code,
    )
