"""The probe: the encoder as it came, and the best linear head on what it says of each text.

Texts are embedded block by block, each sorted by length, so that little is padding; the blocks lie
in the step's work folder with a checksum, so that a million texts need no memory and an
interrupted embedding goes on at the block it was in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from deepsynth import durable
from deepsynth.families.classify.inference import batches
from deepsynth.families.classify.linear import Linear, choose_linear, fit_linear, predict_linear
from deepsynth.families.classify.metrics import scores
from deepsynth.families.classify.prepared import Split

BLOCK = 16_384
_SAMPLE = 4096
"""Rows that say where the features lie and how long they are."""


@dataclass(frozen=True)
class Probe:
    """A frozen encoder with its head.

    Attributes:
        head: The linear layer.
        macro_f1: On the validation split.
        answers: Predicted class index of each test text.
    """

    head: Linear
    macro_f1: float
    answers: list[int]


def head_of(model: Any) -> nn.Linear | None:
    """The last linear layer of a classifier, or None where there is none that a probe can fit.

    None stands for one without a bias, and for `score`, which is applied to every token. What
    flows into any other is one vector for each text: with another layer on the same vectors, the
    same model sorts texts otherwise.
    """
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and module.out_features == model.config.num_labels
        and "bias" in dict(module.named_parameters())
    ]
    return found[-1][1] if found and found[-1][0] != "score" else None


def set_head(model: Any, head: Linear) -> None:
    """Give a classifier this last layer."""
    layer = head_of(model)
    assert layer is not None
    with torch.no_grad():
        layer.weight.copy_(head.weight)
        layer.bias.copy_(head.bias)


def embed(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    max_length: int,
    batch_size: int,
    progress: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """What flows into the head for each text: float32 of shape (texts, width)."""
    layer = head_of(model)
    assert layer is not None
    seen: list[torch.Tensor] = []
    watch = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    found = np.zeros((len(texts), layer.in_features), dtype=np.float32)
    done = 0
    model.eval()
    with torch.inference_mode():
        for rows, batch in batches(model, tokenizer, texts, max_length, batch_size):
            model(**batch)
            found[rows] = seen.pop().float().cpu().numpy()
            done += len(rows)
            progress(done)
    watch.remove()
    return found


def features(
    folder: Path,
    name: str,
    texts: Sequence[str],
    embedded: Callable[[Sequence[str], int], np.ndarray],
) -> list[torch.Tensor]:
    """The features of a split, in blocks; those that lie in `folder` whole are not made again.

    Args:
        folder: Where blocks are kept.
        name: Of the split.
        texts: Of the split.
        embedded: Gives the features of texts; told how many came before them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    blocks: list[torch.Tensor] = []
    for start in range(0, len(texts), BLOCK):
        file = folder / f"{name}-{start // BLOCK:05d}.npy"
        mark = file.with_suffix(".json")
        if not (file.exists() and durable.read_json(mark) == durable.sha256_file(file)):
            stream = BytesIO()
            np.save(stream, embedded(texts[start : start + BLOCK], start))
            durable.write_bytes(file, stream.getvalue())
            durable.write_json(mark, durable.sha256_file(file))
        blocks.append(torch.from_numpy(np.load(file, mmap_mode="c")))
    return blocks


def fit_probe(
    model: Any,
    splits: dict[str, Split],
    blocks: Callable[[str], list[torch.Tensor]],
    class_weights: torch.Tensor | None,
) -> Probe:
    """Fit the head on the training split, at a strength that validation has a say in.

    Args:
        model: The frozen classifier; it is not changed.
        splits: All three.
        blocks: The features of a split.
        class_weights: Weight of each class in the loss.
    """
    train, validation = blocks("train"), blocks("validation")
    middle = train[0][:_SAMPLE].mean(0)
    length = float((train[0][:_SAMPLE] - middle).norm(dim=1).mean()) or 1.0
    labels = np.asarray(splits["train"].labels)

    def fit(strength: float, start: Linear | None) -> Linear:
        return fit_linear(
            train,
            labels,
            model.config.num_labels,
            strength=strength,
            class_weights=class_weights,
            start=start,
            middle=middle,
            length=length,
        )

    def macro_f1(found: np.ndarray) -> float:
        return scores(splits["validation"].labels, found.tolist())["macro_f1"]

    head, reached = choose_linear(fit, validation, macro_f1)
    return Probe(head, reached, predict_linear(head, blocks("test")).tolist())
