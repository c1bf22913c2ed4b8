"""The Trainer for vision-language models: transformers' own, with the levers that make it fast.

Everything that is not here (optimiser, schedules, accumulation, mixed precision, distribution,
checkpoints) is `transformers.Trainer` as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from deepsynth.errors import DeepSynthError
from deepsynth.families.summarize.config import TrainerConfig
from deepsynth.families.summarize.moe import collecting_router_logits, load_balancing_loss
from deepsynth.families.summarize.summary_metrics import ROUGE, score
from deepsynth.families.summarize.vlm_data import (
    IGNORED,
    PageCollator,
    PageSamples,
    normalise_pages,
)
from deepsynth.families.summarize.vlm_features import embed, plain_model
from deepsynth.training.arguments import trainer_arguments
from deepsynth.training.callbacks import wait_for_others
from deepsynth.training.checkpoints import mark_complete
from deepsynth.training.sampling import EpochSampler

MAX_NEW_TOKENS = 256


class MarkWhole(TrainerCallback):
    """Marks each checkpoint as whole; for trainings outside a run."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called after everything of a checkpoint is written."""
        wait_for_others()
        if args.process_index == 0:
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class VlmTrainer(Trainer):
    """A Trainer whose batches come from a `PageCollator`.

    Args:
        model: Base model or `PeftModel`.
        args: As `training_arguments` makes them.
        config: The filled settings.
        train_samples: What to learn.
        eval_samples: What to validate on, or None.
        collator: Makes the batches.
        callbacks: Further callbacks.
        eval_progress: Told how many summaries of an evaluation are written.
    """

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        config: TrainerConfig,
        train_samples: PageSamples,
        eval_samples: PageSamples | None,
        collator: PageCollator,
        callbacks: list[TrainerCallback] | None = None,
        eval_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_samples,  # pyright: ignore[reportArgumentType]
            eval_dataset=eval_samples,  # pyright: ignore[reportArgumentType]
            data_collator=collator,  # pyright: ignore[reportArgumentType]
            processing_class=collator.processor,
            callbacks=callbacks,
        )
        self.config = config
        self.collator = collator
        self.samples = train_samples
        self._lengths: list[int] = []
        self._eval_progress = eval_progress

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if not self._lengths:
            self._lengths = [len(self.collator.target_ids(s)) for s in self.samples.summaries()]
        return EpochSampler(
            self._lengths,
            self.args.train_batch_size * self.args.gradient_accumulation_steps,
            self.args.seed,
            grouped=self.config.group_by_length,
        )

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Loss on the summary's tokens; a loss that is no number ends the training, by name."""
        mask = inputs["attention_mask"]
        fields = loss_inputs(model, inputs, self.collator.processor, self.config.target_only_logits)
        balance = self.config.moe.load_balancing if model.training else 0.0
        loss: Any
        outputs: Any
        with collecting_router_logits(model) if balance else nullcontext() as router_logits:
            loss, outputs = super().compute_loss(
                model, fields, return_outputs=True, num_items_in_batch=num_items_in_batch
            )
        if not torch.isfinite(loss.detach()):
            self._blame(model, inputs["sample_index"].tolist())
        if balance:
            extra = load_balancing_loss(plain_model(model), router_logits or [], mask)
            loss = loss + balance * extra / self.current_gradient_accumulation_steps
        return (loss, outputs) if return_outputs else loss

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Add ROUGE of generated summaries, in time for early stopping and the best checkpoint."""
        output = super().evaluation_loop(*args, **kwargs)
        samples: Any = self.eval_dataset
        count = min(self.config.generate_samples, len(samples))
        if count and output.metrics is not None:
            prefix = kwargs.get("metric_key_prefix", "eval")
            written = self.summaries(samples, count)
            reference = [samples[index].summary for index in range(count)]
            figures = score(written, reference, resamples=1)
            for name in (*ROUGE, "length_ratio", "repetition_rate", "empty_rate"):
                output.metrics[f"{prefix}_{name}"] = figures[name]
        return output

    def summaries(self, samples: PageSamples, count: int) -> list[str]:
        """Summaries of the first `count` samples, shared out over all devices that train."""
        from accelerate.utils import gather_object

        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        mine = list(range(rank, count, world))
        with self.accelerator.autocast():
            texts = generate(
                self.model,
                self.collator,
                samples,
                mine,
                batch_size=self.args.per_device_eval_batch_size,
                progress=lambda done: self._eval_progress(done, len(mine)),
            )
        pairs = gather_object(list(zip(mine, texts, strict=True)))
        return [text for _, text in sorted(pairs)]

    def _blame(self, model: Any, indices: list[int]) -> None:
        bad: list[int] = []
        for index in indices:
            batch = self._prepare_inputs(self.collator([self.samples[index]]))
            with torch.no_grad(), self.accelerator.autocast():
                loss = batch_loss(model, batch, self.collator.processor)
            if not torch.isfinite(loss):
                bad.append(index)
        raise DeepSynthError(
            f"the loss is not a number at update {self.state.global_step + 1}.",
            where="; ".join(self.samples.where(index) for index in bad or indices),
            hint="Look at that page and its summary; if they are sound, lower train.learning_rate "
            "or train in bf16 instead of fp16. The last good checkpoint is kept.",
        )


def model_inputs(core: Any, batch: dict[str, Any], processor: Any) -> dict[str, Any]:
    """What the model's forward or generate takes, from any kind of batch of the collator."""
    fields = dict(batch)
    if "page_features" in fields:
        features, ids = fields.pop("page_features"), fields.pop("input_ids")
        fields["inputs_embeds"] = embed(core, ids, features)
    elif "page_bytes" in fields:
        pages = fields.pop("page_bytes")
        fields["pixel_values"] = normalise_pages(pages, processor, torch.float32)
        fields["num_local_patches"] = [0] * len(pages)
    return fields


