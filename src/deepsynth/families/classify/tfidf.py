"""TF-IDF: a text as weighted words, word pairs and pieces of words: every classifier's yardstick.

Source: Salton and Buckley (1988), with smoothed idf and sublinear counts.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from deepsynth import durable
from deepsynth.families.classify.linear import Linear

FEATURES = "tfidf.json"
"""In the folder of such a model: its features and their weights."""
_WEIGHTS = "model.safetensors"
MOST_FEATURES = 50_000
_WORD = re.compile(r"\w+")
_PIECES = (3, 4)
"""Lengths of the pieces of words, which see endings, compounds and slips of the pen."""


def features_of(text: str) -> Iterator[str]:
    """Words, pairs of neighbouring words, and pieces of words with their edges, repeated."""
    words = _WORD.findall(text.casefold())
    yield from words
    for first, second in pairwise(words):
        yield f"{first} {second}"
    for word in words:
        edged = f"<{word}>"
        for size in _PIECES:
            for start in range(len(edged) - size + 1):
                yield "#" + edged[start : start + size]


class Tfidf:
    """The features of a training split and how much each says.

    Attributes:
        index: Column of each feature.
        idf: Weight of each column: `ln((1 + texts) / (1 + texts with it)) + 1`.
    """

    def __init__(self, index: Mapping[str, int], idf: np.ndarray) -> None:
        self.index = index
        self.idf = idf

    @classmethod
    def learn(cls, texts: Sequence[str]) -> Tfidf:
        """Take the features that at least two texts share, the most frequent ones if too many."""
        found: Counter[str] = Counter()
        for text in texts:
            found.update(set(features_of(text)))
        least = 2 if len(texts) > 1 else 1
        kept = sorted((-count, name) for name, count in found.items() if count >= least)
        kept = kept[:MOST_FEATURES]
        counts = np.array([-count for count, _ in kept], dtype=np.float64)
        idf = np.log((1 + len(texts)) / (1 + counts)) + 1
        return cls({name: column for column, (_, name) in enumerate(kept)}, idf)

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """Sparse CSR tensor of shape (texts, features), float32; each row has length 1 or 0."""
        starts, columns, values = [0], [], []
        for text in texts:
            counts = Counter(
                column for name in features_of(text) if (column := self.index.get(name)) is not None
            )
            row = sorted(counts)
            weights = (1 + np.log([counts[column] for column in row])) * self.idf[row]
            columns.append(np.array(row, dtype=np.int64))
            values.append(weights / (np.linalg.norm(weights) or 1))
            starts.append(starts[-1] + len(row))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
            return torch.sparse_csr_tensor(
                torch.tensor(starts),
                torch.from_numpy(np.concatenate(columns)),
                torch.from_numpy(np.concatenate(values)).float(),
                size=(len(texts), len(self.index)),
                check_invariants=True,
            )


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
