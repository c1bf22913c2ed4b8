"""The job of `htr`: every setting, its default and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from deepsynth.job.job import Job, LocalPath
from deepsynth.job.settings import Alias, Section
from deepsynth.training.device import Gpus
from deepsynth.training.settings import TrainingSettings


class Data(Section):
    """The ground truth."""

    ground_truth: Annotated[str, LocalPath()] = Field(
        description="Folder of ALTO or PAGE files with their images."
    )
    normalization: Literal["NFC", "NFD", "NFKC", "NFKD"] | None = Field(
        None, description="Unicode normal form of the text; the base model's own by default."
    )
    allow_lost: int = Field(
        0, ge=0, description="Transcribed lines that may be lost before it is an error."
    )
    rare: int = Field(5, ge=0, description="Report characters seen fewer times than this.")
    allow_findings: list[str] = Field(
        default_factory=list,
        description="Codes of error findings to accept, for example baseline-reversed.",
    )


class Split(Section):
    """How pages are shared out; never by line."""

    by: Literal["page", "document"] = Field(
        "page", description="document: keep whole folders together, to score on unseen hands."
    )
    validation: float = Field(0.1, gt=0, lt=0.5, description="Share that chooses the best epoch.")
    test: float = Field(0.1, ge=0, lt=0.5, description="Share for the final score; 0 for none.")
    folds: int = Field(
        0, ge=0, le=20, description="Cross-validation: every page is tested once. 0 for none."
    )
    train_list: Annotated[str | None, LocalPath()] = Field(
        None, description="Text file with the pages to train on; all others by default."
    )
    validation_list: Annotated[str | None, LocalPath()] = Field(
        None, description="Text file with the pages that choose the best epoch."
    )
    test_list: Annotated[str | None, LocalPath()] = Field(
        None, description="Text file with the pages for the final score."
    )

    @property
    def is_listed(self) -> bool:
        """Whether the splits are given as lists."""
        return self.validation_list is not None

    @model_validator(mode="after")
    def _one_way(self) -> Split:
        if (self.train_list or self.test_list) and not self.validation_list:
            raise ValueError("lists need at least a validation_list")
        if self.folds and (self.is_listed or self.folds < 3):
            raise ValueError("folds are at least 3 and come without lists")
        return self


def _patience(early_stopping: Any, patience: Any) -> Any:
    """`patience` of jobs that said `early_stopping: false`, which is `patience: 0`."""
    if not isinstance(early_stopping, bool):
        raise ValueError(f"early_stopping is {early_stopping!r}, but should be true or false")
    return patience if early_stopping else 0


def _mixed_precision(precision: Any, _: Any) -> Any:
    """`mixed_precision` of jobs that named the precision as Kraken does."""
    return {"32-true": "no", "bf16-mixed": "bf16", "16-mixed": "fp16"}.get(precision, precision)


class Train(TrainingSettings):
    """How the model is trained; what only Kraken has is named as in the guides and in Kraken.

    Settings without a default are chosen by the number of lines; `resolved.yaml` says why.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {
        **TrainingSettings.aliases,
        "lrate": Alias("learning_rate"),
        "schedule": Alias("scheduler"),
        "lag": Alias("patience"),
        "early_stopping": Alias("patience", _patience),
        "precision": Alias("mixed_precision", _mixed_precision),
    }
    elsewhere: ClassVar[Mapping[str, str]] = {
        **TrainingSettings.elsewhere,
        "warmup_steps": "warmup",
        "dataloader_num_workers": "workers",
        "num_workers": "workers",
    }

    spec: str | None = Field(
        None, description="Layers (VGSL) of a network trained from scratch; one that fits if open."
    )
    augment: bool = Field(False, description="Distort the images at random, against overfitting.")
    pad: int = Field(16, ge=0, description="White columns at both ends of a line, in pixels.")
    batch_size: int | None = Field(None, ge=1, description="Lines in a batch.")
    optimizer: Literal["Adam", "AdamW", "SGD", "RMSprop"] = Field("AdamW", description="Optimiser.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD and RMSprop.")
    weight_decay: float = Field(0.0, ge=0, lt=1, description="Weight decay.")
    scheduler: Literal["constant", "cosine", "exponential", "step", "reduceonplateau", "1cycle"] = (
        Field("constant", description="How the learning rate changes over the epochs.")
    )
    warmup_ratio: float = Field(
        0.0, ge=0, lt=1, description="Share of the updates in which the learning rate rises."
    )
    warmup: int | None = Field(
        None, ge=0, description="The same in updates; warmup_ratio of them all by default."
    )
    min_epochs: int = Field(0, ge=0, description="Passes made whatever the score.")
    epochs: int | None = Field(None, ge=1, description="Passes after which training ends.")
    patience: int = Field(
        10, ge=0, description="Passes without a better score after which training ends; 0: never."
    )
    min_delta: float = Field(0.0, ge=0, lt=1, description="Rise of the score that counts.")
    resize: Literal["union", "new", "fail"] = Field(
        "union",
        description="Characters the base model lacks: union adds them, new keeps only those of "
        "the data, fail refuses.",
    )
    freeze: Literal["none", "backbone"] = Field(
        "none", description="backbone: train only the output layer (see freeze_epochs)."
    )
    freeze_epochs: int | None = Field(
        None, ge=1, description="Passes after which a frozen network learns as a whole."
    )
    mixed_precision: Literal["no", "bf16", "fp16"] = Field(
        "no", description="Arithmetic in 16 bits; fp16 needs a GPU."
    )
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, mps or cuda:0."
    )
    workers: int = Field(0, ge=0, description="Processes that load data; 0: the training itself.")
    threads: int = Field(
        1, ge=1, description="Threads of the arithmetic on a CPU; 1 spends the least time in all."
    )

    @model_validator(mode="after")
    def _frozen(self) -> Train:
        if self.freeze_epochs and self.freeze == "none":
            raise ValueError("freeze_epochs goes with freeze: backbone")
        return self