def label_inputs(labels: Any, target_only: bool) -> dict[str, Any]:
    """`labels`, or with `target_only` also the positions whose logits the loss needs.

    The head of DeepSeek-OCR-2 is 129,280 wide; with 257 tokens a page most of its output would be
    computed to be ignored.
    """
    if not target_only:
        return {"labels": labels}
    shifted = torch.full_like(labels, IGNORED)
    shifted[:, :-1] = labels[:, 1:]
    columns = (shifted != IGNORED).any(dim=0).nonzero().squeeze(1)
    return {
        "labels": labels[:, columns],
        "shift_labels": shifted[:, columns],
        "logits_to_keep": columns,
    }


@torch.no_grad()
def mean_loss(
    model: Any, collator: PageCollator, samples: PageSamples, count: int, batch_size: int
) -> float:
    """Loss on the first `count` samples, averaged as the Trainer's evaluation averages it."""
    core = plain_model(model)
    was_training = core.training
    model.eval()
    total = 0.0
    for start in range(0, count, batch_size):
        indices = range(start, min(start + batch_size, count))
        batch = collator([samples[i] for i in indices])
        batch = {name: value.to(core.device) for name, value in batch.items()}
        total += float(batch_loss(model, batch, collator.processor)) * len(indices)
    model.train(was_training)
    return total / count


def batch_loss(model: Any, batch: dict[str, Any], processor: Any, target_only: bool = True) -> Any:
    """Mean loss of a batch of the collator, by the same path as in training."""
    return model(**loss_inputs(model, batch, processor, target_only)).loss


def loss_inputs(
    model: Any, batch: dict[str, Any], processor: Any, target_only: bool = True
) -> dict[str, Any]:
    """A batch of the collator as keyword arguments of the model's forward, labels included."""
    fields = {k: v for k, v in batch.items() if k not in ("labels", "sample_index")}
    fields = model_inputs(plain_model(model), fields, processor)
    return fields | label_inputs(batch["labels"], target_only)


@torch.no_grad()
def generate(
    model: Any,
    collator: PageCollator,
    samples: PageSamples,
    indices: list[int],
    *,
    batch_size: int = 4,
    max_new_tokens: int = MAX_NEW_TOKENS,
    progress: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """Summaries of some samples, written greedily, in batches.

    Args:
        model: Base model or `PeftModel`.
        collator: As in training.
        samples: Their owner.
        indices: Which.
        batch_size: Samples at once.
        max_new_tokens: Longest summary.
        progress: Told how many are done.
    """
    core = plain_model(model)
    tokenizer = collator.processor.tokenizer
    was_training = core.training
    model.eval()
    texts: list[str] = []
    for start in range(0, len(indices), batch_size):
        batch = collator.prompts([samples[i] for i in indices[start : start + batch_size]])
        batch = {k: v.to(core.device) if hasattr(v, "to") else v for k, v in batch.items()}
        fields = model_inputs(core, batch, collator.processor)
        written = core.generate(
            **fields,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
        if "input_ids" in fields:
            written = written[:, fields["input_ids"].shape[1] :]
        texts += tokenizer.batch_decode(written, skip_special_tokens=True)
        progress(len(texts))
    model.train(was_training)
    return [text.strip() for text in texts]


def training_arguments(
    config: TrainerConfig, folder: Path, samples: int, *, validates: bool, workers: int
) -> TrainingArguments:
    """The filled settings as transformers wants them.

    Args:
        config: Every open setting filled.
        folder: Where checkpoints go.
        samples: Training samples.
        validates: Whether there is something to validate on.
        workers: Processes that prepare batches.
    """
    best = "eval_rougeL" if config.generate_samples else "eval_loss"
    arguments = trainer_arguments(
        config,
        folder,
        samples,
        seed=config.seed,
        best=best if validates else None,
        devices=world_size(),
        per_device_eval_batch_size=config.batch_size or 1,
        dataloader_num_workers=workers,
        dataloader_persistent_workers=workers > 0,
        prediction_loss_only=True,
        label_names=["labels"],
        remove_unused_columns=False,
        use_cpu=not torch.cuda.is_available(),
        ddp_find_unused_parameters=False,
    )
    # Several GPUs in one process would mean torch's DataParallel, which splits batches in ways
    # a page does not survive; torchrun starts one process a GPU instead.
    arguments._n_gpu = min(arguments.n_gpu, 1)  # pyright: ignore[reportPrivateUsage]
    return arguments


def world_size() -> int:
    """Processes that train together, as torchrun says."""
    return int(os.environ.get("WORLD_SIZE", "1"))
