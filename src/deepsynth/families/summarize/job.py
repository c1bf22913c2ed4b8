"""The job of `summarize`: every setting, its default and what it means; for Python, too.

`None` means "recommended from the data and the machine": see `summarize/recommend.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from deepsynth.families.summarize.lora_presets import LoraPreset, Router
from deepsynth.families.summarize.tiny_model import SCRATCH_PREFIX
from deepsynth.job.job import Job, LocalPath
from deepsynth.job.settings import Section, refusal
from deepsynth.pages.render.settings import PageSettings
from deepsynth.training.settings import TrainerSettings

PresetName = Literal[
    "auto",
    "none",
    "tiny_data",
    "balanced",
    "router_focused",
    "high_capacity_moe",
    "standard",
    "qlora_4bit",
]
OnOffAuto = bool | Literal["auto"]
DEFAULT_MODEL = "deepseek-community/DeepSeek-OCR-2"
DEFAULT_PROMPT = "Summarize this document."

SectionT = TypeVar("SectionT", bound=Section)


class LoraSettings(Section):
    """Deviations from the preset; a preset fills what is left open."""

    targets: list[str] | None = Field(None, description="Linear layers by their last name.")
    rank: int | None = Field(None, ge=1, le=1024, description="Rank r of the linear layers.")
    alpha: int | None = Field(None, ge=1, description="Scale; an update counts alpha / rank.")
    dropout: float | None = Field(None, ge=0, lt=1, description="Dropout of the linear layers.")
    router: Router | None = Field(
        None, description="Router of the experts: frozen, lora, or full (trained whole)."
    )
    expert_rank: int | None = Field(
        None, ge=0, le=1024, description="Rank on the routed experts; 0 leaves them frozen."
    )
    quantize: Literal["none", "nf4"] | None = Field(
        None, description="nf4: frozen linear layers in 4 bits; needs a GPU and bitsandbytes."
    )
    vision: bool = Field(False, description="Let the targets match the vision tower too.")

    def filled(self, preset: LoraPreset) -> LoraSettings:
        """The settings with every open field taken from `preset`."""
        values = {
            name: getattr(preset, name)
            for name in type(self).model_fields
            if name != "vision" and getattr(self, name) is None
        }
        if "targets" in values:
            values["targets"] = list(values["targets"])
        return self.model_copy(update=values)


class MoeSettings(Section):
    """Regularisation of a mixture of experts, active while training only."""

    gate_dropout: float | None = Field(
        None, ge=0, le=1, description="Share of tokens that send no gradient to the router."
    )
    expert_dropout: float | None = Field(
        None, ge=0, lt=1, description="Share of a token's chosen experts that are left out."
    )
    min_keep: int = Field(1, ge=1, description="Strongest experts of a token that always stay.")
    load_balancing: float = Field(
        0.0, ge=0, description="Weight of the load-balancing loss; 0 leaves it out."
    )


class TrainSettings(TrainerSettings):
    """What a job's `train:` may say."""

    preset: PresetName = Field(
        "auto", description="LoRA preset; none trains every weight of the language model."
    )
    mixed_precision: Literal["auto", "bf16", "fp16", "no"] = Field(
        "auto", description="auto: bf16 on a GPU that computes in it, else no."
    )
    num_workers: int | None = Field(None, ge=0, description="Processes that prepare batches.")
    max_target_tokens: int = Field(512, ge=8, description="A longer summary is cut here.")
    evaluations: int | None = Field(
        10, ge=1, description="Evaluations and checkpoints of a training."
    )
    generate_samples: int = Field(
        32, ge=0, description="Validation samples summarised at each evaluation; 0: loss only."
    )
    patience: int | None = Field(
        0, ge=0, description="Evaluations without gain after which training ends; 0: never."
    )
    cache_features: OnOffAuto = Field(
        "auto", description="Encode each page once and keep the features on disk."
    )
    cache_dir: str | None = Field(None, description="Where; by default the user's cache folder.")
    cache_max_gb: float = Field(50.0, gt=0, description="Largest size of a feature cache.")
    target_only_logits: bool = Field(
        True, description="Compute logits only where the summary is predicted."
    )
    uint8_pages: bool = Field(
        True, description="Send pages to the device as bytes and normalise them there."
    )
    group_by_length: bool = Field(True, description="Batch samples of similar length.")
    gradient_checkpointing: OnOffAuto = Field(
        "auto", description="Recompute activations to save memory; auto: when memory asks."
    )
    experts: Literal["auto", "eager", "grouped_mm", "batched_mm"] = Field(
        "auto", description="How routed experts are computed; auto: as transformers chooses."
    )


class TrainerConfig(TrainSettings):
    """Everything `create_trainer` needs, with a default that works for each value."""

    model_name: str = Field(DEFAULT_MODEL, description="Hub name, folder, earlier run, scratch:.")
    model_revision: str | None = Field(None, description="Commit or tag of a Hub model.")
    trust_remote_code: bool = Field(False, description="Run Python code of the model's repository.")
    output_dir: str = Field("trained", description="Folder for checkpoints, model and metrics.")
    prompt: str = Field(DEFAULT_PROMPT, min_length=1, description="Asked after the page.")
    tiles: bool = Field(False, description="Cut large pages into tiles instead of one view.")
    max_new_tokens: int | None = Field(
        None, ge=8, description="Tokens after which a written summary is cut; None: by the data."
    )
    seed: int = Field(42, ge=0, lt=2**32, description="Seed of weights, order and dropout.")
    max_train_samples: int | None = Field(None, ge=1, description="Use at most so many.")
    max_val_samples: int | None = Field(None, ge=1, description="Validate on at most so many.")
    lora: LoraSettings = Field(default_factory=lambda: LoraSettings.model_validate({}))
    moe: MoeSettings = Field(default_factory=lambda: MoeSettings.model_validate({}))

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise refusal(error, TrainerConfig, "a training", "TrainerConfig", {}) from None

    @model_validator(mode="after")
    def _code_needs_revision(self) -> TrainerConfig:
        revision = self.model_revision or ""
        if self.trust_remote_code and not (len(revision) == 40 and revision.isalnum()):
            raise ValueError("trust_remote_code needs model_revision, a full 40-digit commit")
        return self


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


class Pages(PageSettings):
    """How texts are drawn, and how the model takes the pages."""

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
    max_new_tokens: int | None = Field(
        None,
        ge=8,
        description="Tokens after which a written summary is cut; by default a quarter more than "
        "the longest training summary has.",
    )
    bootstrap_samples: int = Field(1000, ge=100, description="Resamples behind each interval.")
    baselines: bool = Field(True, description="Also score what costs nothing.")
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
                "max_new_tokens": self.evaluation.max_new_tokens,
                "seed": self.seed,
                "max_train_samples": self.data.max_train_samples,
                "max_val_samples": self.data.max_val_samples,
                "lora": self.lora.model_dump(),
                "moe": self.moe.model_dump(),
            }
        )
