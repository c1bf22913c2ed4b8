"""The job of `summarize`: every setting, its default and what it means."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from deepsynth.families.summarize.config import (
    DEFAULT_MODEL,
    DEFAULT_PROMPT,
    LoraSettings,
    MoeSettings,
    TrainerConfig,
    TrainSettings,
)
from deepsynth.families.summarize.tiny_model import SCRATCH_PREFIX
from deepsynth.job.job import Job, LocalPath
from deepsynth.job.settings import Section


class Data(Section):
    """Where the documents and their summaries are."""

    path: Annotated[str | None, LocalPath()] = Field(
        None,
        description="A dataset made by `deepsynth generate`, or a CSV, JSONL or Parquet file with "
        "texts and summaries, which is drawn first.",
    )
    hub: str | None = Field(
        None,
        description="Instead of path: USER/NAME[@branch, tag or commit] of a dataset of pages on "
        "the Hub. `data: hub:USER/NAME` is short for it.",
    )
    revision: str | None = Field(
        None, description="Branch, tag or commit of the Hub dataset; a run records the commit."
    )
    datasets: list[str] | None = Field(
        None,
        description="Instead of path: several, by name (mlsum_fr; all for every one) or USER/NAME "
        "on the Hub.",
    )
    weights: list[float] | None = Field(
        None,
        description="Share of each of `datasets` in training, such as [3, 1]: rows are drawn until "
        "the first dataset is used up. By default all rows of all.",
    )
    hf_dataset_prefix: str | None = Field(
        None, description="Whose datasets `datasets` means; by default one's own."
    )
    text: str | None = Field(None, description="Column of the texts; found when not given.")
    summary: str | None = Field(None, description="Column of the summaries; found when not given.")
    max_train_samples: int | None = Field(None, ge=1, description="Train on at most so many.")
    max_val_samples: int | None = Field(None, ge=1, description="Validate on at most so many.")
    validation_share: float = Field(
        0.05, ge=0, lt=0.5, description="Held out to choose the best checkpoint, if no split is."
    )
    test_share: float = Field(
        0.05, ge=0, lt=0.5, description="Held out for the final figures, if no split is."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Data:
        if sum(map(bool, (self.path, self.hub, self.datasets))) != 1:
            raise ValueError("one of path, hub and datasets must be given")
        if self.hub is None and self.revision:
            raise ValueError("revision belongs to hub")
        if self.weights is not None:
            if len(self.weights) != len(self.datasets or []) or "all" in (self.datasets or []):
                raise ValueError("weights needs one number for each of datasets, by name")
            if min(self.weights, default=0) <= 0:
                raise ValueError("weights must be above 0")
        return self


class Pages(Section):
    """How texts are drawn, and how the model takes the pages."""

    mode: Literal["tiny", "small", "tile", "base", "large"] = Field(
        "base", description="Page size as DeepSeek-OCR names it: base is 1024 pixels square."
    )
    size_px: int = Field(16, ge=8, le=64, description="Height of the type in pixels.")
    tiles: bool = Field(
        False, description="Let the model cut pages into tiles: sharper, about 4 times the work."
    )


class Check(Section):
    """What is looked at before training."""

    learn: bool = Field(True, description="Overfit one batch first, on the job's own model.")
    memory_gb: float | None = Field(
        None, gt=0, description="Memory to stay within; by default all."
    )


class Evaluation(Section):
    """How the final figures are made."""

    split: Literal["test", "validation", "train"] = Field(
        "test", description="What is summarised; train shows what was memorised, nothing more."
    )
    max_samples: int = Field(200, ge=1, description="Documents summarised at most.")
    batch_size: int = Field(8, ge=1, description="Documents summarised at once.")
    max_new_tokens: int = Field(256, ge=8, description="Longest summary, in tokens.")
    bootstrap_samples: int = Field(1000, ge=100, description="Resamples behind each interval.")
    baselines: bool = Field(True, description="Also score lead-3 and the model before training.")
    gallery: int = Field(12, ge=0, description="Documents shown in the report with their pages.")


class Export(Section):
    """What training leaves behind."""

    merged: bool = Field(True, description="Also write the model with the adapter merged into it.")


class SummarizeJob(Job):
    """A job of family `summarize`: texts drawn as pages teach a model to summarise pages."""

    data: Data
    pages: Pages = Field(default_factory=lambda: Pages.model_validate({}))
    model: Annotated[str, LocalPath(may_be_name=True)] = Field(
        DEFAULT_MODEL,
        description="Hub name or folder of a model that reads images, the folder of an earlier "
        "run, or scratch:deepseek-ocr-2-tiny for a small model with random weights.",
        min_length=1,
    )
    revision: str | None = Field(None, description="Commit or tag of a Hub model.")
    trust_remote_code: bool = Field(
        False, description="Run the model's own code; only together with a full commit as revision."
    )
    prompt: str = Field(DEFAULT_PROMPT, min_length=1, description="Asked after the pages.")
    train: TrainSettings = Field(default_factory=lambda: TrainSettings.model_validate({}))
    lora: LoraSettings = Field(default_factory=lambda: LoraSettings.model_validate({}))
    moe: MoeSettings = Field(default_factory=lambda: MoeSettings.model_validate({}))
    check: Check = Field(default_factory=lambda: Check.model_validate({}))
    evaluation: Evaluation = Field(default_factory=lambda: Evaluation.model_validate({}))
    export: Export = Field(default_factory=lambda: Export.model_validate({}))
    gpus: int = Field(
        1, ge=0, description="GPUs a computing centre is asked for; more than one train together."
    )

    @property
    def is_scratch(self) -> bool:
        """Whether the model starts from random weights."""
        return self.model.startswith(SCRATCH_PREFIX)

    @property
    def trains_fully(self) -> bool:
        """Whether the language model itself trains, without LoRA."""
        return self.train.preset == "none"

    def trainer_config(self, model: str) -> TrainerConfig:
        """The settings as the training package takes them.

        Args:
            model: Where the model is on this machine.
        """
        return TrainerConfig.model_validate(
            {
                **self.train.model_dump(),
                "model_name": model,
                "model_revision": self.revision,
                "trust_remote_code": self.trust_remote_code,
                "prompt": self.prompt,
                "tiles": self.pages.tiles,
                "seed": self.seed,
                "max_train_samples": self.data.max_train_samples,
                "max_val_samples": self.data.max_val_samples,
                "lora": self.lora.model_dump(),
                "moe": self.moe.model_dump(),
            }
        )
