"""What a training was before and after: refused where it did nothing, said where it did no good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepsynth.errors import StepFailed
from deepsynth.families.summarize.batches import mean_loss
from deepsynth.families.summarize.lora import adapter_values, part_of, prove_saved
from deepsynth.families.summarize.recommend import expected_updates
from deepsynth.families.summarize.samples import PageSamples
from deepsynth.families.summarize.session import Session
from deepsynth.families.summarize.trainer import VlmTrainer, training_figures
from deepsynth.training.movement import Snapshot, zero_rates
from deepsynth.training.processes import world_size

REFERENCE_SAMPLES = 32
_SAME = 1e-6
"""Relative difference of two losses that are the same figure."""


@dataclass(frozen=True)
class Outcome:
    """What a training left.

    Attributes:
        checkpoint: The one that is exported.
        figures: Of it.
        reference: Its loss and that at the start, on which split and how many samples.
        start: Figures before the first update.
        moved: How far each group of weights moved, as `{group, change}`.
        labels: Rows, tokens and end marks the model was given.
        trained: Identities of the rows.
        remarks: What people must be told.
    """

    checkpoint: Path
    figures: dict[str, float]
    reference: dict[str, Any]
    start: dict[str, float]
    moved: list[dict[str, Any]]
    labels: dict[str, int]
    trained: list[str]
    remarks: list[str]


def train_from_start(
    session: Session,
    trainer: VlmTrainer,
    held_out: PageSamples | None,
    train: Callable[[], Path],
) -> Outcome:
    """Measure the model, train it, and measure what became of it.

    Args:
        session: The model as it starts.
        trainer: Its trainer.
        held_out: Validation samples.
        train: Trains, and returns the checkpoint to export.

    Raises:
        ModelError: The adapter is not written as it is trained.
        StepFailed: The training moved nothing, or left no figure other than it was.
    """
    compared = trainer.samples if held_out is None else held_out
    count = len(compared) if held_out is not None else min(REFERENCE_SAMPLES, len(compared))

    def loss() -> float:
        batch = session.config.batch_size or 1
        with trainer.accelerator.autocast():
            return mean_loss(session.model, session.collator, compared, count, batch)

    if session.is_lora:
        prove_saved(session.model)
    start = {"eval_loss": loss()}
    if held_out is not None and session.config.generate_samples:
        figures = trainer.written_figures(held_out, session.config.generate_samples)
        start["eval_rougeL"] = figures["rougeL"]
    snapshot = Snapshot(_training(session), part_of)
    checkpoint = train()
    figures = training_figures(trainer, checkpoint)
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    after = figures["eval_loss"] if "eval_loss" in figures else loss()
    labels = trainer.labels
    remarks: list[str] = []
    moved: dict[str, float] = {}
    # Nothing was left to train for a process that found the training of another one at its end.
    if labels.rows:
        movement = snapshot.movement(_training(session))
        movement.require(lambda group: group.startswith(("second", "router")))
        moved = movement.changes
        if all(abs(one - start["eval_loss"]) <= _SAME * one for one in losses or [after]):
            raise StepFailed(
                f"the trained model has the loss of the untrained one, {after:.6f}, to the last "
                "digit: what was trained is not what computes.",
                where="step train",
                hint="Please report this, with the model and the version of peft.",
            )
        if trainer.is_whole and world_size() == 1:
            epochs = session.config.epochs or 1.0
            planned = expected_updates(session.config, len(trainer.samples))
            labels.require_ledger(planned, trainer.state.global_step, epochs)
        remarks = [*movement.remarks(), *zero_rates(trainer.state.log_history)]
    every = world_size() > 1 or not labels.rows
    trained = (
        {trainer.samples.identity(index) for index in range(len(trainer.samples))}
        if every
        else labels.identities
    )
    return Outcome(
        checkpoint,
        figures,
        {
            "split": "train" if held_out is None else "validation",
            "samples": count,
            "loss": after,
            "start_loss": start["eval_loss"],
        },
        start,
        [{"group": group, "change": round(change, 8)} for group, change in moved.items()],
        labels.as_dict(),
        sorted(trained),
        [*_no_gain(start, figures | {"eval_loss": after}), *remarks],
    )


def _no_gain(start: dict[str, float], figures: dict[str, float]) -> list[str]:
    """The remark on a training whose best checkpoint is no better than the model at its start."""
    loss = f"loss {figures['eval_loss']:.3f}, {start['eval_loss']:.3f} at its start"
    if "eval_rougeL" not in start:
        worse, same = figures["eval_loss"] > start["eval_loss"], "learned nothing"
        gained, said = figures["eval_loss"] < start["eval_loss"], loss
    else:
        before, after = start["eval_rougeL"], figures["eval_rougeL"]
        gained, worse, same = after > before, after < before, "made summaries no better"
        said = f"ROUGE-L {after:.3f} at its best, {before:.3f} at its start; {loss}"
    return [] if gained else [f"The training {'made the model worse' if worse else same}: {said}."]


def _training(session: Session) -> dict[str, Any]:
    """The values that are to train: all of an adapter, also those that lost their gradient."""
    if not session.is_lora:
        return {n: p for n, p in session.model.named_parameters() if p.requires_grad}
    return adapter_values(session.model)
