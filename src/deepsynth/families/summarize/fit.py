"""From settings and samples to a trained model: what `create_trainer` does.

```python
from deepsynth.training import create_trainer

result = create_trainer(model_name="scratch:deepseek-ocr-2-tiny").train(dataset)
print(result.metrics, result.model)
```
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback

from deepsynth import durable
from deepsynth.errors import JobError
from deepsynth.families.summarize.export import export_checkpoint
from deepsynth.families.summarize.job import TrainerConfig
from deepsynth.families.summarize.outcome import train_from_start
from deepsynth.families.summarize.samples import PageSamples
from deepsynth.families.summarize.session import open_session
from deepsynth.families.summarize.trainer import make_trainer
from deepsynth.printing import say
from deepsynth.training.callbacks import MarkWhole
from deepsynth.training.checkpoints import last_complete
from deepsynth.training.fitting import fit

_IDENTITY = "training.json"
"""In the output folder: which settings and summaries its checkpoints are of."""


@dataclass(frozen=True)
class TrainResult:
    """What a training left behind.

    Attributes:
        model: Folder of the adapter, or of the model after full fine-tuning.
        metrics: Of the best checkpoint, with `updates` and the last `train_loss`.
        checkpoint: The checkpoint that was taken.
    """

    model: Path
    metrics: dict[str, float]
    checkpoint: Path


class VlmTraining:
    """Trains a vision-language model on pages with summaries; see `create_trainer`."""

    def __init__(self, config: TrainerConfig) -> None:
        self.config = config

    def train(self, dataset: Any, eval_dataset: Any = None, *, resume: bool = False) -> TrainResult:
        """Train on a `datasets.Dataset`, a `DatasetDict`, or a list of rows.

        Args:
            dataset: Rows with `images` and `summary`; of a `DatasetDict` its splits `train` and
                `validation` are taken.
            eval_dataset: To validate on, choosing the best checkpoint; the last one is taken
                without it.
            resume: Go on from the last whole checkpoint in `output_dir`, which must be of the same
                settings and summaries.

        Raises:
            JobError: `output_dir` holds another training, or one to go on with and `resume` is not
                said.
            DeepSynthError: With what to do about it.
        """
        if hasattr(dataset, "keys") and "train" in dataset:
            eval_dataset = dataset.get("validation") if eval_dataset is None else eval_dataset
            dataset = dataset["train"]
        folder = Path(self.config.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        train = PageSamples(dataset, "dataset", self.config.max_train_samples)
        held_out = None
        if eval_dataset is not None:
            held_out = PageSamples(eval_dataset, "eval_dataset", self.config.max_val_samples)
        start = _claim(folder, self.config, train, resume=resume)
        more = () if held_out is None else (held_out,)
        session = open_session(self.config, train, folder / "base", say=say, more=more)
        trainer = make_trainer(session, train, held_out, folder)
        trainer.add_callback(MarkWhole())
        if session.config.patience and held_out is not None:
            trainer.add_callback(EarlyStoppingCallback(session.config.patience))
        outcome = train_from_start(session, trainer, held_out, lambda: fit(trainer, folder, start))
        export_checkpoint(session, outcome.checkpoint, folder / "model")
        for line in outcome.remarks:
            say(line)
        return TrainResult(folder / "model", outcome.figures, outcome.checkpoint)


def create_trainer(config: TrainerConfig | None = None, **settings: Any) -> VlmTraining:
    """A trainer with the given settings, every other one a default that works.

    Args:
        config: The settings as one object, or
        **settings: as keywords: `model_name`, `epochs`, `preset`, ... see `TrainerConfig`.

    Raises:
        JobError: A setting does not exist or has a wrong value.
    """
    given = {} if config is None else config.model_dump(exclude_unset=True)
    return VlmTraining(TrainerConfig(**given | settings))


def _claim(
    folder: Path, config: TrainerConfig, samples: PageSamples, *, resume: bool
) -> Path | None:
    """The checkpoint to go on from; an earlier training is neither exported nor written over."""
    settings = config.model_dump(mode="json", exclude={"output_dir", "cache_dir", "num_workers"})
    identity = durable.sha256_value([settings, samples.summaries()])
    start, known = last_complete(folder), durable.read_json(folder / _IDENTITY)
    if start is not None and not (resume and known == identity):
        raise JobError(
            "this folder holds another training." if resume else "this folder holds a training.",
            where=folder,
            hint="Choose another output_dir."
            if resume
            else "Go on with it (resume=True), or choose another output_dir.",
        )
    durable.write_json(folder / _IDENTITY, identity)
    return start
