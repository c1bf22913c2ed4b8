"""One vocabulary of training settings, whatever the family and wherever it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deepsynth.errors import JobError
from deepsynth.families import family_names, get_family, load_job
from deepsynth.job.job import ResolvedJob, read_settings, settings_of, typed_job
from deepsynth.job.settings import setting_names
from deepsynth.training.settings import TrainerSettings, TrainingSettings

NEEDED: dict[str, dict[str, Any]] = {
    "classify": {"data": {"path": "tickets.csv"}, "model": "scratch:tiny"},
    "htr": {"data": {"ground_truth": "pages"}},
    "summarize": {"data": {"path": "articles.jsonl"}},
}
WORDS = ("epochs", "batch_size", "learning_rate", "warmup_ratio", "scheduler", "weight_decay")
WORDS += ("patience", "mixed_precision")


def load(folder: Path, family: str, train: dict[str, Any], *overrides: str) -> ResolvedJob:
    job = folder / "job.yaml"
    job.write_text(yaml.safe_dump({"family": family, "train": train} | NEEDED[family]))
    return load_job(job, overrides)


def refusal(folder: Path, family: str, train: dict[str, Any], *overrides: str) -> JobError:
    with pytest.raises(JobError) as caught:
        load(folder, family, train, *overrides)
    return caught.value


@pytest.mark.parametrize("family", family_names())
def test_every_family_speaks_the_same_words(family: str) -> None:
    names = set(setting_names(get_family(family).job_type))
    assert {f"train.{word}" for word in WORDS} <= names
    train = get_family(family).job_type.model_fields["train"].annotation
    assert isinstance(train, type)
    assert issubclass(train, TrainingSettings)
    if issubclass(train, TrainerSettings):
        assert {"train.evaluations", "train.gradient_accumulation"} <= names


@pytest.mark.parametrize("family", family_names())
@pytest.mark.parametrize(
    ("written", "setting", "value"),
    [
        ("num_epochs", "epochs", 3),
        ("max_epochs", "epochs", 3),
        ("early_stopping_patience", "patience", 2),
        ("train_batch_size", "batch_size", 4),
    ],
)
def test_an_earlier_name_works_and_is_named(
    family: str, written: str, setting: str, value: int, tmp_path: Path
) -> None:
    loaded = load(tmp_path, family, {written: value})
    found = loaded.settings[f"train.{setting}"]
    assert (found.value, found.origin, found.written) == (value, "file", written)
    assert found.where.startswith("job.yaml:")
    assert yaml.safe_load(loaded.to_yaml())["train"][setting]["written"] == written
    assert getattr(loaded.job.train, setting) == value  # type: ignore[attr-defined]
    read = read_settings(loaded.to_yaml())
    assert read == settings_of(typed_job(type(loaded.job), read), read) == loaded.settings


def test_an_override_counts_more_under_either_name(tmp_path: Path) -> None:
    for said, override in (("epochs", "num_epochs"), ("num_epochs", "epochs")):
        loaded = load(tmp_path, "classify", {said: 5}, f"train.{override}=3")
        found = loaded.settings["train.epochs"]
        assert (found.value, found.origin) == (3, "flag")


def test_one_setting_under_two_names_is_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, "classify", {"epochs": 5, "num_epochs": 3})
    assert str(error.where).endswith(":7")
    assert "train.num_epochs" in error.what
    assert "train.epochs" in (error.hint or "")


def test_a_wrong_value_is_refused_under_the_name_it_was_written(tmp_path: Path) -> None:
    error = refusal(tmp_path, "summarize", {"num_epochs": -1})
    assert error.what.startswith("train.num_epochs is -1")


@pytest.mark.parametrize("family", ["classify", "summarize"])
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("per_device_train_batch_size", "batch_size"),
        ("num_train_epochs", "epochs"),
        ("lr_scheduler_type", "scheduler"),
        ("warmup_steps", "warmup_ratio"),
        ("eval_strategy", "evaluations"),
        ("fp16", "mixed_precision: fp16"),
        ("gradient_accumulation_steps", "gradient_accumulation"),
    ],
)
def test_a_name_of_transformers_gets_the_right_answer(
    family: str, theirs: str, ours: str, tmp_path: Path
) -> None:
    assert refusal(tmp_path, family, {theirs: 1}).hint == f"Did you mean {ours}?"
    assert refusal(tmp_path, family, {}, f"{theirs}=1").hint == f"Did you mean train.{ours}?"


def test_what_jobs_said_about_evaluating_still_holds(tmp_path: Path) -> None:
    def every(**train: Any) -> int | None:
        return load(tmp_path, "classify", train).settings["train.every"].value

    assert every(strategy="epoch") is every(strategy="epoch", every=100) is None
    assert every(strategy="steps") == 100
    assert every(strategy="steps", every=50) == 50
    assert "strategy" in str(refusal(tmp_path, "classify", {"strategy": "never"}))


def test_what_jobs_said_to_kraken_still_holds(tmp_path: Path) -> None:
    train = {"early_stopping": False, "precision": "bf16-mixed", "schedule": "cosine", "lrate": 0.1}
    settings = load(tmp_path, "htr", train).settings
    for name, value in (
        ("patience", 0),
        ("mixed_precision", "bf16"),
        ("scheduler", "cosine"),
        ("learning_rate", 0.1),
    ):
        assert settings[f"train.{name}"].value == value
    assert load(tmp_path, "htr", {"early_stopping": True}).settings["train.patience"].value == 10


def test_a_run_from_before_the_words_were_one_is_read(tmp_path: Path) -> None:
    loaded = load(tmp_path, "classify", {"patience": 3})
    tree = yaml.safe_load(loaded.to_yaml())
    train = tree["train"]
    train["early_stopping_patience"] = train.pop("patience")
    del train["evaluations"]
    train |= {"strategy": {"value": "epoch", "from": "default"}, "every": train["every"]}
    train["every"] = {"value": 100, "from": "default"}
    read = read_settings(yaml.safe_dump(tree))
    job = typed_job(type(loaded.job), read)
    assert job == loaded.job
    assert {k: v.value for k, v in settings_of(job, read).items()} == {
        k: v.value for k, v in loaded.settings.items()
    }
