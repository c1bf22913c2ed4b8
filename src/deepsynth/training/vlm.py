"""From settings and samples to a trained model: what `create_trainer` and the train step do.

```python
from deepsynth.training import create_trainer

result = create_trainer(model_name="scratch:deepseek-ocr-2-tiny").train(dataset)
print(result.metrics, result.model)
```
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth import durable
from deepsynth.errors import DataError, JobError, ModelError
from deepsynth.training.adapters import base_fingerprint, load_adapter
from deepsynth.training.checkpoints import last_complete
from deepsynth.training.config import TrainerConfig
from deepsynth.training.lora import TrainableCount, count_trainable, place_lora
from deepsynth.training.memory import memory_estimate
from deepsynth.training.moe import regularise
from deepsynth.training.recommend import filled
from deepsynth.training.vlm_data import PageCollator, PageSamples, bytes_fit, page_size
from deepsynth.training.vlm_features import (
    FeatureStore,
    default_cache,
    encode_pages,
    page_encoder,
    plain_model,
    require_space,
)
from deepsynth.training.vlm_model import (
    PageView,
    Precision,
    encoder_fingerprint,
    load_model,
    load_processor,
    page_view,
    processor_fingerprint,
    scratch_folder,
)
from deepsynth.training.vlm_tiny import SCRATCH_PREFIX

if TYPE_CHECKING:
    from deepsynth.training.vlm_trainer import VlmTrainer

Announce = Callable[[str], None]


@dataclass
class Session:
    """A model ready to train, and what was decided on the way.

    Attributes:
        config: Every setting filled.
        model: With adapters, or with the weights that train unfrozen.
        base: Where the base model is, as `load_model` takes it.
        fingerprint: Of the base, for the adapter.
        processor: Of the model.
        view: Geometry of the pages.
        collator: Makes the batches of training.
        trainable: What trains.
        precision: What it computes in.
        decided: One line for each automatic choice, for people and `training_config.json`.
    """

    config: TrainerConfig
    model: Any
    base: str
    fingerprint: dict[str, Any]
    processor: Any
    view: PageView
    collator: PageCollator
    trainable: TrainableCount
    precision: Precision
    workers: int
    decided: list[str] = field(default_factory=list)

    @property
    def is_lora(self) -> bool:
        """Whether adapters train, rather than the language model itself."""
        return self.config.preset != "none"


@dataclass(frozen=True)
class TrainResult:
    """What a training left behind.

    Attributes:
        model: Folder of the adapter, or of the model after full fine-tuning.
        metrics: Of the best checkpoint, with `updates` and `train_loss`.
        checkpoint: The checkpoint that was taken.
    """

    model: Path
    metrics: dict[str, float]
    checkpoint: Path


class VlmTraining:
    """Trains a vision-language model on pages with summaries; see `create_trainer`."""

    def __init__(self, config: TrainerConfig) -> None:
        self.config = config

    def train(self, dataset: Any, eval_dataset: Any = None, *, resume: bool = False) -> TrainResult:
        """Train on a `datasets.Dataset`, a `DatasetDict`, or a list of rows.

        Args:
            dataset: Rows with `images` and `summary`; of a `DatasetDict` its splits `train` and
                `validation` are taken.
            eval_dataset: To validate on, choosing the best checkpoint; the last one is taken
                without it.
            resume: Go on from the last whole checkpoint in `output_dir`.

        Raises:
            DeepSynthError: With what to do about it.
        """
        from deepsynth.training.vlm_trainer import MarkWhole

        if hasattr(dataset, "keys") and "train" in dataset:
            eval_dataset = dataset.get("validation") if eval_dataset is None else eval_dataset
            dataset = dataset["train"]
        folder = Path(self.config.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        train = PageSamples(dataset, "dataset", self.config.max_train_samples)
        held_out = None
        if eval_dataset is not None:
            held_out = PageSamples(eval_dataset, "eval_dataset", self.config.max_val_samples)
        session = open_session(self.config, train, folder / "base", say=print)
        trainer = make_trainer(session, train, held_out, folder, callbacks=[MarkWhole()])
        return fit(session, trainer, folder, folder / "model", resume=resume)


def create_trainer(config: TrainerConfig | None = None, **settings: Any) -> VlmTraining:
    """A trainer with the given settings, every other one a default that works.

    Args:
        config: The settings as one object, or
        **settings: as keywords: `model_name`, `epochs`, `preset`, ... see `TrainerConfig`.

    Raises:
        JobError: A setting does not exist or has a wrong value.
    """
    from pydantic import ValidationError

    if config is not None:
        return VlmTraining(config.model_copy(update=settings))
    try:
        return VlmTraining(TrainerConfig(**settings))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise JobError(f"{name}: {first['msg']}", where="create_trainer") from None


def open_session(
    config: TrainerConfig,
    samples: PageSamples,
    scratch: Path,
    *,
    say: Announce = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    more: tuple[PageSamples, ...] = (),
) -> Session:
    """Load the model, place what trains, fix the geometry, encode pages if that is wanted.

    Args:
        config: The settings; open ones are filled for the number of samples.
        samples: Training samples.
        scratch: Folder for the model a `scratch:` name makes.
        say: Told every decision as one line.
        progress: Told how many samples are encoded, and of how many.
        more: Further samples whose pages go into the cache, such as those of validation.
    """
    from transformers import set_seed

    from deepsynth.training.vlm_trainer import world_size

    if not len(samples):
        raise DataError("there is not one training sample.", where=samples.name)
    config = filled(config, len(samples), world_size())
    precision = choose_precision(config.mixed_precision)
    base, start = base_of(config, scratch, samples.summaries)
    processor = load_processor(base, config.model_revision, config.trust_remote_code)
    lora = config.preset != "none"
    set_seed(config.seed)
    model = load_model(
        base,
        precision=precision,
        trains_fully=not lora,
        revision=config.model_revision,
        trust_remote_code=config.trust_remote_code,
        quantize=(config.lora.quantize or "none") if lora else "none",
    )
    if config.experts != "auto":
        model.set_experts_implementation(config.experts)
    fingerprint = base_fingerprint(model, base)
    encoder = encoder_fingerprint(model)
    model = _with_trainable(model, config, start)
    regularise(model, config.moe)
    trainable = count_trainable(model)
    say(str(trainable))
    first = _first_page(samples)
    view = page_view(processor, page_size(first), config.tiles)
    collator = PageCollator(processor, view, config.prompt, config.max_target_tokens)
    decided = [f"precision {precision}", f"one page of {view.page} px is {view.tokens} tokens"]
    estimate = memory_estimate(model, config, view.tokens * len(samples[0].pages), precision)
    checkpointing = config.gradient_checkpointing
    if checkpointing == "auto":
        checkpointing = estimate.exceeds_device()
        decided.append(f"gradient checkpointing {'on' if checkpointing else 'off'}: {estimate}")
    if checkpointing:
        _recompute_activations(plain_model(model))
    if config.cache_features is True and config.lora.vision:
        raise JobError(
            "features cannot be cached while the vision tower trains.",
            where="train.cache_features",
            hint="Set it to false, or lora.vision: false.",
        )
    session = Session(
        config, model, base, fingerprint, processor, view, collator, trainable, precision,
        0, decided,
    )  # fmt: skip
    if config.cache_features is not False and not config.lora.vision:
        identity = (encoder, processor_fingerprint(processor, view), precision)
        _cache_features(session, identity, (samples, *more), say, progress)
    elif config.uint8_pages and bytes_fit(processor, view, first):
        collator.pages = "bytes"
    decided.append(f"pages enter the batch as {collator.pages}")
    session.workers = _workers(config, collator)
    for line in decided:
        say(line)
    return session


def make_trainer(
    session: Session,
    samples: PageSamples,
    held_out: PageSamples | None,
    folder: Path,
    callbacks: list[Any],
    eval_progress: Callable[[int, int], None] = lambda done, total: None,
) -> VlmTrainer:
    """The Trainer of a session; checkpoints go to `folder`."""
    from transformers import EarlyStoppingCallback

    from deepsynth.training.vlm_trainer import VlmTrainer, training_arguments

    arguments = training_arguments(
        session.config,
        folder,
        len(samples),
        validates=held_out is not None and len(held_out) > 0,
        precision=session.precision,
        workers=session.workers,
    )
    if session.config.patience and held_out is not None:
        callbacks = [*callbacks, EarlyStoppingCallback(session.config.patience)]
    return VlmTrainer(
        session.model,
        arguments,
        session.config,
        samples,
        held_out,
        session.collator,
        callbacks,
        eval_progress,
    )


def fit(
    session: Session, trainer: VlmTrainer, folder: Path, target: Path, *, resume: bool
) -> TrainResult:
    """Train, then put the best checkpoint's weights into `target`.

    Args:
        session: What trains.
        trainer: From `make_trainer`.
        folder: Where its checkpoints are.
        target: Where adapter or model go, with the processor.
        resume: Go on from the last whole checkpoint.
    """
    start = last_complete(folder) if resume else None
    output = trainer.train(resume_from_checkpoint=str(start) if start else None)
    best = trainer.state.best_model_checkpoint
    checkpoint = Path(best) if best else last_complete(folder)
    if checkpoint is None:
        raise JobError(
            "the training made no checkpoint.", where="train", hint="Raise train.epochs."
        )
    metrics = best_metrics(trainer.state.log_history, checkpoint)
    metrics |= {"updates": trainer.state.global_step, "train_loss": output.training_loss}
    if trainer.accelerator.is_main_process:
        export_checkpoint(session, checkpoint, target)
    return TrainResult(target, metrics, checkpoint)


def export_checkpoint(session: Session, checkpoint: Path, target: Path) -> None:
    """Copy the weights of a checkpoint (no optimiser, no scheduler) with processor and base."""
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
        durable.write_json(target / "base.json", session.fingerprint)
    config = session.config.model_dump(mode="json")
    config |= {"decided": session.decided, "trainable": session.trainable.by_part}
    durable.write_json(target / "training_config.json", config)


def best_metrics(history: list[dict[str, Any]], checkpoint: Path) -> dict[str, float]:
    """The evaluation figures of the update a checkpoint was saved at."""
    from deepsynth.training.checkpoints import updates_of

    update = updates_of(checkpoint)
    figures: dict[str, float] = {}
    for entry in history:
        if entry.get("step") == update:
            figures |= {k: v for k, v in entry.items() if k.startswith("eval_")}
    return {k: v for k, v in figures.items() if "second" not in k and k != "eval_runtime"}


def base_of(
    config: TrainerConfig, scratch: Path, corpus: Callable[[], list[str]]
) -> tuple[str, Path | None]:
    """The base model, and the adapter to start from when an earlier run is named.

    Args:
        config: Names the model: Hub name, folder, `scratch:...`, or the folder of a run.
        scratch: Where a `scratch:` model is made, once.
        corpus: Texts its tokenizer learns from.

    Returns:
        `(name or folder of the base, folder of an adapter or None)`.
    """
    name = config.model_name
    if name.startswith(SCRATCH_PREFIX):
        if not (scratch / "config.json").is_file():
            scratch_folder(name, scratch, corpus(), config.seed)
        return str(scratch), None
    folder = Path(name)
    for place in (folder / "model" / "adapter", folder / "model", folder):
        if (place / "adapter_config.json").is_file():
            known = durable.read_json(place / "base.json") or {}
            settings = durable.read_json(place / "adapter_config.json") or {}
            base = known.get("name") or settings.get("base_model_name_or_path")
            if not base:
                raise ModelError("the adapter does not say its base model.", where=place)
            return str(base), place
    for place in (folder / "model" / "merged", folder / "model"):
        if (place / "config.json").is_file():
            return str(place), None
    return name, None


def choose_precision(wanted: str) -> Precision:
    """What to compute in on this machine.

    Raises:
        JobError: fp16 without a GPU, which transformers would silently do in 32 bits; bf16 on a
            GPU that has none.
    """
    import torch

    cuda = torch.cuda.is_available()
    if wanted == "fp16" and not cuda:
        raise JobError(
            "fp16 needs a GPU, and there is none here.",
            where="train.mixed_precision",
            hint="Set it to bf16 or no.",
        )
    if wanted == "bf16" and cuda and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise JobError(
            "this GPU does not compute in bf16.",
            where="train.mixed_precision",
            hint="Set it to fp16.",
        )
    if wanted != "auto":
        return "bf16" if wanted == "bf16" else "fp16" if wanted == "fp16" else "no"
    if not cuda:
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def _with_trainable(model: Any, config: TrainerConfig, start: Path | None) -> Any:
    if config.preset != "none":
        if start is not None:
            return load_adapter(model, start, trainable=True)
        return place_lora(model, config.lora)
    if start is not None:
        model = load_adapter(model, start).merge_and_unload()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("language_model" in name or "lm_head" in name)
    return model


def _cache_features(
    session: Session,
    identity: tuple[str, ...],
    sets: tuple[PageSamples, ...],
    say: Announce,
    progress: Callable[[int, int], None],
) -> None:
    import torch

    config, core = session.config, plain_model(session.model)
    if not hasattr(core, "get_image_features"):
        if config.cache_features is True:
            raise JobError(
                f"{type(core).__name__} does not hand out its image features.",
                where="train.cache_features",
                hint="Set it to false.",
            )
        session.decided.append("features not cached: the model does not hand them out")
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16, "no": torch.float32}
    dtype = dtypes[session.precision]

    def autocast() -> Any:
        return nullcontext() if session.precision == "no" else torch.autocast(device, dtype)

    root = Path(config.cache_dir) if config.cache_dir else default_cache()
    store = FeatureStore(root, identity, core.config.get_text_config().hidden_size, dtype)
    pages = sum(len(samples[i].pages) for samples in sets for i in range(len(samples)))
    say(require_space(store, max(0, pages - len(store)), session.view.tokens, config.cache_max_gb))
    core.to(device)
    total, before = sum(map(len, sets)), 0
    was_training = core.training
    core.eval()
    for samples in sets:
        done = before
        encode_pages(
            (samples[i] for i in range(len(samples))),
            store,
            page_encoder(core, session.collator, autocast),
            progress=lambda n, done=done: progress(done + n, total),
        )
        before += len(samples)
    core.train(was_training)
    session.collator.features = store
    session.collator.pages = "features"


def _recompute_activations(core: Any) -> None:
    # transformers 5.23 renamed the method; 5.12 to 5.17 know the old name only.
    enable = getattr(core, "activation_checkpointing_enable", None)
    enable = enable or core.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def _first_page(samples: PageSamples) -> bytes:
    for index in range(len(samples)):
        pages = samples[index].pages
        if pages:
            return pages[0]
    raise DataError("not one sample has a page.", where=samples.name)


def _workers(config: TrainerConfig, collator: PageCollator) -> int:
    if config.num_workers is not None:
        return config.num_workers
    # Cached features leave nothing to decode; a process pool would only cost its start.
    return 0 if collator.pages == "features" else min(8, (os.cpu_count() or 2) - 1)


__all__ = ["Session", "TrainResult", "VlmTraining", "create_trainer"]
