"""A linear model on the TF-IDF of words: every classifier's yardstick, and one itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from deepsynth import durable
from deepsynth.evaluation.tfidf import Tfidf
from deepsynth.families.classify.linear import Linear

FEATURES = "tfidf.json"
"""In the folder of such a model: its features and their weights."""
_WEIGHTS = "model.safetensors"


class TfidfClassifier:
    """The features and a linear layer on them: a whole model, kept as two files.

    Args:
        weigh: The features.
        linear: The layer.
    """

    def __init__(self, weigh: Tfidf, linear: Linear) -> None:
        self.weigh = weigh
        self.linear = linear

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Probability of each label: float64 of shape (texts, labels)."""
        logits = self.linear.logits(self.weigh(texts)).double()
        return torch.softmax(logits, dim=-1).numpy()

    def words(self, labels: Sequence[str], most: int) -> dict[str, list[str]]:
        """The words and pairs of words that speak most for each label, the strongest first."""
        whole = [(name, column) for name, column in self.weigh.index.items() if name[0] != "#"]
        columns = torch.tensor([column for _, column in whole])
        found: dict[str, list[str]] = {}
        for label, row in zip(labels, self.linear.weight[:, columns], strict=True):
            best = torch.topk(row, min(most, len(whole)))
            strong = zip(best.values.tolist(), best.indices.tolist(), strict=True)
            found[label] = [whole[at][0] for value, at in strong if value > 0]
        return found

    def save(self, folder: Path) -> None:
        """Write both files."""
        said = {"features": list(self.weigh.index), "idf": self.weigh.idf.tolist()}
        durable.write_json(folder / FEATURES, said)
        weights = {"weight": self.linear.weight, "bias": self.linear.bias}
        save_file({name: w.contiguous() for name, w in weights.items()}, folder / _WEIGHTS)

    @classmethod
    def load(cls, folder: Path) -> TfidfClassifier:
        """What `save` wrote.

        Raises:
            ValueError: The two files do not belong together, or are something else.
            OSError: One is missing.
        """
        said = durable.read_json(folder / FEATURES)
        weights = load_file(folder / _WEIGHTS)
        said = said if isinstance(said, dict) else {}
        names, idf = said.get("features"), said.get("idf")
        shape = tuple(weights["weight"].shape) if weights.keys() == {"weight", "bias"} else ()
        if not (
            isinstance(names, list)
            and isinstance(idf, list)
            and all(isinstance(name, str) for name in names)
            and all(isinstance(value, float) for value in idf)
            and len(set(names)) == len(names) == len(idf)
            and shape == (len(weights["bias"]), len(names))
        ):
            raise ValueError(f"{FEATURES} and {_WEIGHTS} are no model on TF-IDF")
        index = {name: column for column, name in enumerate(cast(list[str], names))}
        return cls(Tfidf(index, np.array(idf)), Linear(weights["weight"], weights["bias"], 0.0))
