"""What the model was really given to learn, row by row, against what its summaries say."""

from __future__ import annotations

import math
from typing import Any

from deepsynth.checks.ledger import Ledger
from deepsynth.errors import StepFailed
from deepsynth.families.summarize.batches import IGNORED, PageCollator
from deepsynth.families.summarize.samples import PageSamples


class TrainedLabels:
    """Counts rows, tokens and end marks in the labels that reach the model.

    What is expected is counted from the summaries alone, not by the code that makes labels.

    Args:
        collator: Its tokenizer and its limit.
        samples: Training samples.

    Attributes:
        rows: Rows the model was given.
        tokens: Of these, tokens a loss was computed on.
        ends: Rows whose end mark was among them.
        identities: Of all rows given.
        expected: Tokens of each sample's summary with its end, cut at the limit.
    """

    def __init__(self, collator: PageCollator, samples: PageSamples) -> None:
        self._samples = samples
        self._end = collator.processor.tokenizer.eos_token_id
        limit = collator.max_target_tokens
        targets = [[*ids, self._end] for ids in collator.tokens_of(samples.summaries())]
        self.expected = [min(len(ids), limit) for ids in targets]
        self._ends = [len(ids) <= limit for ids in targets]
        self._digests = [hash(tuple(ids[:limit])) for ids in targets]
        self.rows = self.tokens = self.ends = 0
        self.identities: set[str] = set()

    def count(self, batch: dict[str, Any], fields: dict[str, Any]) -> None:
        """Look at one batch.

        Args:
            batch: Of the collator.
            fields: What of it the model's forward gets.

        Raises:
            StepFailed: A row has more or fewer labels than its summary, or none for its end.
        """
        labels = fields["shift_labels"] if "shift_labels" in fields else fields["labels"][:, 1:]
        for index, row in zip(batch["sample_index"].tolist(), labels.tolist(), strict=True):
            given = [label for label in row if label != IGNORED]
            tokens, end = len(given), self._end in given
            if tokens != self.expected[index]:
                self._refuse(index, f"{tokens} trained tokens", f"{self.expected[index]} tokens")
            if end != self._ends[index]:
                marks = ("no end mark", "an end mark")
                self._refuse(index, marks[end], marks[self._ends[index]])
            if hash(tuple(given)) != self._digests[index]:
                self._refuse(index, "other tokens", "tokens of its own")
            self.rows += 1
            self.tokens += tokens
            self.ends += end
        self.identities |= {f"{row:015x}" for row in batch["row"].tolist()}

    def require_ledger(self, counted: Ledger, updates: int, epochs: float) -> None:
        """Compare what was done with the update ledger, after a whole training in one process.

        Args:
            counted: What was expected.
            updates: Updates made.
            epochs: Passes over the samples.

        Raises:
            StepFailed: Rows or updates are missing or too many.
        """
        fewest, most = (len(self.expected) * ends(epochs) for ends in (math.floor, math.ceil))
        if updates == counted.updates and fewest <= self.rows <= most:
            return
        planned = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        raise StepFailed(
            f"the training was another one than planned: {updates} updates on {self.rows} rows, "
            f"not {counted.updates} on {planned}.",
            where="step train",
            hint="Its model may not have seen all documents. Please report this.",
        )

    def as_dict(self) -> dict[str, int]:
        """The counts, for `training/summary.json`."""
        return {"rows": self.rows, "tokens": self.tokens, "ends": self.ends}

    def _refuse(self, index: int, given: str, wanted: str) -> None:
        raise StepFailed(
            f"the model is given {given} for a summary with {wanted}.",
            where=self._samples.where(index),
            hint="The labels are wrong, so nothing true would be learned. Please report this.",
        )
