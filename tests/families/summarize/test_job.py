from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deepsynth.errors import DataError, DeepSynthError, JobError, ModelError, RequestError
from deepsynth.families import get_family, load_job
from deepsynth.families.summarize.continuing import adapter_of
from deepsynth.families.summarize.export import check_same_loss, check_same_outputs
from deepsynth.families.summarize.flags import DatasetFlags
from deepsynth.families.summarize.job import LoraSettings
from deepsynth.families.summarize.lora_presets import get_lora_preset
from deepsynth.job.job import ResolvedJob

ARTICLES = Path("examples/articles/articles.jsonl").resolve()


def resolve(folder: Path, text: str) -> ResolvedJob:
    path = folder / "job.yaml"
    path.write_text(text)
    return get_family("summarize").resolve(load_job(path))


def job(**more: Any) -> str:
    given = {"family": "summarize", "data": {"path": str(ARTICLES)}}
    return json.dumps(given | {"model": "scratch:deepseek-ocr-2-tiny"} | more)


def test_open_settings_are_filled_with_reasons(tmp_path: Path) -> None:
    resolved = resolve(tmp_path, job(train={"epochs": 7}))
    settings = resolved.settings
    assert settings["train.epochs"].value == 7
    assert settings["train.epochs"].origin == "file"
    assert settings["lora.rank"].origin == "preset"
    assert "52 samples" in settings["train.batch_size"].why
    assert not [k for k, s in settings.items() if k.startswith("lora.") and s.value is None]


@pytest.mark.parametrize("export", [True, False])
@pytest.mark.parametrize("preset", ["auto", "none"])
def test_every_output_of_the_plan_has_one_owner(export: bool, preset: str, tmp_path: Path) -> None:
    text = job(train={"preset": preset}, export={"merged": export})
    plan = get_family("summarize").plan(resolve(tmp_path, text))
    names = [step.name for step in plan.steps]
    assert ("export" in names) == (export and preset == "auto")
    made = {output for step in plan.steps for output in step.outputs}
    for step in plan.steps:
        assert set(step.inputs) <= made


def test_several_gpus_train_under_torchrun(tmp_path: Path) -> None:
    step = get_family("summarize").plan(resolve(tmp_path, job(gpus=4))).step("train")
    assert step.argv[1:3] == ["-m", "deepsynth.families.summarize.train"]
    assert step.resources.gpus == 0  # the tiny model from scratch asks a site for none


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (job(model="scratch:gpt-9"), ModelError, "cannot be made from scratch"),
        (job(model="deepseek-ai/DeepSeek-OCR"), ModelError, "version 1 is not supported"),
        (job(trust_remote_code=True), JobError, "a full 40-digit commit"),
        (job(data={"path": "missing.jsonl"}), DataError, "no such file"),
        (job(data={"datasets": ["mlsum_xx"]}), RequestError, "not a known source"),
        (job(data={}), JobError, "one of path, hub and datasets must be given"),
        (job(train={"presett": "auto"}), JobError, "not a setting"),
        (job(train={"warmup_ratio": 1.0}), JobError, "less than 1"),
    ],
)
def test_a_wrong_job_is_refused_before_a_run_is_made(
    text: str, error: type[DeepSynthError], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        resolve(tmp_path, text)
    assert words in str(caught.value)


def test_a_folder_is_the_one_dataset(tmp_path: Path) -> None:
    made = DatasetFlags(datasets=[str(tmp_path)]).write_job(tmp_path, [])
    assert made
    read: Any = load_job(made[0]).job
    assert read.data.path == str(tmp_path)
    with pytest.raises(RequestError, match="only be the one dataset"):
        DatasetFlags(datasets=[str(tmp_path), "mlsum_fr"]).write_job(tmp_path, [])


def test_an_export_that_differs_is_refused() -> None:
    check_same_loss("adapter", 1.0, 1.0005, "no")
    with pytest.raises(DeepSynthError, match="not the trained model"):
        check_same_loss("adapter", 1.0, 1.01, "no")
    with pytest.raises(DeepSynthError, match="not the trained model"):
        check_same_loss("merged", 1.0, float("nan"), "bf16")
    alike = {"samples": 4, "identical": 3}
    check_same_outputs({"rougeL": 0.5}, {"rougeL": 0.51}, alike, "bf16")
    with pytest.raises(DeepSynthError, match="do not write the same"):
        check_same_outputs({"rougeL": 0.5}, {"rougeL": 0.5}, alike, "no")


def test_a_job_that_goes_on_from_an_earlier_run_takes_its_adapter_as_it_is(tmp_path: Path) -> None:
    """The card said rank 16 and the adapter trained with 32."""
    adapter = tmp_path / "earlier" / "model" / "adapter"
    adapter.mkdir(parents=True)
    known = LoraSettings(dropout=0.2).filled(get_lora_preset("balanced"))
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "base"}))
    trained = {"preset": "balanced", "lora": known.model_dump()}
    (adapter / "training_config.json").write_text(json.dumps(trained))
    lines = [json.dumps({"text": f"{n} words", "summary": f"{n}"}) for n in range(200)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    job = {"family": "summarize", "data": {"path": "a.jsonl"}, "model": "earlier"}
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    family = get_family("summarize")
    resolved = family.resolve(load_job(tmp_path / "job.yaml"))
    found = {key: resolved.settings[f"lora.{key}"].value for key in ("rank", "router", "dropout")}
    assert found == {"rank": 32, "router": "frozen", "dropout": 0.2}
    assert "goes on from" in (resolved.settings["lora.rank"].why or "")
    assert resolved.settings["moe.gate_dropout"].value == 0
    assert adapter_of(str(tmp_path / "earlier" / "model")) == adapter
    for override, place in (
        ("train.preset=standard", "train.preset"),
        ("lora.rank=8", "lora.rank"),
    ):
        with pytest.raises(JobError, match="goes on from has") as caught:
            family.resolve(load_job(tmp_path / "job.yaml", [override]))
        assert caught.value.where == place
