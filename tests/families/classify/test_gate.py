"""The learn gate lets every healthy job pass, and no job that learns nothing."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from deepsynth.checks import Severity
from deepsynth.families.classify.check import check_fine_tuning
from deepsynth.families.classify.job import ClassifyJob
from deepsynth.families.classify.models import build_model, load_config, load_tokenizer
from deepsynth.families.classify.plan import Size, recommend
from deepsynth.families.classify.prepared import Split
from deepsynth.families.classify.trainer import classifier_trainer
from tests.support.tickets import tickets

_WORDS = sorted({word for text, _ in tickets() for word in text.split()})


def texts_of(labels: int, each: int, words: int) -> Split:
    """Short texts; those of a label share three words."""
    generator = random.Random(7)
    own = [generator.sample(_WORDS, 3) for _ in range(labels)]
    rows = [
        (" ".join([*own[label], *generator.sample(_WORDS, words)]), label)
        for _ in range(each)
        for label in range(labels)
    ]
    texts, numbers = [text for text, _ in rows], [label for _, label in rows]
    return Split(texts, numbers, texts, list(range(len(rows))))


def gate(folder: Path, model: str, labels: int, *, words: int = 5, **changes: Any) -> list[Any]:
    """What the gate says of a job with all defaults, but for the changes to its training."""
    said = {"family": "classify", "data": {"path": "t.csv"}, "model": model}
    size = Size(labels * 20, None)
    job = ClassifyJob.model_validate(said)
    for advice in recommend(job, size):
        changes.setdefault(advice.key.removeprefix("train."), advice.value)
    job = ClassifyJob.model_validate({**said, "train": changes})
    train = texts_of(labels, 4, words)
    tokenizer = load_tokenizer(job, model, train.texts)
    config = load_config(job, model, tokenizer, [f"label {n}" for n in range(labels)])
    trainer = classifier_trainer(
        job,
        build_model(job, model, config, seed=1),
        tokenizer,
        {"train": train, "validation": train},
        folder,
        max_length=128,
        solved=False,
    )
    findings = check_fine_tuning(job, trainer, train)
    return [finding for finding in findings if finding.code.startswith("learn")]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        pytest.param(2, 5, marks=pytest.mark.thorough),
        pytest.param(20, 5, marks=pytest.mark.thorough),
        pytest.param(20, 25, marks=pytest.mark.thorough, id="long texts"),
        (77, 5),
    ],
)
def test_a_pretrained_encoder_passes_with_all_defaults(
    minilm: Path, tmp_path: Path, labels: int, words: int
) -> None:
    (said,) = gate(tmp_path, str(minilm), labels, words=words)
    assert (said.code, said.severity) == ("learn-overfit", Severity.INFO)


@pytest.mark.parametrize("labels", [3, 40])
def test_fresh_weights_pass_with_all_defaults(tmp_path: Path, labels: int) -> None:
    (said,) = gate(tmp_path, "scratch:tiny", labels)
    assert (said.code, said.severity) == ("learn-overfit", Severity.INFO)


def test_a_rate_that_moves_nothing_is_refused(tmp_path: Path) -> None:
    (said,) = gate(tmp_path, "scratch:tiny", 3, learning_rate=1e-9)
    assert (said.code, said.severity) == ("learn-overfit", Severity.ERROR)


def test_a_rate_that_is_only_low_is_warned_of_with_one_to_try(tmp_path: Path) -> None:
    (said,) = gate(tmp_path, "scratch:tiny", 3, learning_rate=2e-6)
    assert (said.code, said.severity) == ("learn-slow", Severity.WARNING)
    assert "train.learning_rate:" in said.fix
