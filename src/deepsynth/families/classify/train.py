"""Step `train`: the probe first, then fine-tuning from it, and whichever validation prefers.

Writes `model/` (weights, tokenizer, labels, how to use it) and `training/` (the curve, the answers
of the probe, and the scores this process gives the test split, which the next step must find again
in a fresh one).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from deepsynth import durable
from deepsynth.errors import DeepSynthError, Stopped
from deepsynth.families.classify.encoder import SentenceClassifier
from deepsynth.families.classify.inference import SETTINGS, probabilities
from deepsynth.families.classify.job import ClassifyJob
from deepsynth.families.classify.method import Method, choose_method
from deepsynth.families.classify.metrics import scores
from deepsynth.families.classify.models import (
    build_model,
    load_config,
    load_tokenizer,
    usable_length,
)
from deepsynth.families.classify.prepared import (
    PROBE,
    Split,
    model_folder,
    model_path,
    read_labels,
    read_split,
)
from deepsynth.families.classify.probe import Probe, embed, features, fit_probe, set_head
from deepsynth.families.classify.train_tfidf import train_tfidf
from deepsynth.families.classify.trainer import class_weights, classifier_trainer
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run
from deepsynth.training.callbacks import StopSwitch
from deepsynth.training.device import tell_device
from deepsynth.training.fitting import fit_in_run, keep_curve


@dataclass(frozen=True)
class Session:
    """What a training works with.

    Attributes:
        run: The run.
        job: Its job.
        model: The classifier, changed as it learns.
        tokenizer: Of the model.
        splits: `train`, `validation` and `test`.
        max_length: Tokens a text is cut to.
        switch: Asks for a stop.
    """

    run: Run
    job: ClassifyJob
    model: Any
    tokenizer: Any
    splits: dict[str, Split]
    max_length: int
    switch: StopSwitch


def open_session(run: Run) -> Session:
    """The session of a run, with the model as it came."""
    job = run.job(ClassifyJob)
    splits = {name: read_split(run, name) for name in ("train", "validation", "test")}
    name = model_path(run, "train")
    tokenizer = load_tokenizer(job, name, splits["train"].texts)
    config = load_config(job, name, tokenizer, read_labels(run))
    model = build_model(job, name, config, job.seed)
    max_length = usable_length(config, tokenizer, job.tokens.max_length)
    switch = StopSwitch().install()
    return Session(run, job, model, tokenizer, splits, max_length, switch)


def probe(session: Session) -> Probe:
    """Embed all splits with the model as it came, fit the head, and say how good it is.

    Raises:
        Stopped: It was asked to stop; the blocks that are done are kept.
    """
    run, job, model, splits = session.run, session.job, session.model, session.splits
    total, before = sum(map(len, splits.values())), 0
    model.to("cuda" if torch.cuda.is_available() else "cpu")

    def blocks(name: str) -> list[torch.Tensor]:
        nonlocal before

        def tell(done: int) -> None:
            run.progress("train", before + done, total, "texts", "embedding")
            if session.switch.pressed:
                raise Stopped("stopped while texts were embedded; those done are kept.")

        found = features(
            run.work("train") / "features",
            name,
            splits[name].texts,
            lambda texts, start: embed(
                model,
                session.tokenizer,
                texts,
                max_length=session.max_length,
                batch_size=job.train.eval_batch_size,
                progress=lambda done: tell(start + done),
            ),
        )
        before += len(splits[name])
        return found

    weights = class_weights(job, splits["train"].labels, model.config.num_labels)
    found = fit_probe(model, splits, blocks, weights)
    set_head(model, found.head)
    run.event(
        "note",
        step="train",
        text=f"the encoder as it came, with a linear head: macro-F1 {found.macro_f1:.3f} on the "
        f"{len(splits['validation'])} validation texts",
    )
    return found


def load_weights(model: Any, checkpoint: Path) -> None:
    """Put the weights of a checkpoint into a model of the same job.

    Raises:
        DeepSynthError: It holds others, or weights that are not finite.
    """
    weights = load_file(checkpoint / "model.safetensors")
    missing, unexpected = model.load_state_dict(weights, strict=False)
    # Weights that are tied are saved once.
    if unexpected or set(missing) - set(getattr(model, "all_tied_weights_keys", None) or ()):
        raise DeepSynthError("the checkpoint is one of another model.", where=checkpoint)
    bad = [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if bad:
        raise DeepSynthError(
            f"weights are not finite: {', '.join(bad[:3])}.",
            where=checkpoint,
            hint="Lower train.learning_rate.",
        )


def export(model: Any, tokenizer: Any, target: Path, how: dict[str, Any]) -> None:
    """Write the trained model, and how it is used."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    if isinstance(model, SentenceClassifier):
        model.save(target, how["max_length"])
    else:
        model.save_pretrained(str(target))
    tokenizer.save_pretrained(str(target))
    durable.write_json(target / SETTINGS, how)


