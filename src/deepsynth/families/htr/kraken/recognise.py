"""Reading compiled lines with a Kraken model; runs in the environment `htr`."""

# Kraken and Lightning are in another environment, where the types are not checked.
# pyright: reportMissingImports=false, reportUntypedBaseClass=false
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from kraken.lib.ctc_decoder import greedy_decoder
from kraken.lib.dataset import (
    ArrowIPCRecognitionDataset,
    ImageInputTransforms,
    collate_sequences,
)
from kraken.lib.functional_im_transforms import text_reorder
from kraken.models import load_models

from deepsynth.errors import DataError, ModelError, RequestError
from deepsynth.families.htr.kraken.loader import WidthBatches, line_widths, speed_up_loading


def load_recogniser(path: Path) -> Any:
    """The first recognition network in a model file.

    Raises:
        ModelError: Kraken cannot load it.
    """
    try:
        found = load_models(path, tasks=["recognition"])
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"Kraken cannot load the model: {error}",
            where=path,
            hint="It may need another version of Kraken, or be damaged.",
        ) from None
    if not found:
        raise ModelError("the model does not recognise text", where=path, hint="Name another one.")
    return found[0].eval()


def set_threads(count: int) -> None:
    """Use so many threads for the arithmetic on a CPU."""
    torch.set_num_threads(count)


def reading_device(device: str) -> str:
    """The torch device that reads, for `train.device` of a job."""
    name = device.partition(":")[0]
    return device.replace("auto", "cuda") if name != "cpu" and torch.cuda.is_available() else "cpu"


def lightning_device(device: str) -> tuple[str, Any]:
    """Lightning's accelerator and devices for `auto`, `cpu`, `mps` or `cuda:0`.

    Raises:
        RequestError: The device is not there.
    """
    name, _, index = device.partition(":")
    if name == "cuda" and not torch.cuda.is_available():
        raise RequestError(
            "there is no CUDA device here",
            where="train.device",
            hint="Use auto or cpu, or run on a machine with a GPU.",
        )
    if name == "cuda":
        return "gpu", [int(index or 0)]
    return name, 1 if name == "cpu" else "auto"


def read_compiled(
    model: Any,
    arrow: Path,
    *,
    pad: int = 16,
    batch_size: int = 16,
    device: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """What a model reads in each row of a compiled file, in the order of the rows.

    Args:
        model: From `load_recogniser`.
        arrow: A compiled split.
        pad: White columns at both ends of a line, as in training.
        batch_size: Lines read at once.
        device: torch device.
        progress: Called with lines done and lines in all.

    Returns:
        Text in logical (reading) order.

    Raises:
        DataError: A row cannot be decoded.
    """
    speed_up_loading()
    dataset = ArrowIPCRecognitionDataset(im_transforms=None, skip_empty_lines=False, reorder=False)
    dataset.add(str(arrow))
    _, channels, height, width = model.input
    dataset.transforms = ImageInputTransforms(
        1, height, width, channels, (pad, 0), valid_norm=dataset.seg_type == "bbox"
    )
    dataset.no_encode()
    batches = WidthBatches(line_widths(dataset), batch_size, shuffle=False)
    texts: dict[int, str] = {}
    model.to(device)
    with torch.inference_mode():
        for rows in batches:
            # the collate function reorders a batch, so the row travels in the place of the text
            samples = [{"image": dataset[row]["image"], "target": str(row)} for row in rows]
            if dataset.failed_samples:  # Kraken would put another line in its place
                raise DataError(
                    f"row {min(dataset.failed_samples)} cannot be decoded",
                    where=arrow,
                    hint="The compiled file is damaged; prepare it again.",
                )
            batch = collate_sequences(samples)
            output, lengths = model(batch["image"].to(device), batch["seq_lens"])
            decoded = greedy_decoder(output.squeeze(2).float().cpu(), lengths)
            for row, locations in zip(batch["target"], decoded, strict=True):
                text = "".join(entry[0] for entry in model.codec.decode(locations))
                texts[int(row)] = text_reorder(text)
            progress(len(texts), len(dataset))
    return [texts[row] for row in range(len(dataset))]
