"""Pages as Kraken's segmentation wants them, and how well a model finds their lines and regions.

Runs in the environment `htr`.
"""

# Kraken and Lightning are in another environment, where the types are not checked.
# pyright: reportMissingImports=false, reportUntypedBaseClass=false
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kraken.configs import BLLASegmentationTestDataConfig, BLLASegmentationTrainingConfig
from kraken.containers import BaselineLine, Region, Segmentation
from kraken.train import KrakenTrainer
from kraken.train.blla import (
    BLLASegmentationDataModule,
    BLLASegmentationModel,
    aggregate_detection_metrics,
)

from deepsynth.errors import DataError
from deepsynth.families.htr.ground_truth.model import Page

DEFAULT_LINE, DEFAULT_REGION = "default", "text"
FIRST_CLASS = 2
"""Kraken keeps 0 and 1 for the marks at the start and the end of a line."""


def _wrap(
    page: Page,
    line_classes: Mapping[str, str] | None,
    region_classes: Mapping[str, str] | None,
) -> Any:
    lines: list[Any] = []
    for line in page.lines:
        kind = line.tags[0] if line.tags else DEFAULT_LINE
        kept = kind if line_classes is None else line_classes.get(kind)
        if kept is None or len(line.baseline) < 2:
            continue
        lines.append(
            BaselineLine(
                id=line.id or f"line{len(lines)}",
                baseline=[tuple(point) for point in line.baseline],
                boundary=[tuple(point) for point in line.polygon] or None,
                tags={"type": [{"type": kept}]},
            )
        )
    regions: dict[str, list[Any]] = {}
    for region in page.regions:
        kind = region.type or DEFAULT_REGION
        kept = kind if region_classes is None else region_classes.get(kind)
        if kept is None or len(region.polygon) < 3:
            continue
        boundary = [tuple(point) for point in region.polygon]
        regions.setdefault(kept, []).append(Region(id=region.id, boundary=boundary))
    return Segmentation(
        type="baselines",
        imagename=str(page.image),
        text_direction="horizontal-lr",
        script_detection=True,
        lines=lines,
        regions=regions,
    )


def wrap_pages(
    pages: Sequence[Page],
    line_classes: Mapping[str, str] | None,
    region_classes: Mapping[str, str] | None,
) -> list[dict[str, Any]]:
    """The pages of a split, in the wrapping Kraken's data module takes.

    Args:
        pages: The pages.
        line_classes: New name for each line type kept; None keeps all as they are.
        region_classes: The same for regions.

    Raises:
        DataError: No page of them has a line or a region that is kept.
    """
    wrapped = [_wrap(page, line_classes, region_classes) for page in pages]
    if not any(page.lines or page.regions for page in wrapped):
        raise DataError(
            "no line and no region of the types asked for is on these pages",
            where="segmentation.line_classes",
            hint="Look at the types the ground truth uses: deepsynth check.",
        )
    return [{"doc": page} for page in wrapped]


def class_indices(pages: Sequence[dict[str, Any]]) -> tuple[dict[str, int], dict[str, int]]:
    """Output channels of the line types and of the region types, in a stable order."""
    lines = sorted({line.tags["type"][0]["type"] for page in pages for line in page["doc"].lines})
    regions = sorted({kind for page in pages for kind in page["doc"].regions})
    line_indices = {name: FIRST_CLASS + i for i, name in enumerate(lines)}
    first = FIRST_CLASS + len(lines)
    return line_indices, {name: first + i for i, name in enumerate(regions)}


def score(
    weights: Path, pages: list[dict[str, Any]], tolerance: float, device: str
) -> dict[str, Any]:
    """Baseline precision, recall and F1, and region overlap, of a model on wrapped pages.

    Args:
        weights: The model.
        pages: From `wrap_pages`.
        tolerance: Pixels within which a baseline counts as found.
        device: torch device: cpu or cuda.
    """
    module = BLLASegmentationModel.load_from_weights(
        weights, BLLASegmentationTrainingConfig(bl_tol=tolerance)
    )
    data = BLLASegmentationDataModule(
        BLLASegmentationTestDataConfig(
            test_data=pages, format_type=None, num_workers=0, test_class_mapping_mode="canonical"
        )
    )
    trainer = KrakenTrainer(
        accelerator="gpu" if device.startswith("cuda") else "cpu",
        devices=[int(device.partition(":")[2] or 0)] if device.startswith("cuda") else 1,
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


class ChosenByLines(BLLASegmentationModel):
    """Kraken's training of a segmenter, whose best pass is the one that finds lines best.

    Kraken's own `val_metric` is the overlap of regions alone: early stopping and the best model
    would not notice what becomes of the baselines.
    """

    def log(self, name: str, value: Any, *args: Any, **settings: Any) -> None:
        """Put what chooses the best pass in place of Kraken's figure."""
        if name == "val_metric":
            classes = self.trainer.datamodule.hparams.data_config
            found = [float(value)] if classes.region_class_mapping else []
            if classes.line_class_mapping:
                each = self.val_bl_metrics
                found.append(float(aggregate_detection_metrics(each)["f1"]) if each else 0.0)
            value = sum(found) / len(found)
        super().log(name, value, *args, **settings)


def _number(value: Any) -> float | None:
    if value is None or not math.isfinite(float(value)):
        return None
    return float(value)
