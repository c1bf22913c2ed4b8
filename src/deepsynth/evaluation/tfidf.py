"""TF-IDF: a text as weighted words, word pairs and pieces of words: what a model must beat.

Source: Salton and Buckley (1988), with smoothed idf and sublinear counts. scikit-learn has the
same; importing it alone takes longer than this for some thousand texts.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch

MOST_FEATURES = 50_000
_WORD = re.compile(r"\w+")
_PIECES = (3, 4)
"""Lengths of the pieces of words, which see endings, compounds and slips of the pen."""


def words_of(text: str) -> Iterator[str]:
    """Words and pairs of neighbouring words, repeated."""
    words = _WORD.findall(text.casefold())
    yield from words
    for first, second in pairwise(words):
        yield f"{first} {second}"


def features_of(text: str) -> Iterator[str]:
    """Also pieces of words with their edges."""
    yield from words_of(text)
    for word in _WORD.findall(text.casefold()):
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

    def __init__(
        self,
        index: Mapping[str, int],
        idf: np.ndarray,
        features: Callable[[str], Iterator[str]] = features_of,
    ) -> None:
        self.index = index
        self.idf = idf
        self._features = features

    @classmethod
    def learn(
        cls, texts: Sequence[str], features: Callable[[str], Iterator[str]] = features_of
    ) -> Tfidf:
        """Take the features that at least two texts share, the most frequent ones if too many."""
        found: Counter[str] = Counter()
        for text in texts:
            found.update(set(features(text)))
        least = 2 if len(texts) > 1 else 1
        kept = sorted((-count, name) for name, count in found.items() if count >= least)
        kept = kept[:MOST_FEATURES]
        counts = np.array([-count for count, _ in kept], dtype=np.float64)
        idf = np.log((1 + len(texts)) / (1 + counts)) + 1
        return cls({name: column for column, (_, name) in enumerate(kept)}, idf, features)

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """Sparse CSR tensor of shape (texts, features), float32; each row has length 1 or 0."""
        starts, columns, values = [0], [], []
        for text in texts:
            counts = Counter(
                column
                for name in self._features(text)
                if (column := self.index.get(name)) is not None
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
