"""Advice for what goes wrong with Kraken, given where it is seen instead of in a manual."""

from __future__ import annotations

import re

_ADVICE: tuple[tuple[str, str], ...] = (
    (
        r"CUDA out of memory|CUDA error: out of memory",
        "The GPU's memory is too small for these batches: halve train.batch_size.",
    ),
    (
        r"oom[-_ ]kill|Out Of Memory|MemoryError|Killed\b",
        "The machine's memory was too small: ask for more, or use fewer train.workers (each "
        "holds its own part of the data).",
    ),
    (
        r"alphabets? mismatch|codec alphabets|Option `--resize`",
        "The base model cannot write some characters of the data: train.resize=union adds them.",
    ),
    (
        r"class mapping differ",
        "The base model knows other line or region types: train.resize=union adds those of the "
        "data, segmentation.line_classes renames them.",
    ),
    (
        r"No training data|No valid training data|dataset is empty",
        "No line was left to train on: deepsynth check says which lines are unusable, and why.",
    ),
    (
        r"Model did not improve",
        "No pass was better than the one before: use a smaller train.learning_rate, or check "
        "that the transcriptions belong to the lines.",
    ),
    (
        r"No such option|no such option|Got unexpected extra argument",
        "This ketos does not know the option: its version is older or newer than it says. Use "
        "`kraken.toolchain: managed`.",
    ),
    (
        r"DUE TO TIME LIMIT|CANCELLED",
        "The time limit was reached: ask for more, and go on with deepsynth run --resume.",
    ),
    (
        r"operator torchvision::nms does not exist",
        "torchvision and torch do not fit together: deepsynth setup htr mends the managed "
        "environment.",
    ),
    (
        r"Invalid device|No CUDA GPUs|no NVIDIA driver|not compiled with CUDA",
        "There is no GPU here: set train.device=cpu, or ask the cluster for a GPU.",
    ),
    (
        r"No loader found|is not a regular file|Failure parsing model|InvalidModel",
        "The base model cannot be read: it is damaged, or needs a newer Kraken. Older versions "
        "read .mlmodel only.",
    ),
    (
        r"DecompressionBomb",
        "A scan is too large to be decoded: scale it down together with its coordinates.",
    ),
)


def advise(log: str) -> str | None:
    """What to do about the first known trouble in a log; None when none is known."""
    for pattern, text in _ADVICE:
        if re.search(pattern, log, re.IGNORECASE):
            return text
    return None
