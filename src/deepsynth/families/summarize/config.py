"""Settings of the training of a vision-language model, one model for job, flags and Python.

`None` means "recommended from the data and the machine": see `summarize/recommend.py`.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from deepsynth.families.summarize.lora_presets import LoraPreset, Router
from deepsynth.job.settings import Section, refusal
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
