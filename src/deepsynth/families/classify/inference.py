"""Label probabilities for texts: the one way train, evaluate and predict score a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepsynth import durable
from deepsynth.errors import ModelError

SETTINGS = "deepsynth.json"
"""Beside the model: what is needed to use it as it was trained."""


def probabilities(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    max_length: int,
    batch_size: int = 64,
    progress: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """Probability of each label for each text.

    Texts are scored longest first in batches padded to their own longest, and put back in order.

    Returns:
        float64 array of shape (texts, labels), rows sum to 1.
    """
    import torch

    if tokenizer is None:
        return model.probabilities(texts)
    model.eval()
    scores = np.zeros((len(texts), model.config.num_labels))
    done = 0
    with torch.inference_mode():
        for rows, batch in batches(model, tokenizer, texts, max_length, batch_size):
            logits = model(**batch).logits.double()
            scores[rows] = torch.softmax(logits, dim=-1).cpu().numpy()
            done += len(rows)
            progress(done)
    return scores


def batches(
    model: Any, tokenizer: Any, texts: Sequence[str], max_length: int, batch_size: int
) -> Iterator[tuple[list[int], Any]]:
    """Texts as a model takes them, longest first, each batch padded to its own longest.

    Yields:
        Row numbers, and the inputs on the model's device.
    """
    encoded = tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"]
    order = sorted(range(len(texts)), key=lambda row: -len(encoded[row]))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = tokenizer.pad({"input_ids": [encoded[row] for row in rows]}, return_tensors="pt")
        yield rows, batch.to(model.device)


def load_trained(folder: Path) -> tuple[Any, Any, dict[str, Any]]:
    """Model, tokenizer and settings of a `model/` folder, on the GPU when there is one.

    A model on TF-IDF has no tokenizer: None.

    Raises:
        ModelError: The folder is not a trained classifier, or was cut short.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    from deepsynth.families.classify.encoder import MODULES, SentenceClassifier
    from deepsynth.families.classify.tfidf import FEATURES, TfidfClassifier

    disable_progress_bar()
    settings = durable.read_json(folder / SETTINGS)
    if not settings:
        raise ModelError(
            "there is no trained classifier here.",
            where=folder,
            hint="Train one first: deepsynth run JOB",
        )
    try:
        model: Any
        if (folder / FEATURES).exists():
            return TfidfClassifier.load(folder), None, settings
        if (folder / MODULES).exists():
            model = SentenceClassifier.load(folder)
        else:
            model = AutoModelForSequenceClassification.from_pretrained(
                str(folder), trust_remote_code=False
            )
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"the model cannot be loaded: {str(error).splitlines()[0]}", where=folder
        ) from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(device), tokenizer, settings
