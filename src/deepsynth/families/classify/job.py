"""The job of `classify`: every setting, its default and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from deepsynth.job.job import Job, LocalPath
from deepsynth.job.settings import UNSAID, Alias, Section
from deepsynth.training.device import Gpus
from deepsynth.training.settings import TrainerSettings


class Data(Section):
    """Where the texts and their labels are."""

    path: Annotated[str | None, LocalPath()] = Field(
        default=None,
        description="CSV, TSV, JSONL or Parquet file, a folder of those (files named train, "
        "validation, test are splits), or a folder saved by `datasets`.",
    )
    hub: str | None = Field(
        default=None,
        description="Instead of path: USER/NAME[@branch, tag or commit] of a dataset on the Hub. "
        "`data: hub:USER/NAME` is short for it.",
    )
    config: str | None = Field(default=None, description="Configuration of the Hub dataset.")
    revision: str | None = Field(
        default=None,
        description="Branch, tag or commit of the Hub dataset; a run records the commit.",
    )
    text: str | None = Field(
        default=None, description="Column of the texts; detected when not given."
    )
    label: str | None = Field(
        default=None, description="Column of the labels; detected when not given."
    )
    encoding: str | None = Field(
        default=None, description="Of text files, e.g. cp1252; UTF-8 by default."
    )
    validation_share: float = Field(
        default=0.1,
        gt=0,
        lt=0.5,
        description="Share held out to choose the best epoch, if no split is.",
    )
    test_share: float = Field(
        default=0.1,
        gt=0,
        lt=0.5,
        description="Share held out for the final figures, if no split is.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Data:
        if (self.path is None) == (self.hub is None):
            raise ValueError("either path or hub must be given, not both")
        if self.hub is None and (self.config or self.revision):
            raise ValueError("config and revision belong to hub")
        return self


class Tokens(Section):
    """How texts become tokens."""

    max_length: int = Field(default=128, ge=4, description="Tokens a text is cut to.")
    padding: Literal["longest", "max_length"] = Field(
        default="longest",
        description="longest: each batch to its longest text (fast); max_length: every text to it.",
    )
    group_by_length: bool = Field(
        default=True,
        description="Put texts of similar length into one batch, so that little is padding.",
    )


def _updates_between(strategy: Any, every: Any) -> Any:
    """`every` of jobs that said `strategy: epoch`, or `strategy: steps`, where it was 100."""
    if strategy not in ("epoch", "steps"):
        raise ValueError(f"strategy is {strategy!r}, but should be 'epoch' or 'steps'")
    if strategy == "epoch":
        return UNSAID
    return 100 if every is UNSAID else every


class Train(TrainerSettings):
    """How the model is trained.

    Settings without a default are chosen by the size of the data; `resolved.yaml` says why.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {
        **TrainerSettings.aliases,
        "strategy": Alias("every", _updates_between),
    }

    method: Literal["auto", "probe", "finetune"] = Field(
        default="auto",
        description="probe: a linear head on the encoder as it came, in seconds; finetune: the "
        "whole model; auto: on a pretrained encoder the probe first, then, with enough texts, "
        "fine-tuning from it, and the better of the two on validation.",
    )
    eval_batch_size: int = Field(default=64, ge=1, description="Texts in a batch of evaluation.")
    warmup_ratio: float | None = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Share of the updates in which the learning rate rises.",
    )
    scheduler: Literal["linear", "cosine", "constant"] | None = Field(
        default="linear", description="How the learning rate falls after the warm-up."
    )
    gradient_accumulation: int | None = Field(default=1, ge=1, description="Batches in one update.")
    evaluations: int | None = Field(
        default=None,
        ge=1,
        description="Evaluations and checkpoints of a training, evenly spread; by default one "
        "after each pass.",
    )
    every: int | None = Field(
        default=None, ge=1, description="Instead of evaluations: the updates between two of them."
    )
    class_weights: Literal["none", "balanced"] = Field(
        default="none", description="balanced: a rare class weighs more in the loss."
    )
    keep_checkpoints: int = Field(
        default=2, ge=1, description="Checkpoints kept besides the best one."
    )

    @model_validator(mode="after")
    def _one_rhythm(self) -> Train:
        if self.every is not None and self.evaluations is not None:
            raise ValueError("every and evaluations exclude each other")
        return self


class Check(Section):
    """What is checked before the training starts."""

    learn: bool = Field(
        default=True,
        description="Overfit one batch first: a model that cannot do that learns nothing.",
    )
    memory_gb: float | None = Field(
        default=None,
        gt=0,
        description="Refuse when the estimated memory exceeds this; the machine's own "
        "memory by default.",
    )


class Evaluation(Section):
    """How the final figures are made."""

    bootstrap_samples: int = Field(
        default=1000, ge=100, description="Resamples of the test set behind each 95 % interval."
    )
    mistakes: int = Field(
        default=20, ge=0, description="Most confident mistakes shown in the report."
    )


class ClassifyJob(Job):
    """A job of family `classify`: texts with labels become a model that sorts texts."""

    data: Data
    model: Annotated[str, LocalPath(may_be_name=True)] = Field(
        description="Any Hub name or folder AutoModelForSequenceClassification can load, or "
        "scratch:tiny / scratch:small for a small model with fresh weights, or tfidf for a linear "
        "model on words (both without a download).",
        min_length=1,
    )
    revision: str | None = Field(default=None, description="Branch, tag or commit of a Hub model.")
    tokens: Tokens = Field(default_factory=Tokens)
    train: Train = Field(default_factory=lambda: Train.model_validate({}))
    check: Check = Field(default_factory=Check)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    gpus: Gpus = Field(
        default="auto",
        description="GPUs a computing centre is asked for; auto: one, where the site offers any.",
    )

    @property
    def is_tfidf(self) -> bool:
        """Whether the model is a linear one on words."""
        return self.model == "tfidf"

    @property
    def is_scratch(self) -> bool:
        """Whether the model starts from fresh weights."""
        return self.model.startswith("scratch:")
