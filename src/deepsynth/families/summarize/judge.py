"""Scoring models on the same documents, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from deepsynth import durable
from deepsynth.families.summarize.batches import (
    Documents,
    PageCollator,
    Written,
    generate,
    mean_loss,
)
from deepsynth.families.summarize.job import SummarizeJob
from deepsynth.families.summarize.metrics import score
from deepsynth.families.summarize.model import autocast
from deepsynth.families.summarize.moe import counting_experts
from deepsynth.families.summarize.prepared import generation_limit, read_samples
from deepsynth.families.summarize.samples import PageSamples, evenly
from deepsynth.families.summarize.train import REFERENCE
from deepsynth.run.run import Run


class Judge:
    """Scores models on the same samples, with progress over all of them.

    Args:
        run: Whose settings.
        samples: The split that is summarised.
        models: How many models will be judged.

    Attributes:
        chosen: The samples that are summarised, evenly drawn.
        references: Their summaries.
        limit: Tokens after which a written summary is cut.
        reference: The loss the training measured, and on what.
    """

    def __init__(self, run: Run, samples: PageSamples, models: int) -> None:
        self._run = run
        self._job = run.job(SummarizeJob)
        self._samples = samples
        self.chosen = evenly(self._job.evaluation.max_samples, len(samples))
        self._total = len(self.chosen) * models
        self._done = 0
        self.reference: dict[str, Any] = durable.read_json(run.path / "training" / REFERENCE)
        self._reference_samples = read_samples(run, "evaluate", self.reference["split"])
        self.references = [samples.summaries()[index] for index in self.chosen]
        self.limit = generation_limit(run)

    def summaries(
        self, model: Any, collator: PageCollator, note: str
    ) -> tuple[list[Written], dict[str, list[int]]]:
        """What a model writes, and which experts it used for that."""
        with counting_experts(model) as usage:
            written = self.write(model, collator, self._samples, self.chosen, note)
        self._done += len(self.chosen)
        return written, usage

    def write(
        self,
        model: Any,
        collator: PageCollator,
        documents: Documents,
        indices: Sequence[int],
        note: str,
    ) -> list[Written]:
        """What a model writes of some documents."""
        with autocast(self.reference["precision"]):
            return generate(
                model,
                collator,
                documents,
                indices,
                batch_size=self._job.evaluation.batch_size,
                max_new_tokens=self.limit,
                progress=self._advance(note),
            )

    def figures(self, texts: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        """ROUGE and the rest of some summaries."""
        resamples = self._job.evaluation.bootstrap_samples
        return score(texts, references, resamples=resamples, seed=self._job.seed)

    def loss(self, model: Any, collator: PageCollator) -> float:
        """Loss on the samples the training process measured its own on."""
        reference = self.reference
        with autocast(reference["precision"]):
            return mean_loss(
                model,
                collator,
                self._reference_samples,
                reference["samples"],
                reference["batch_size"],
            )

    def _advance(self, note: str) -> Callable[[int], None]:
        def tell(done: int) -> None:
            place = min(self._total, self._done + done)
            self._run.progress("evaluate", place, self._total, "summaries", note)

        return tell
