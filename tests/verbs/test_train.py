"""`deepsynth train` straight from flags: the guide's command line is a job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepsynth.cli import run_command
from deepsynth.families import load_job
from deepsynth.verbs import work


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `train` asks for, caught before anything runs."""
    seen: dict[str, Any] = {}

    def work_until(last: str, job: Path, overrides: list[str], options: work.Work) -> int:
        assert last == "train"
        seen.update(vars(options), resolved=load_job(job, overrides))
        return 0

    monkeypatch.setattr(work, "work_until", work_until)
    return seen


def values(begun: dict[str, Any]) -> dict[str, Any]:
    return {key: setting.value for key, setting in begun["resolved"].settings.items()}


def test_every_flag_of_the_guide_is_a_setting(begun: dict[str, Any]) -> None:
    line = (
        "train --datasets mlsum_fr mlsum_es --batch-size 4 --epochs 2 --learning-rate 2e-5 "
        "--mixed-precision bf16 --num-workers 3 --gradient-accumulation 8 --weights 3 1 "
        "--max-train-samples 50000 --max-val-samples 500 --output-dir models/first "
        "--model-name deepseek-community/DeepSeek-OCR-2 --hf-dataset-prefix other-user"
    )
    assert run_command(line.split()) == 0
    found = values(begun)
    assert found["data.datasets"] == ["mlsum_fr", "mlsum_es"]
    assert found["data.weights"] == [3.0, 1.0]
    assert found["data.hf_dataset_prefix"] == "other-user"
    assert (found["data.max_train_samples"], found["data.max_val_samples"]) == (50_000, 500)
    assert found["model"] == "deepseek-community/DeepSeek-OCR-2"
    settings = ("batch_size", "epochs", "learning_rate", "mixed_precision", "num_workers")
    assert [found[f"train.{name}"] for name in settings] == [4, 2.0, 2e-5, "bf16", 3]
    assert found["train.gradient_accumulation"] == 8
    assert (begun["runs"], begun["name"]) == (Path("models"), "first")


def test_the_run_is_called_after_the_datasets(begun: dict[str, Any]) -> None:
    assert run_command(["train", "--datasets", "mlsum_fr", "alice/x@main", "lora.rank=8"]) == 0
    assert begun["resolved"].name == "mlsum_fr-x-main"
    assert values(begun)["lora.rank"] == 8
    assert values(begun)["data.datasets"] == ["mlsum_fr", "alice/x@main"]


def test_flags_change_a_job_too(begun: dict[str, Any], tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("family: summarize\ndata: pages\n")
    assert run_command(["train", str(job), "--epochs", "5", "--model-name", "a/b"]) == 0
    found = begun["resolved"].settings
    assert (found["train.epochs"].value, found["train.epochs"].origin) == (5.0, "flag")
    assert (found["model"].value, found["data.path"].where) == ("a/b", "job.yaml:2")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["train"], "there is nothing to train on"),
        (["train", "job.yaml", "--datasets", "a"], "not both"),
        (["train", "--datasets"], "--datasets mlsum_fr mlsum_es"),
        (["train", "--datasets", "a", "--mixed-precision", "bf8"], "bf8"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    line: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(line) == 2
    assert words in capsys.readouterr().err


def test_the_words_of_training_are_flags_under_their_earlier_names_too(
    begun: dict[str, Any], tmp_path: Path, command: Callable[..., Any]
) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("family: classify\ndata: tickets.csv\nmodel: scratch:tiny\n")
    flags = ("--num-epochs", 3, "--early-stopping-patience", 2, "--evaluations", 4)
    assert command("train", job, *flags, "--scheduler", "cosine", "--warmup-ratio", 0.2).code == 0
    train = begun["resolved"].job.train
    assert (train.epochs, train.patience, train.evaluations) == (3, 2, 4)
    assert (train.scheduler, train.warmup_ratio) == ("cosine", 0.2)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("--per-device-train-batch-size", "--batch-size"),
        ("--num-train-epochs", "--epochs"),
        ("--fp16", "--mixed-precision fp16"),
    ],
)
def test_a_flag_of_transformers_gets_the_right_answer(
    theirs: str, ours: str, command: Callable[..., Any]
) -> None:
    answer = command("train", theirs, "4")
    assert answer.code == 2
    assert f"Did you mean {ours}," in answer.err