class SegmentationSettings(Section):
    """What only segmentation needs."""

    line_classes: dict[str, str] | None = Field(
        None,
        description="New name for each line type that is kept; others are left out. All if open.",
    )
    region_classes: dict[str, str] | None = Field(
        None,
        description="New name for each region type that is kept; others are left out. All if open.",
    )
    line_width: int = Field(8, ge=1, description="Width in which baselines are drawn, in pixels.")
    baseline_tolerance: float = Field(
        10.0, gt=0, description="Distance in pixels within which a baseline counts as found."
    )


class Evaluation(Section):
    """How the final figures are made."""

    bootstrap_samples: int = Field(
        1000, ge=100, description="Resamples of the test pages behind each 95 % interval."
    )
    worst_lines: int = Field(20, ge=0, description="Worst lines shown in the report.")
    compare_base: bool = Field(True, description="Score the base model on the same lines, too.")


class Kraken(Section):
    """Which Kraken trains."""

    toolchain: Literal["managed", "site"] = Field(
        "managed",
        description="managed: the environment `deepsynth setup htr` builds; site: the ketos found "
        "on the path (versions 4.3, 5, 6 and 7).",
    )
    version: Literal[4, 5, 6, 7] | None = Field(
        None,
        description="Version of the site's ketos, as `ketos --version` says. Given, the training "
        "is a plain ketos command that needs nothing of DeepSynth where it runs.",
    )
    setup: list[str] = Field(
        default_factory=list, description="Shell lines before ketos, such as `module load kraken`."
    )
    ketos: str = Field("ketos", description="Name or path of the program.")


class Keep(Section):
    """Folders beside the job in which a finished run leaves what it made, under its name."""

    compiled: Annotated[str | None, LocalPath()] = Field(
        None, description="Folder for the compiled lines: NAME-train.arrow, NAME-test.arrow."
    )
    scripts: Annotated[str | None, LocalPath()] = Field(
        None, description="Folder for the batch scripts that were submitted: NAME/train.sbatch."
    )
    models: Annotated[str | None, LocalPath()] = Field(
        None, description="Folder for the model and the log of its training: NAME.mlmodel."
    )


class HtrJob(Job):
    """A job of family `htr`: transcribed pages become a model that reads handwriting."""

    task: Literal["recognition", "segmentation"] = Field(
        "recognition", description="Read lines, or find lines and regions."
    )
    data: Data
    split: Split = Field(default_factory=lambda: Split.model_validate({}))
    model: Annotated[str | None, LocalPath()] = Field(
        None, description="Base model (.mlmodel or .safetensors); none to train from scratch."
    )
    train: Train = Field(default_factory=lambda: Train.model_validate({}))
    segmentation: SegmentationSettings = Field(
        default_factory=lambda: SegmentationSettings.model_validate({})
    )
    evaluation: Evaluation = Field(default_factory=lambda: Evaluation.model_validate({}))
    kraken: Kraken = Field(default_factory=lambda: Kraken.model_validate({}))
    keep: Keep = Field(default_factory=lambda: Keep.model_validate({}))
    gpus: Gpus = Field(
        "auto",
        description="GPUs a computing centre is asked for; auto: one, where the site offers any, "
        "and train.device may use it.",
    )

    @model_validator(mode="after")
    def _fits(self) -> HtrJob:
        if self.task == "segmentation" and self.split.folds:
            raise ValueError("folds are for recognition")
        if self.model and self.train.spec:
            raise ValueError("train.spec is for training from scratch, without a model")
        if self.kraken.toolchain == "site" and self.split.folds:
            raise ValueError("folds need the managed toolchain")
        if self.kraken.version and self.kraken.toolchain != "site":
            raise ValueError("kraken.version goes with kraken.toolchain: site")
        return self
