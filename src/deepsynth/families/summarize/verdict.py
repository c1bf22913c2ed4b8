"""What must be said of figures before anybody believes them: the first lines of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deepsynth.checks import Finding, Severity
from deepsynth.evaluation.comparison import FEWEST, paired_difference
from deepsynth.families.summarize.job import SummarizeJob
from deepsynth.families.summarize.metrics import rouge_l

UNTRAINED = "the model before training"
OTHER_PAGES = "the same model on the pages of another document"
BLANK_PAGES = "the same model on blank pages"
_ENDED = 0.9
"""Share of the summaries that must end by themselves, or it is said."""
_DISTINCT = 0.5
_SAME = 0.01
"""Less gain in ROUGE-L by the right pages is none."""
_BUSY = 0.4
"""Share of all choices that one expert may take, unless it did so before training."""


@dataclass(frozen=True)
class Answers:
    """Summaries of one system, beside ours for the same documents.

    Attributes:
        what: The system.
        texts: Its summaries.
        ours: Ours.
        references: What should have been written.
    """

    what: str
    texts: Sequence[str]
    ours: Sequence[str]
    references: Sequence[str]

    def compared(self, figures: dict[str, Any], job: SummarizeJob) -> dict[str, Any]:
        """The entry of `metrics.json`: its figures, and how much better ours are."""
        difference = paired_difference(
            rouge_l(self.ours, self.references),
            rouge_l(self.texts, self.references),
            samples=job.evaluation.bootstrap_samples,
            seed=job.seed,
        )
        return {
            "what": self.what,
            **figures,
            "difference": round(difference.mean, 5),
            "difference_low": None if difference.low is None else round(difference.low, 5),
            "difference_high": None if difference.high is None else round(difference.high, 5),
            "beaten": difference.is_gain,
            "identical": list(self.texts) == list(self.ours),
            "compared": f"{self.what}: ROUGE-L {figures['rougeL']:.3f}, {difference}",
        }


def has_figure(split: str, samples: int) -> bool:
    """Whether so many documents allow a figure: of what was shown in training any number does."""
    return split == "train" or samples >= FEWEST


def judge_figures(
    split: str, ours: dict[str, Any], baselines: Sequence[dict[str, Any]], ended: float, limit: int
) -> list[Finding]:
    """What the figures do not show by themselves, worst first.

    Args:
        split: What was summarised.
        ours: Figures of the trained model.
        baselines: As `Answers.compared` makes them.
        ended: Share of the summaries that ended before the limit.
        limit: Tokens at which they are cut.
    """
    found: list[Finding] = []
    count, distinct = ours["samples"], ours["distinct"]
    where = f"{split} split"
    blind = [e for e in baselines if e["what"] == OTHER_PAGES and not e["beaten"]]
    if blind:
        same = blind[0]["difference"] < _SAME
        what = "The model does not look at the pages: " if same else "Nothing shows that the model "
        what += ("" if same else "looks at the pages: ") + f"{blind[0]['compared']}."
        fix = "Its figures say what summaries are like here, not what is on a page. Look at "
        fix += "checks/preview.html; train longer, or on more documents."
        found.append(Finding(Severity.ERROR, "pages-ignored", where, what, fix))
    if any(entry["what"] == UNTRAINED and entry["identical"] for entry in baselines):
        what = "Before training the model wrote the very same summaries: the training changed "
        what += "nothing that shows, or what is compared is the trained model itself."
        fix = "Look at train.learning_rate and train.epochs."
        found.append(Finding(Severity.ERROR, "outputs-unchanged", where, what, fix))
    if count > 1 and distinct <= max(1, _DISTINCT * count):
        severity = Severity.ERROR if distinct == 1 else Severity.WARNING
        what = f"{distinct} different summaries were written for {count} documents."
        found.append(Finding(severity, "outputs-alike", where, what))
    if not has_figure(split, count):
        what = f"No figure is possible: {count} documents of the {split} split are fewer than "
        what += f"{FEWEST}."
        found.append(Finding(Severity.WARNING, "no-figure", where, what, "Hold out more of them."))
    else:
        lost = [
            entry["compared"]
            for entry in baselines
            if not entry["beaten"] and entry["what"] != OTHER_PAGES
        ]
        if lost:
            what = f"The model is not shown to be better (ROUGE-L {ours['rougeL']:.3f}) than "
            what += "; ".join(lost) + "."
            found.append(Finding(Severity.WARNING, "not-better", where, what))
    if ended < _ENDED:
        what = f"{1 - ended:.0%} of the summaries did not end by themselves; they were cut at "
        what += f"{limit} tokens."
        fix = "Raise evaluation.max_new_tokens if references are longer, or train longer."
        found.append(Finding(Severity.WARNING, "outputs-cut", where, what, fix))
    return sorted(found, key=lambda finding: -finding.severity)


def judge_experts(usage: Sequence[dict[str, Any]]) -> list[Finding]:
    """Routers that one expert took over in training, from the expert-usage report."""
    found: list[Finding] = []
    for entry in usage:
        before, after = max(entry["before"]), max(entry["after"])
        if after >= max(_BUSY, 1.5 * before):
            what = f"One expert takes {after:.0%} of the choices, {before:.0%} before training."
            fix = "Set moe.load_balancing: 0.01, or leave the router frozen."
            found.append(Finding(Severity.WARNING, "experts-uneven", entry["router"], what, fix))
    return found


def remarks(job: SummarizeJob, split: str) -> list[str]:
    """What must be said beside the figures so that nobody takes them for more than they are."""
    said: list[str] = []
    if split == "train":
        said.append(
            "These documents were shown in training: the figures say how well they were "
            "memorised, nothing about other documents."
        )
    if split == "validation":
        said.append(
            "The checkpoint was chosen on these very documents, so the figures are better than "
            "on others."
        )
    if job.is_scratch:
        said.append(
            "The model started from random weights: this proves that the machinery works, "
            "not what a summariser can do."
        )
    return said
