from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from deepsynth.errors import JobError
from deepsynth.families import load_job
from deepsynth.families.classify.job import ClassifyJob
from deepsynth.job.job import Recommendation, ResolvedJob, read_settings, typed_job
from deepsynth.job.settings import setting_names

JOB = """\
family: classify
data:
  path: tickets.csv
model: scratch:tiny
train:
  epochs: 3
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "tickets"
    folder.mkdir()
    (folder / "job.yaml").write_text(JOB)
    return folder / "job.yaml"


def job_of(resolved: ResolvedJob) -> ClassifyJob:
    return cast(ClassifyJob, resolved.job)


def refused(path: Path, *overrides: str) -> JobError:
    with pytest.raises(JobError) as caught:
        load_job(path, overrides)
    return caught.value


def test_every_value_knows_where_it_came_from(path: Path) -> None:
    loaded = load_job(path, ["train.batch_size=8"])
    assert loaded.name == "tickets"
    assert loaded.text == JOB
    origins = {k: (s.value, s.origin, s.where) for k, s in loaded.settings.items()}
    assert origins["train.epochs"] == (3.0, "file", "job.yaml:6")
    assert origins["train.batch_size"] == (8, "flag", "train.batch_size=8")
    assert origins["train.weight_decay"] == (0.01, "default", "")
    assert list(loaded.settings) == list(setting_names(ClassifyJob))


def test_an_override_of_a_section_replaces_it_and_is_its_origin(path: Path) -> None:
    loaded = load_job(path, ["train={batch_size: 2}"])
    assert job_of(loaded).train.epochs is None
    assert loaded.settings["train.batch_size"].origin == "flag"
    assert loaded.settings["train.epochs"].origin == "default"


def test_paths_of_the_job_are_taken_from_its_folder_those_typed_from_where_one_stands(
    path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    for folder in (path.parent / "there", elsewhere / "here"):
        folder.mkdir()
    path.write_text(JOB.replace("scratch:tiny", "there"))
    assert job_of(load_job(path)).data.path == str(path.parent / "tickets.csv")
    assert job_of(load_job(path)).model == str(path.parent / "there")
    assert job_of(load_job(path, ["model=here"])).model == str(elsewhere / "here")
    assert job_of(load_job(path, ["model=./missing"])).model == str(elsewhere / "missing")
    assert job_of(load_job(path, ["model=there"])).model == "there"
    assert job_of(load_job(path, ["data={path: x.csv}"])).data.path == str(elsewhere / "x.csv")
    home = job_of(load_job(path, ["data.path=~/x.csv"])).data.path
    assert home == str(Path.home() / "x.csv")


@pytest.mark.parametrize("named", ["runs/base", "runs/base/model", "runs/base/best_model"])
def test_the_model_of_an_earlier_run_is_named_by_the_run_or_as_guides_do(
    named: str, path: Path
) -> None:
    model = path.parent / "runs" / "base" / "model"
    model.mkdir(parents=True)
    (model.parent / "resolved.yaml").touch()
    path.write_text(JOB.replace("scratch:tiny", f"./{named}"))
    assert job_of(load_job(path)).model == str(model)


def test_presets_fill_only_what_is_left_open(path: Path) -> None:
    loaded = load_job(path, ["train.batch_size=8"])
    filled = loaded.with_recommendations(
        [
            Recommendation("train.epochs", 9, "many"),
            Recommendation("train.batch_size", 9, "big"),
            Recommendation("train.learning_rate", 1e-3, "fresh weights"),
        ]
    )
    train = job_of(filled).train
    assert (train.epochs, train.batch_size, train.learning_rate) == (3, 8, 1e-3)
    rate = filled.settings["train.learning_rate"]
    assert (rate.origin, rate.why) == ("preset", "fresh weights")


def test_resolved_yaml_reads_back_as_the_same_job(path: Path) -> None:
    loaded = load_job(path, ["train.learning_rate=5e-5", "data.text='no'", "data.label='1e5'"])
    loaded = loaded.with_recommendations([Recommendation("train.batch_size", 4, "why: é")])
    assert read_settings(loaded.to_yaml()) == loaded.settings
    assert typed_job(ClassifyJob, loaded.settings) == loaded.job
    assert "  epochs:\n    value: 3.0\n    from: file\n    where: job.yaml:6\n" in loaded.to_yaml()


@pytest.mark.parametrize(
    ("line", "place", "what", "hint"),
    [
        ("train: {learning_rte: 1}", 5, "train.learning_rte is not a setting of classify",
         "Did you mean learning_rate?"),
        ("epochs: 3", 5, "epochs is not a setting of classify", "Did you mean train.epochs?"),
        ("trian: {epochs: 3}", 5, "trian is not a setting of classify", "Did you mean train?"),
        ("model: a", 5, "model is set twice (first on line 4)", "Keep one"),
        ("zebra: 3", 5, "zebra is not a setting of classify", "Settings here: family, seed, data"),
        ("train: {epochs: three}", 5, "train.epochs is 'three', but should be a valid number", ""),
        ("train: {epochs: '3'}", 5, "train.epochs is '3', but should be a valid number", ""),
        ("train: {batch_size: 2.0}", 5, "train.batch_size is 2.0, but should be a valid integer",
         ""),
        ("train: {epochs: 0}", 5, "train.epochs is 0, but should be greater than 0", ""),
        ("train: {epochs: .nan}", 5, "train.epochs is nan", ""),
        ("train: 3", 5, "train has settings of its own", "Below it, indented: "),
        ("seed: -1", 5, "seed is -1", ""),
        ("train: {scheduler: linaer}", 5, "should be 'linear', 'cosine' or 'constant'", ""),
        ("check: {learn: yes}", 5, "check.learn is 'yes', but should be a valid boolean", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, line: str, place: int, what: str, hint: str
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("family: classify\ndata:\n  path: x.csv\nmodel: scratch:tiny\n" + line + "\n")
    error = refused(path)
    assert error.where == f"{path}:{place}"
    assert what in error.what
    assert hint in (error.hint or "")
    assert error.exit_code == 2


def test_all_complaints_come_at_once(path: Path) -> None:
    path.write_text(JOB.replace("epochs: 3", "epochs: -3") + "zebra: 1\nseed: x\n")
    told = str(refused(path))
    assert [word for word in ("train.epochs", "zebra", "seed") if word in told] == [
        "train.epochs",
        "zebra",
        "seed",
    ]
    assert f"{path}:7" in told


def test_a_missing_setting_is_named(path: Path) -> None:
    path.write_text("family: classify\nmodel: scratch:tiny\n")
    error = refused(path)
    assert error.what == "data must be given."
    path.write_text("family: classify\nmodel: scratch:tiny\ndata:\n  text: a\n")
    assert "either path or hub must be given" in refused(path).what


@pytest.mark.parametrize(
    ("override", "what", "where"),
    [
        ("train.epochs", "key=value", "train.epochs"),
        ("=3", "key=value", "=3"),
        ("train.epochs=[", "cannot be read", "train.epochs=["),
        ("model.name=3", "model has no settings below it", "model.name=3"),
        ("train.epocs=3", "train.epocs is not a setting", "train.epocs=3"),
        ("train.epochs=x", "train.epochs is 'x'", "train.epochs=x"),
        ("family=nothing", "family 'nothing' is not known", None),
    ],
)
def test_a_wrong_override_is_its_own_place(
    path: Path, override: str, what: str, where: str | None
) -> None:
    error = refused(path, override)
    assert what in error.what
    if where:
        assert error.where == where


def test_a_family_is_asked_for_and_guessed(path: Path) -> None:
    path.write_text("model: scratch:tiny\n")
    assert "family: NAME" in (refused(path).hint or "")
    path.write_text("seed: 1\nfamily: clasify\n")
    error = refused(path)
    assert error.where == f"{path}:2"
    assert error.hint == "Did you mean classify?"


def test_a_file_that_is_no_job(path: Path, tmp_path: Path) -> None:
    missing = refused(path.parent / "jab.yaml")
    assert missing.what == "there is no such job file."
    assert missing.hint == "Found beside it: job.yaml."
    folder = refused(path.parent)
    assert "this is a folder" in folder.what
    assert folder.hint == f"Did you mean {path}?"
    binary = tmp_path / "job.bin"
    binary.write_bytes(b"\x89PNG\r\n\xff\x00")
    assert "not a text file" in refused(binary).what
    assert "cannot be read" in refused(path / "below").what
