"""The Trainer for vision-language models: transformers' own, with the levers that make it fast.

Everything that is not here (optimiser, schedules, accumulation, mixed precision, distribution,
checkpoints) is `transformers.Trainer` as it is.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from deepsynth.errors import StepFailed
from deepsynth.families.summarize.batches import PageCollator, batch_loss, generate, loss_inputs
from deepsynth.families.summarize.features import plain_model
from deepsynth.families.summarize.job import TrainerConfig
from deepsynth.families.summarize.metrics import ROUGE, score
from deepsynth.families.summarize.moe import collecting_router_logits, load_balancing_loss
from deepsynth.families.summarize.samples import PageSamples, evenly
from deepsynth.families.summarize.session import Session
from deepsynth.families.summarize.trained_labels import TrainedLabels
from deepsynth.training.arguments import trainer_arguments
from deepsynth.training.divergence import diverged
from deepsynth.training.fitting import figures_at
from deepsynth.training.processes import world_size
from deepsynth.training.sampling import EpochSampler


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
        self.labels = TrainedLabels(collator, train_samples)
        self._began: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether this process has made the training from its first update to its last."""
        return self._began == 0 and self.state.global_step == self.state.max_steps

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return EpochSampler(
            self.labels.expected,
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
        if model.training:
            self._began = self.state.global_step if self._began is None else self._began
            self.labels.count(inputs, fields)
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
        if loss.detach() < 0:
            raise StepFailed(
                f"the loss is negative at update {self.state.global_step + 1}, which it cannot be.",
                where="step train",
                hint="Something is subtracted from it. Please report this.",
            )
        return (loss, outputs) if return_outputs else loss

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Add ROUGE of generated summaries, in time for early stopping and the best checkpoint."""
        output = super().evaluation_loop(*args, **kwargs)
        samples: Any = self.eval_dataset
        count = min(self.config.generate_samples, len(samples))
        if count and output.metrics is not None:
            prefix = kwargs.get("metric_key_prefix", "eval")
            figures = self.written_figures(samples, count)
            for name in (*ROUGE, "length_ratio", "repetition_rate", "empty_rate"):
                output.metrics[f"{prefix}_{name}"] = figures[name]
        return output

    def written_figures(self, samples: PageSamples, count: int) -> dict[str, Any]:
        """Scores of `count` summaries, evenly drawn, shared out over all devices that train."""
        from accelerate.utils import gather_object

        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        chosen = evenly(count, len(samples))
        mine = chosen[rank::world]
        with self.accelerator.autocast():
            written = generate(
                self.model,
                self.collator,
                samples,
                mine,
                max_new_tokens=self.config.max_new_tokens or self.config.max_target_tokens,
                batch_size=self.args.per_device_eval_batch_size,
            )
        pairs = gather_object([(index, one.text) for index, one in zip(mine, written, strict=True)])
        texts = [text for _, text in sorted(pairs)]
        references = [samples.summaries()[index] for index in chosen]
        return score(texts, references, resamples=1)

    def _blame(self, model: Any, indices: list[int]) -> None:
        bad: list[int] = []
        for index in indices:
            batch = self._prepare_inputs(self.collator([self.samples[index]]))
            with torch.no_grad(), self.accelerator.autocast():
                loss = batch_loss(model, batch, self.collator.processor)
            if not torch.isfinite(loss):
                bad.append(index)
        raise diverged(
            f"update {self.state.global_step + 1}",
            "; ".join(self.samples.where(index) for index in bad or indices),
            "Look at that page and its summary first.",
        )


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


def make_trainer(
    session: Session, samples: PageSamples, held_out: PageSamples | None, folder: Path
) -> VlmTrainer:
    """The Trainer of a session; checkpoints go to `folder`."""
    arguments = training_arguments(
        session.config,
        folder,
        len(samples),
        validates=held_out is not None,
        workers=session.workers,
    )
    return VlmTrainer(
        session.model,
        arguments,
        session.config,
        samples,
        held_out,
        session.collator,
    )


def training_figures(trainer: VlmTrainer, checkpoint: Path) -> dict[str, float]:
    """Evaluation figures of a checkpoint, with `updates` and the last `train_loss`."""
    history = trainer.state.log_history
    losses = [entry["loss"] for entry in history if "loss" in entry]
    figures = figures_at(history, checkpoint)
    return figures | {"updates": trainer.state.global_step, "train_loss": losses[-1]}
