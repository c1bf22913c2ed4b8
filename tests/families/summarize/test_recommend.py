from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest

from deepsynth.families.summarize.job import LoraSettings
from deepsynth.families.summarize.probe import Speed
from deepsynth.families.summarize.recommend import (
    expected_updates,
    filled,
    recommendations,
    suited,
)
from deepsynth.training import TrainerConfig, recommended


@pytest.mark.parametrize("samples", [1, 3, 9, 10, 49, 50, 999, 5000, 300_000])
def test_every_size_gets_settings_that_make_updates_and_end_warm_up(samples: int) -> None:
    config = filled(TrainerConfig(), samples)
    counted = expected_updates(config, samples)
    assert counted.updates >= 20
    assert counted.warmup < counted.updates
    assert counted.peak == config.learning_rate
    assert config.batch_size is not None
    assert config.batch_size <= max(1, samples)
    assert None not in config.lora.model_dump().values()
    shown = recommended(samples)
    assert shown["updates"] == counted.updates
    assert shown["preset"] == config.preset
    assert all(entry["why"] for entry in shown["settings"])


def test_what_the_user_says_is_kept_and_counted_with() -> None:
    config = TrainerConfig(
        epochs=200.0, batch_size=1, gradient_accumulation=16, lora=LoraSettings(rank=8)
    )
    complete = filled(config, 3)
    assert (complete.epochs, complete.batch_size, complete.lora.rank) == (200.0, 1, 8)
    assert complete.lora.alpha == 32
    # The guide's formula says 37 for these figures; the Trainer makes 200.
    assert expected_updates(complete, 3).updates == 200


def test_the_expected_updates_are_those_the_trainer_makes(tiny: Path, tmp_path: Path) -> None:
    from deepsynth.training import create_trainer
    from tests.support.pages import rows

    config = TrainerConfig(
        model_name=str(tiny),
        output_dir=str(tmp_path / "out"),
        cache_dir=str(tmp_path / "cache"),
        epochs=3.0,
        batch_size=1,
        gradient_accumulation=2,
        evaluations=1,
    )
    result = create_trainer(config).train(rows(3))
    assert result.metrics["updates"] == expected_updates(filled(config, 3), 3).updates == 6


def test_full_training_takes_a_small_rate_and_no_lora() -> None:
    advice = recommendations(TrainerConfig(preset="none"), 500, LoraSettings())
    values = {entry.key: entry.value for entry in advice}
    assert values["train.learning_rate"] == 2e-5
    assert not any(key.startswith("lora.") for key in values)


def trained_weights(config: TrainerConfig) -> int:
    """Weights that the adapter trains in DeepSeek-OCR-2."""
    shape = {"tiny_data": 164_800, "balanced": 248_640, "high_capacity_moe": 263_424}
    return (config.lora.rank or 0) * shape[config.preset] + (
        config.lora.expert_rank or 0
    ) * 3_694_592


@pytest.mark.parametrize("start", [9, 49, 99, 999, 19_999])
def test_one_sample_more_changes_next_to_nothing(start: int) -> None:
    """49 samples were 301 updates of 8 M weights, 50 were 120 of 31.6 M."""
    one, two = (filled(TrainerConfig(), samples) for samples in (start, start + 1))
    updates = [expected_updates(c, start + n).updates for n, c in enumerate((one, two))]
    assert updates[1] == pytest.approx(updates[0], rel=0.06)
    assert trained_weights(two) == pytest.approx(trained_weights(one), rel=0.06)
    assert two.learning_rate == pytest.approx(one.learning_rate or 0, rel=0.06)


def test_the_page_on_presets_says_what_is_recommended() -> None:
    text = Path("docs/reference/lora-presets.md").read_text(encoding="utf-8")
    for samples in (3, 9, 10, 49, 50, 1000, 20_000):
        size = suited(samples)
        ranks = f"{size.rank} / {size.expert_rank}"
        assert f"| {samples:,} | `{size.preset}` | {ranks} | {size.updates:,} |" in text


def test_more_samples_never_train_fewer_weights_or_updates() -> None:
    sizes = [int(1.2**power) for power in range(5, 70)]
    found = [filled(TrainerConfig(), samples) for samples in sizes]
    weights = [trained_weights(config) for config in found]
    assert all(b > 0.94 * a for a, b in pairwise(weights))
    wanted = [suited(samples).updates for samples in sizes]
    assert wanted == sorted(wanted)


def test_more_devices_need_less_accumulation() -> None:
    one, four = (
        {a.key: a.value for a in recommendations(TrainerConfig(), 400, LoraSettings(), n)}
        for n in (1, 4)
    )
    assert one["train.gradient_accumulation"] == 4
    assert four["train.gradient_accumulation"] == 1


def test_minutes_come_from_a_probe_only() -> None:
    assert recommended(12)["minutes"] is None
    shown = recommended(12, speed=Speed(encode=5.0, train=2.0, device="cpu"))
    epochs = next(s["value"] for s in shown["settings"] if s["key"] == "train.epochs")
    assert math.isclose(shown["minutes"], round(12 * (5.0 + 2.0 * epochs) / 60, 2))


def test_the_probe_times_the_model_named(capsys: pytest.CaptureFixture[str]) -> None:
    from deepsynth.cli import run_command

    model = "scratch:deepseek-ocr-2-tiny"
    assert run_command(["presets", "--samples", "12", "--model", model, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    values = {entry["key"]: entry["value"] for entry in shown["settings"]}
    assert values["train.learning_rate"] == 1e-2
    # 600 forward and backward passes of a tiny model, and twelve pages.
    assert 0.01 < shown["minutes"] < 30
    assert run_command(["presets", "--model", model]) == 2
    assert run_command(["presets", "--samples", "12", "--model", "/nowhere/at/all"]) == 2
