"""A model made ready to train: what trains, how pages enter, in which precision, and why."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepsynth import durable, processors
from deepsynth.errors import DataError, JobError, ModelError
from deepsynth.families.summarize.batches import PageCollator, bytes_fit
from deepsynth.families.summarize.continuing import adapter_of, continued
from deepsynth.families.summarize.features import (
    FeatureStore,
    default_cache,
    encode_pages,
    page_encoder,
    plain_model,
    release_encoder,
    require_space,
)
from deepsynth.families.summarize.job import TrainerConfig
from deepsynth.families.summarize.lora import (
    TrainableCount,
    base_fingerprint,
    count_trainable,
    load_adapter,
    place_lora,
    set_dropout,
)
from deepsynth.families.summarize.memory import memory_estimate, readable_size
from deepsynth.families.summarize.model import (
    PageView,
    autocast,
    dtype_of,
    encoder_fingerprint,
    load_model,
    load_processor,
    model_config,
    page_view,
    processor_fingerprint,
    scratch_folder,
)
from deepsynth.families.summarize.moe import regularise
from deepsynth.families.summarize.recommend import filled
from deepsynth.families.summarize.samples import Page, PageSamples
from deepsynth.families.summarize.tiny_model import SCRATCH_PREFIX
from deepsynth.training.arguments import Precision, choose_precision
from deepsynth.training.processes import world_size

Announce = Callable[[str], None]
_PRECISIONS = {"bf16": "bfloat16", "fp16": "float16", "no": "32 bits"}


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
        workers: Processes that prepare batches.
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
    decided: list[str]

    @property
    def is_lora(self) -> bool:
        """Whether adapters train, rather than the language model itself."""
        return self.config.preset != "none"


def open_session(
    config: TrainerConfig,
    samples: PageSamples,
    scratch: Path,
    *,
    say: Announce = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    more: tuple[PageSamples, ...] = (),
    keep_encoder: bool = False,
) -> Session:
    """Load the model, place what trains, fix the geometry, encode pages if that is wanted.

    Args:
        config: The settings; open ones are filled for the number of samples.
        samples: Training samples.
        scratch: Folder for the model a `scratch:` name makes.
        say: Told every decision as one line.
        progress: Told how many samples are encoded, and of how many.
        more: Further samples whose pages go into the cache, such as those of validation.
        keep_encoder: Keep the vision encoder in memory even when every page is cached.
    """
    from transformers import set_seed

    if not len(samples):
        raise DataError("there is not one training sample.", where=samples.name)
    earlier = adapter_of(config.model_name)
    if earlier is not None and config.preset != "none":
        config = continued(config, earlier)
    config = filled(config, len(samples), world_size())
    if config.cache_features is True and config.lora.vision:
        raise JobError(
            "features cannot be cached while the vision tower trains.",
            where="train.cache_features",
            hint="Set it to false, or lora.vision: false.",
        )
    precision = choose_precision(config.mixed_precision)
    base, start = base_of(config, scratch, samples.summaries)
    # A wrong kind of model is said as such, before its processor fails to be found.
    model_config(base, config.model_revision, config.trust_remote_code)
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
    fingerprint, encoder = base_fingerprint(model, base), encoder_fingerprint(model)
    model = _with_trainable(model, config, start)
    regularise(model, config.moe)
    trainable = count_trainable(model)
    first = _first_page(samples)
    view = page_view(processor, first.size, config.tiles)
    width, height = view.page
    decided: list[str] = []

    def decide(line: str) -> None:
        decided.append(line)
        say(line)

    say(str(trainable))
    decide(f"computed in {_PRECISIONS[precision]}")
    decide(f"one page of {width}x{height} px is {view.tokens} tokens")
    checkpointing = config.gradient_checkpointing
    if checkpointing == "auto":
        estimate = memory_estimate(model, config, view.tokens * len(samples[0].pages), precision)
        checkpointing = estimate.exceeds_device()
        decide(f"gradient checkpointing {'on' if checkpointing else 'off'}: {estimate}")
    if checkpointing:
        _recompute_activations(plain_model(model))
    collator = PageCollator(processor, view, config.prompt, config.max_target_tokens)
    if config.max_new_tokens is None:
        limit = collator.generation_limit(samples.summaries())
        config = config.model_copy(update={"max_new_tokens": limit})
        decide(f"a summary is written up to {limit} tokens, by the longest of training")
    if _caches(model, config, decide):
        identity = (encoder, processor_fingerprint(processor, view), precision)
        hidden = plain_model(model).config.get_text_config().hidden_size
        root = Path(config.cache_dir) if config.cache_dir else default_cache()
        store = FeatureStore(root, identity, hidden, dtype_of(precision))
        _fill(store, model, collator, config, precision, (samples, *more), say, progress)
        collator = collator.taking("features", store)
        if lora and not keep_encoder:
            freed = release_encoder(plain_model(model))
            decide(f"vision encoder not kept in memory: {readable_size(freed)} less")
    elif config.uint8_pages and bytes_fit(processor, view, first):
        collator = collator.taking("bytes")
    decide(f"pages enter the batch as {collator.pages}")
    workers = _workers(config, collator)
    return Session(
        config, model, base, fingerprint, processor, view, collator, trainable, precision,
        workers, decided,
    )  # fmt: skip


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
    if place := adapter_of(name):
        known = durable.read_json(place / "base.json") or {}
        settings = durable.read_json(place / "adapter_config.json") or {}
        base = known.get("name") or settings.get("base_model_name_or_path")
        if not base:
            raise ModelError("the adapter does not say its base model.", where=place)
        if str(base).startswith("."):
            base = (place / base).resolve()
        return str(base), place
    folder = Path(name)
    for place in (folder / "model" / "merged", folder / "merged", folder / "model"):
        if (place / "config.json").is_file():
            return str(place), None
    return name, None


def _with_trainable(model: Any, config: TrainerConfig, start: Path | None) -> Any:
    if config.preset != "none":
        if start is not None:
            model = load_adapter(model, start, trainable=True)
            set_dropout(model, config.lora.dropout or 0.0)
            return model
        return place_lora(model, config.lora)
    if start is not None:
        model = load_adapter(model, start).merge_and_unload()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("language_model" in name or "lm_head" in name)
    return model


def _caches(model: Any, config: TrainerConfig, decide: Announce) -> bool:
    """Whether pages are encoded once and their features kept."""
    if config.cache_features is False or config.lora.vision:
        return False
    core = plain_model(model)
    if hasattr(core, "get_image_features"):
        return True
    if config.cache_features is True:
        raise JobError(
            f"{type(core).__name__} does not hand out its image features.",
            where="train.cache_features",
            hint="Set it to false.",
        )
    decide("features not cached: the model does not hand them out")
    return False


def _fill(
    store: FeatureStore,
    model: Any,
    collator: PageCollator,
    config: TrainerConfig,
    precision: Precision,
    sets: tuple[PageSamples, ...],
    say: Announce,
    progress: Callable[[int, int], None],
) -> None:
    """Encode what the store lacks; from then on the samples hand out pages without bytes."""
    import torch

    core = plain_model(model)
    local = os.environ.get("LOCAL_RANK", "0")
    device = torch.device(f"cuda:{local}" if torch.cuda.is_available() else "cpu")
    keys = {page.key for samples in sets for pages in samples.pages() for page in pages}
    total, before = sum(map(len, sets)), 0
    was_training = core.training
    core.to(device).eval()
    # Processes that train together, or two runs at once, share a cache: one of them fills it.
    with store.alone():
        lacking = sum(key not in store for key in keys)
        say(require_space(store, lacking, collator.view.tokens, config.cache_max_gb))
        for samples in sets:
            encode_pages(
                samples,
                store,
                page_encoder(core, collator, lambda: autocast(precision)),
                # An attention map over 4,096 patches is 0.8 GB a page in 32 bits.
                batch_size=8 if device.type == "cuda" else 1,
                progress=lambda done, before=before: progress(before + done, total),
            )
            samples.forget_bytes()
            before += len(samples)
    core.train(was_training)


def _recompute_activations(core: Any) -> None:
    # transformers 5.23 renamed the method; 5.12 to 5.17 know the old name only.
    enable = getattr(core, "activation_checkpointing_enable", None)
    enable = enable or core.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def _first_page(samples: PageSamples) -> Page:
    for index in range(len(samples)):
        pages = samples[index].pages
        if pages:
            return pages[0]
    raise DataError("not one sample has a page.", where=samples.name)


def _workers(config: TrainerConfig, collator: PageCollator) -> int:
    if config.num_workers is not None:
        return config.num_workers
    # Cached features leave nothing to decode; a process pool would only cost its start.
    return 0 if collator.pages == "features" else min(8, processors.available() - 1)
