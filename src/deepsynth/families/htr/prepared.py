"""`data/` of a run: compiled splits and the manifest that says what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.errors import RequestError
from deepsynth.families.htr.ground_truth.splits import SplitName
from deepsynth.families.htr.job import HtrJob
from deepsynth.run.run import Run

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Part:
    """One compiled file: a split, or a fold of a cross-validation.

    Attributes:
        name: `train`, `validation`, `test`, or `fold-0` and so on.
        pages: XML files below the ground truth folder.
        arrow: Name of the compiled file in `data/`; empty for segmentation.
        report: What became of its lines.
    """

    name: str
    pages: list[str]
    arrow: str = ""
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """What `data/` holds.

    Attributes:
        task: recognition or segmentation.
        normalization: Unicode normal form of training and scores.
        parts: The compiled files by name.
        folds: How many folds; 0 for ordinary splits.
        skipped: Files left out, with the reason.
        alphabet: How often each character occurs in all parts, in the normal form.
    """

    task: str
    normalization: str
    parts: Mapping[str, Part]
    folds: int = 0
    skipped: Mapping[str, str] = field(default_factory=dict)
    alphabet: Mapping[str, int] = field(default_factory=dict)

    def roles(self, index: int = 0) -> dict[SplitName, list[Part]]:
        """The parts that train, choose and test, in fold `index` when there are folds.

        In fold i, part i is tested, part i+1 chooses the best epoch, the others train.
        """
        if not self.folds:
            names = ("train", "validation", "test")
            return {name: [self.parts[name]] if name in self.parts else [] for name in names}
        parts = [self.parts[f"fold-{i}"] for i in range(self.folds)]
        after = (index + 1) % self.folds
        rest = [part for i, part in enumerate(parts) if i not in (index, after)]
        return {"train": rest, "validation": [parts[after]], "test": [parts[index]]}

    def write(self, folder: Path) -> None:
        """Write `manifest.json`."""
        durable.write_json(folder / MANIFEST, asdict(self))


def read_manifest(run: Run) -> Manifest:
    """The manifest of a run's `data/`."""
    entry = durable.read_json(run.path / "data" / MANIFEST)
    parts = {name: Part(**part) for name, part in entry.pop("parts").items()}
    return Manifest(parts=parts, **entry)


def ground_truth_folder(run: Run, step: str) -> Path:
    """Where the ground truth is, for a step that declares it as a source."""
    return run.source(run.plan.step(step), "ground_truth")


def base_model(run: Run, step: str) -> Path | None:
    """Where the base model is, or None when training starts from scratch."""
    declared = run.plan.step(step)
    return run.source(declared, "model") if "model" in declared.sources else None


def best_model(folder: Path) -> Path:
    """The model a training left: the artefact decides, not the exit code of the training.

    Raises:
        RequestError: There is none.
    """
    for name in ("best.safetensors", "best.mlmodel"):
        if (folder / name).is_file():
            return folder / name
    raise RequestError(
        "there is no model yet", where=folder, hint="Train it; logs/train.log says how that went."
    )


def htr_job(run: Run) -> HtrJob:
    """The run's job."""
    return run.job(HtrJob)
