"""Step `evaluate` for segmentation: baselines and regions found on the held-out pages.

Writes `metrics.json`, `evaluation/` and `report.html`. Baselines are scored by Kraken: one counts
as found when it lies within `segmentation.baseline_tolerance` pixels of the true one. Regions are
scored by intersection over union of their pixels.
"""

# Kraken and Lightning are in another environment, where the types are not checked.
# pyright: reportMissingImports=false, reportUntypedBaseClass=false
from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from kraken.configs import BLLASegmentationTestDataConfig, BLLASegmentationTrainingConfig
from kraken.train import KrakenTrainer
from kraken.train.blla import BLLASegmentationDataModule, BLLASegmentationModel

from deepsynth import durable
from deepsynth.families.htr.kraken.segmentation_data import read_pages
from deepsynth.families.htr.kraken.training import quieten
from deepsynth.families.htr.prepared import ground_truth_folder, htr_job, read_manifest
from deepsynth.families.htr.report import headline, pages, validation_curve
from deepsynth.report import page
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run


def main(run: Run) -> None:
    """Score the segmentation model of a run and write the report."""
    quieten()
    job, manifest = htr_job(run), read_manifest(run)
    torch.set_num_threads(job.train.threads)
    on = "test" if "test" in manifest.parts else "validation"
    names = manifest.parts[on].pages
    read = read_pages(
        ground_truth_folder(run, "evaluate"),
        names,
        job.segmentation.line_classes,
        job.segmentation.region_classes,
    )
    weights = next(
        path
        for name in ("best.safetensors", "best.mlmodel")
        if (path := run.path / "model" / name).is_file()
    )
    final: dict[str, Any] = {
        "task": "segmentation",
        "measured_on": on,
        "pages": len(names),
        "baseline_tolerance_px": job.segmentation.baseline_tolerance,
        **score(weights, read, job.segmentation.baseline_tolerance),
        "training": durable.read_json(run.path / "training" / "summary.json"),
    }
    folder = run.path / "evaluation"
    folder.mkdir()
    durable.write_json(folder / "classes.json", final["line_types"])
    durable.write_json(run.path / "metrics.json", final)
    _write_report(run, final)


def score(weights: Path, pages: list[dict[str, Any]], tolerance: float) -> dict[str, Any]:
    """Baseline precision, recall and F1, and region overlap, of a model on pages."""
    config = BLLASegmentationTrainingConfig(bl_tol=tolerance)
    module = BLLASegmentationModel.load_from_weights(weights, config)
    data = BLLASegmentationDataModule(
        BLLASegmentationTestDataConfig(
            test_data=pages, format_type=None, num_workers=0, test_class_mapping_mode="canonical"
        )
    )
    trainer = KrakenTrainer(
        accelerator="cpu",
        devices=1,
        enable_progress_bar=False,
        enable_summary=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    found = trainer.test(module, data, verbose=False)
    return {
        "baseline_precision": _number(found.bl_precision),
        "baseline_recall": _number(found.bl_recall),
        "baseline_f1": _number(found.bl_f1),
        "region_iou": _number(found.region_iu),
        "mean_iou": _number(found.mean_iu),
        "line_types": {
            name: {key: _number(each[key]) for key in ("precision", "recall", "f1")}
            for name, each in (found.bl_detection_per_class or {}).items()
        },
    }


def _number(value: Any) -> float | None:
    if value is None or not math.isfinite(float(value)):
        return None
    return float(value)


def _write_report(run: Run, final: dict[str, Any]) -> None:
    page.write_report(
        run,
        Path(__file__).with_name("report_segmentation.html.j2"),
        final=final,
        headline=headline(final),
        where=pages(final["pages"], final["measured_on"]),
        curve=validation_curve(run.metrics(), "baseline_f1"),
    )


if __name__ == "__main__":
    step_process(main)