def main(run: Run) -> None:
    """Train the model of a run, from its last whole checkpoint if there is one."""
    # The run shows its own progress; the library's bars and advice would fill the log.
    disable_progress_bar()
    set_verbosity_error()
    job = run.job(ClassifyJob)
    if job.is_tfidf:
        train_tfidf(run, job)
        return
    tell_device(run, gpu=torch.cuda.is_available())
    session = open_session(run)
    model, splits = session.model, session.splits
    method = choose_method(job, model, len(splits["train"]))
    folder = run.path / "training"
    folder.mkdir(exist_ok=True)
    found = None
    if method.probe:
        found = probe(session)
        durable.write_json(
            folder / PROBE,
            {"macro_f1": found.macro_f1, "C": found.head.strength, "test": found.answers},
        )
    how = {
        "family": "classify",
        "base_model": Path(job.model).name if Path(job.model).is_absolute() else job.model,
        "fresh_weights": job.is_scratch,
        "labels": read_labels(run),
        "max_length": session.max_length,
    }
    how |= fine_tune(session, method, found)
    export(model, session.tokenizer, model_folder(run), how)
    answers = probabilities(
        model, session.tokenizer, splits["test"].texts, max_length=session.max_length
    )
    durable.write_json(
        folder / "test_scores.json", scores(splits["test"].labels, answers.argmax(axis=1))
    )
    keep_curve(run, folder)


def fine_tune(session: Session, method: Method, found: Probe | None) -> dict[str, Any]:
    """Train the model on, if that is the method; it ends with the weights validation prefers.

    Returns:
        What was done, for `deepsynth.json`.
    """
    told: dict[str, Any] = {
        "method": "probe",
        "why": method.why,
        "best_update": 0,
        "updates": 0,
        "max_updates": 0,
        "still_rising": False,
        "probe_macro_f1": found and found.macro_f1,
        "validation_macro_f1": found and found.macro_f1,
    }
    if not method.finetune:
        return told
    run, model = session.run, session.model
    start = {key: value.clone() for key, value in model.state_dict().items()} if found else None
    trainer = classifier_trainer(
        session.job,
        model,
        session.tokenizer,
        session.splits,
        run.work("train"),
        max_length=session.max_length,
        solved=found is not None,
    )
    patience = session.job.train.patience or 0
    best = fit_in_run(run, trainer, session.switch, patience=patience, title="macro-F1")
    reached = trainer.state.best_metric or 0.0
    told |= {
        "updates": trainer.state.global_step,
        "max_updates": trainer.state.max_steps,
        "finetuned_macro_f1": reached,
    }
    if found and reached <= found.macro_f1:
        said = "is no better than the encoder as it came, which is kept"
        model.load_state_dict(start)
    else:
        said = "is kept"
        load_weights(model, best)
        told |= {
            "method": "finetune",
            "best_update": trainer.state.best_global_step,
            "validation_macro_f1": reached,
            "still_rising": trainer.state.best_global_step == trainer.state.max_steps,
        }
    if found:
        told["why"] = (
            f"fine-tuned, it reaches macro-F1 {reached:.3f} on validation, as it came "
            f"{found.macro_f1:.3f}"
        )
        run.event("note", step="train", text=f"fine-tuned: macro-F1 {reached:.3f}; that {said}")
    return told


if __name__ == "__main__":
    step_process(main)
