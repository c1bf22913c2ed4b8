"""Step `train` for segmentation: teach Kraken's baseline segmenter the lines and zones of pages.

Writes `model/best.safetensors`, `model/best.mlmodel` and `training/summary.json`. Runs in the
environment `htr`.
"""

# Kraken and Lightning are in another environment, where the types are not checked.
# pyright: reportMissingImports=false, reportUntypedBaseClass=false
from __future__ import annotations

from typing import Any, cast

from kraken.configs import BLLASegmentationTrainingConfig, BLLASegmentationTrainingDataConfig
from kraken.train.blla import BLLASegmentationDataModule, BLLASegmentationModel

from deepsynth import durable
from deepsynth.families.htr.kraken.segmentation_data import class_indices, read_pages
from deepsynth.families.htr.kraken.training import (
    build_trainer,
    epochs_or_enough,
    export,
    fit,
    last_checkpoint,
    load_module,
    quieten,
)
from deepsynth.families.htr.prepared import (
    base_model,
    ground_truth_folder,
    htr_job,
    read_manifest,
)
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run

NAMES = {
    "val_mean_iu": "mean_iou",
    "val_accuracy": "pixel_accuracy",
    "val_bl_f1": "baseline_f1",
    "val_bl_precision": "baseline_precision",
    "val_bl_recall": "baseline_recall",
}


def main(run: Run) -> None:
    """Train the segmentation model of a run."""
    quieten()
    job, manifest = htr_job(run), read_manifest(run)
    folder, base = ground_truth_folder(run, "train"), base_model(run, "train")
    settings = job.train
    classes = (job.segmentation.line_classes, job.segmentation.region_classes)
    pages = {
        split: read_pages(folder, manifest.parts[split].pages, *classes)
        for split in ("train", "validation")
    }
    line_indices, region_indices = class_indices([*pages["train"], *pages["validation"]])
    data = BLLASegmentationDataModule(
        BLLASegmentationTrainingDataConfig(
            training_data=pages["train"],
            evaluation_data=pages["validation"],
            format_type=None,
            augment=settings.augment,
            num_workers=settings.workers,
            line_width=job.segmentation.line_width,
            line_class_mapping=line_indices,
            region_class_mapping=region_indices,
        )
    )
    work = run.work("train")
    trainer, best = build_trainer(
        run,
        settings,
        work,
        seed=job.seed,
        max_epochs=epochs_or_enough(settings),
        names=NAMES,
    )
    config = BLLASegmentationTrainingConfig(
        epochs=epochs_or_enough(settings),
        quit="fixed",
        lrate=settings.learning_rate,
        optimizer=settings.optimizer,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        schedule=settings.scheduler,
        warmup=settings.warmup or 0,
        resize=settings.resize,
        bl_tol=job.segmentation.baseline_tolerance,
        cos_t_max=epochs_or_enough(settings),
        checkpoint_path=str(work),
        **({"spec": settings.spec} if settings.spec and not base else {}),
    )
    fit(
        trainer,
        load_module(BLLASegmentationModel, base, config, trainer),
        data,
        last_checkpoint(run, work),
    )
    export(best, run.path / "model", "segmentation")
    (run.path / "training").mkdir()
    summary = {
        "epochs": trainer.current_epoch,
        "updates": trainer.global_step,
        "best_validation_score": float(cast(Any, best.best_model_score)),
        "pages": len(pages["train"]),
        "line_types": list(line_indices),
        "region_types": list(region_indices),
        "base_model": base.name if base else None,
    }
    durable.write_json(run.path / "training" / "summary.json", summary)


if __name__ == "__main__":
    step_process(main)
