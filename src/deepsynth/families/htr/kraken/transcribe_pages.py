"""Kraken's side of `transcribe`: runs in the environment `htr`, one JSON line out for each page."""

# Kraken and Lightning are in another environment, where the types are not checked.
# pyright: reportMissingImports=false, reportUntypedBaseClass=false
from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.families.htr.ground_truth.images import open_image
from deepsynth.families.htr.ground_truth.model import NotGroundTruth
from deepsynth.run.child import Parent


def main(parent: Parent) -> None:
    """Segment and read every page of the request."""
    request = next(parent.requests())
    warnings.filterwarnings("ignore")
    logging.getLogger().setLevel(logging.ERROR)
    from kraken.configs import RecognitionInferenceConfig, SegmentationInferenceConfig
    from kraken.tasks import RecognitionTaskModel, SegmentationTaskModel

    accelerator, devices = _device(request["device"])
    segmenter = SegmentationTaskModel.load_model(request["segmentation"])
    reader = RecognitionTaskModel.load_model(request["model"])
    settings = {"accelerator": accelerator, "device": devices}
    for page, target in request["pages"]:
        event: dict[str, Any] = {"image": page}
        try:
            image = open_image(Path(page))
            found = segmenter.predict(image, SegmentationInferenceConfig(**settings))
            found = replace(found, imagename=Path(page).name)
            config = RecognitionInferenceConfig(num_line_workers=0, **settings)
            records = list(reader.predict(image, found, config)) if found.lines else []
            durable.write_text(
                Path(target), serialise(replace(found, lines=records), image.size, request["to"])
            )
            event["lines"] = len(records)
        except NotGroundTruth as problem:
            event["error"] = problem.what
        except (ValueError, RuntimeError, OSError) as error:
            event["error"] = f"{type(error).__name__}: {error}"
        parent.answer(event)


def serialise(result: Any, size: tuple[int, int], to: str) -> str:
    """A transcribed page in a standard format.

    Args:
        result: Kraken's segmentation with the lines read.
        size: Width and height of the image in pixels.
        to: `alto`, `page`, `abbyy`, `hocr` or `text`; or as Kraken calls it.
    """
    if to == "text":
        return "".join(f"{line.prediction}\n" for line in result.lines)
    from kraken.serialization import serialize

    names = {"page": "pagexml", "abbyy": "abbyyxml"}
    return serialize(result, image_size=size, template=names.get(to, to))


def _device(device: str) -> tuple[str, Any]:
    name, _, index = device.partition(":")
    if name == "cuda":
        return "gpu", [int(index or 0)]
    return name, "auto" if name == "auto" else 1


if __name__ == "__main__":
    main(Parent())
