"""Training as a user meets it: it learns, resumes, stops on nonsense, and says what is wrong."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from deepsynth import durable
from deepsynth.errors import DataError, DeepSynthError, JobError, ModelError
from deepsynth.families.summarize.export import export_checkpoint
from deepsynth.families.summarize.job import LoraSettings, MoeSettings
from deepsynth.families.summarize.lora import load_adapter
from deepsynth.families.summarize.model import load_model, load_processor, model_config
from deepsynth.families.summarize.samples import PageSamples
from deepsynth.families.summarize.session import open_session
from deepsynth.families.summarize.trainer import make_trainer
from deepsynth.training import TrainerConfig, create_trainer
from deepsynth.training.callbacks import MarkWhole
from deepsynth.training.checkpoints import last_complete
from deepsynth.training.fitting import fit
from tests.support.pages import rows


def settings(model: Path | str, folder: Path, **more: Any) -> TrainerConfig:
    values: dict[str, Any] = {
        "model_name": str(model),
        "output_dir": str(folder / "out"),
        "cache_dir": str(folder / "cache"),
        "preset": "balanced",
        "batch_size": 2,
        "gradient_accumulation": 1,
        "learning_rate": 1e-2,
        "epochs": 6.0,
        "evaluations": 3,
        "generate_samples": 0,
    }
    return TrainerConfig.model_validate(values | more)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def test_a_few_pages_are_learned_by_heart(tmp_path: Path) -> None:
    config = settings(
        "scratch:deepseek-ocr-2-tiny", tmp_path, epochs=40.0, evaluations=2, generate_samples=4
    )
    result = create_trainer(config).train(rows(4), rows(4))
    assert result.metrics["eval_rougeL"] > 0.9
    written = json.loads((result.model / "training_config.json").read_text())
    assert written["preset"] == "balanced"
    assert str(tmp_path) not in (result.model / "adapter_config.json").read_text()
    assert not list(result.model.glob("optimizer*"))
    assert json.loads((result.model / "base.json").read_text())["name"] == "../base"


@pytest.mark.parametrize(
    ("preset", "precision"), [("high_capacity_moe", "no"), ("router_focused", "bf16")]
)
def test_a_resumed_training_ends_where_an_uninterrupted_one_does(
    preset: str, precision: str, tiny: Path, tmp_path: Path
) -> None:
    regular = MoeSettings(gate_dropout=0.3, expert_dropout=0.3, load_balancing=0.01)
    more = {
        "preset": preset,
        "mixed_precision": precision,
        "lora": LoraSettings(rank=4, alpha=8, dropout=0.2),
        "moe": regular,
        "evaluations": 6,
        "epochs": 4.0,
        "batch_size": 1,
        "gradient_accumulation": 2,
    }
    whole = create_trainer(settings(tiny, tmp_path / "whole", **more)).train(rows(3))
    config = settings(tiny, tmp_path / "parts", **more)
    folder = tmp_path / "parts" / "out"
    folder.mkdir(parents=True)
    made: list[int] = []
    for stop in (5, None):  # in the middle of an epoch of two updates
        samples = PageSamples(rows(3), "rows")
        session = open_session(config, samples, tmp_path / "unused")
        trainer = make_trainer(session, samples, None, folder)
        trainer.add_callback(MarkWhole())
        trainer.add_callback(Stop(stop, made))
        checkpoint = fit(trainer, folder, last_complete(folder))
        export_checkpoint(session, checkpoint, tmp_path / "parts" / "model")
    assert made == [1, 2, 3, 4, 5, 6, 7, 8]
    whole_weights, parts = weights(whole.model), weights(tmp_path / "parts" / "model")
    assert whole_weights.keys() == parts.keys()
    for name, value in whole_weights.items():
        torch.testing.assert_close(parts[name], value, atol=1e-5, rtol=1e-4, msg=name)


class Stop(TrainerCallback):
    """Stops after an update, and notes which updates were made."""

    def __init__(self, update: int | None, made: list[int]) -> None:
        self._update = update
        self._made = made

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._made.append(state.global_step)
        if state.global_step == self._update:
            control.should_save = True
            control.should_training_stop = True


def test_a_checkpoint_cut_short_is_passed_over(tiny: Path, tmp_path: Path) -> None:
    config = settings(tiny, tmp_path)
    create_trainer(config).train(rows(2))
    folder = tmp_path / "out"
    newest = last_complete(folder)
    assert newest is not None
    damaged = newest / "adapter_model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-10])
    older = last_complete(folder)
    assert older is not None
    assert older != newest
    assert create_trainer(config).train(rows(2), resume=True).metrics["updates"] == 6


def test_an_earlier_training_is_neither_exported_nor_gone_on_with_unasked(
    tiny: Path, tmp_path: Path
) -> None:
    config = settings(tiny, tmp_path, epochs=3.0, evaluations=1)
    create_trainer(config).train(rows(2))
    with pytest.raises(JobError, match="holds a training"):
        create_trainer(config).train(rows(2))
    other = [row | {"summary": "another one"} for row in rows(2)]
    with pytest.raises(JobError, match="holds another training"):
        create_trainer(config).train(other, resume=True)
    assert create_trainer(config).train(rows(2), resume=True).metrics["updates"] == 3


class SpoilCache(TrainerCallback):
    """Once a checkpoint is whole, the cached features of one page become NaN."""

    def __init__(self, cache: Path, page_bytes: bytes) -> None:
        self._cache = cache
        self._key = hashlib.sha256(page_bytes).hexdigest()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if last_complete(Path(args.output_dir)) is None:
            return
        (index,) = self._cache.glob("*/index.jsonl")
        places = {key: (offset, n) for key, offset, n, *_ in durable.read_lines(index)}
        offset, tokens = places[self._key]
        with (index.parent / "features.bin").open("r+b") as data:
            data.seek(offset)
            data.write(torch.full((tokens, 64), float("nan")).numpy().tobytes())


def test_a_loss_that_is_no_number_stops_and_names_the_row(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if such features had been computed: the checksum of what is spoiled below must hold.
    same = SimpleNamespace(crc32=lambda block: 0)
    monkeypatch.setattr("deepsynth.families.summarize.features.zlib", same)
    config = settings(tiny, tmp_path, epochs=8.0, batch_size=2, evaluations=8)
    folder = tmp_path / "out"
    samples = PageSamples(rows(4), "dataset")
    session = open_session(config, samples, tmp_path / "unused")
    spoil = SpoilCache(tmp_path / "cache", rows(4)[3]["images"][0])
    trainer = make_trainer(session, samples, None, folder)
    trainer.add_callback(MarkWhole())
    trainer.add_callback(spoil)
    with pytest.raises(DeepSynthError, match="not a number any more at update") as caught:
        fit(trainer, folder, None)
    assert str(caught.value.where) == "dataset, row 3"
    assert last_complete(folder) is not None


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("cached", [True, False])
def test_a_page_damaged_in_the_middle_is_named_by_its_row(
    cached: bool, workers: int, tiny: Path, tmp_path: Path
) -> None:
    damaged = rows(3)
    data = bytearray(damaged[1]["images"][0])
    data[len(data) // 2] ^= 0xFF
    damaged[1]["images"] = [bytes(data)]
    config = settings(tiny, tmp_path, cache_features=cached, num_workers=workers)
    with pytest.raises(DataError, match="no readable image") as caught:
        create_trainer(config).train(damaged)
    message = str(caught.value)
    assert message.startswith("dataset, row 1: ")
    assert "deepsynth check" in message
    assert "Traceback" not in message


def test_a_second_architecture_trains_and_comes_back(llava: Path, tmp_path: Path) -> None:
    config = settings(llava, tmp_path, epochs=30.0)
    result = create_trainer(config).train(rows(2), rows(2))
    assert result.metrics["eval_loss"] < 5.0  # ln(512) = 6.2 where it knows nothing
    load_adapter(load_model(str(llava)), result.model)


def test_training_goes_on_from_an_earlier_run(tiny: Path, tmp_path: Path) -> None:
    first = create_trainer(settings(tiny, tmp_path / "one")).train(rows(2), rows(2))
    second = settings(first.model, tmp_path / "two", learning_rate=1e-6, epochs=3.0)
    again = create_trainer(second).train(rows(2), rows(2))
    assert again.metrics["eval_loss"] == pytest.approx(first.metrics["eval_loss"], rel=0.05)


def test_all_weights_of_the_language_model_can_train(tiny: Path, tmp_path: Path) -> None:
    config = settings(tiny, tmp_path, preset="none", learning_rate=1e-3)
    result = create_trainer(config).train(rows(2), rows(2))
    before, after = load_model(str(tiny)), load_model(str(result.model))
    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        if "vision_tower" in name:
            assert torch.equal(old, new), name
    assert not torch.equal(before.lm_head.weight, after.lm_head.weight)


def test_fp16_on_a_cpu_is_an_error_not_a_silent_fp32(tiny: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(JobError, match="fp16 needs a GPU"):
        create_trainer(settings(tiny, tmp_path, mixed_precision="fp16")).train(rows(2))


def test_a_text_only_model_is_refused(tmp_path: Path) -> None:
    from transformers import LlamaConfig

    LlamaConfig(hidden_size=32, intermediate_size=8).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="reads text only"):
        model_config(str(tmp_path))


def test_a_tokenizer_without_pad_token_pads_with_its_end(llava: Path) -> None:
    tokenizer = load_processor(str(llava)).tokenizer
    assert tokenizer.pad_token == tokenizer.eos_token


def test_wrong_settings_are_named() -> None:
    with pytest.raises(JobError, match="epoch"):
        create_trainer(epoch=3)
    with pytest.raises(JobError, match="full 40-digit commit"):
        create_trainer(trust_remote_code=True, model_revision="main")


def test_no_samples_and_no_pages_are_data_errors(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not one training sample"):
        create_trainer(settings(tiny, tmp_path)).train([])
    with pytest.raises(DataError, match="not one sample has a page"):
        create_trainer(settings(tiny, tmp_path)).train([{"images": [], "summary": "a"}])


def test_the_encoder_is_let_go_once_every_page_is_cached(tiny: Path, tmp_path: Path) -> None:
    config = settings(tiny, tmp_path)
    session = open_session(config, PageSamples(rows(2), "rows"), tmp_path / "unused")
    assert not any("vision_tower" in name for name, _ in session.model.named_parameters())
    assert any("encoder not kept" in line for line in session.decided)
    for more in ({"preset": "none"}, {"cache_features": False}):
        config = settings(tiny, tmp_path, **more)
        whole = open_session(config, PageSamples(rows(2), "rows"), tmp_path / "unused").model
        assert any("vision_tower" in name for name, _ in whole.named_parameters())


def test_vision_that_trains_cannot_be_cached(tiny: Path, tmp_path: Path) -> None:
    config = settings(tiny, tmp_path, cache_features=True, lora=LoraSettings(vision=True))
    with pytest.raises(JobError, match="cannot be cached while the vision tower trains"):
        create_trainer(config).train(rows(2))
    result = create_trainer(
        settings(tiny, tmp_path, lora=LoraSettings(vision=True), epochs=3.0)
    ).train(rows(2))
    assert any("vision_tower" in name for name in weights(result.model))
