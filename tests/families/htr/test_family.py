"""The job, the plan, model files, the gallery, the workspace: everything light."""

from __future__ import annotations

import base64
import io
import re
import shutil
from pathlib import Path

import pytest
import yaml
from PIL import Image

from deepsynth.cli import run_command
from deepsynth.errors import JobError, ModelError, RequestError
from deepsynth.families import get_family, load, load_job
from deepsynth.families.htr import FAMILY, predict
from deepsynth.families.htr.kraken.model_file import read_model
from deepsynth.families.htr.lines.gallery import write_gallery
from deepsynth.families.htr.predict import find_images, transcribe
from deepsynth.families.htr.publish import check_name
from deepsynth.families.htr.workspace import FRENCH, misnamed, workspace
from deepsynth.job.job import ResolvedJob
from deepsynth.run.run import Run
from tests.families.htr.test_check import edit, on_image, truncate
from tests.families.htr.test_dialects import coreml, safetensors


def resolve(folder: Path, settings: dict, *overrides: str) -> ResolvedJob:
    job = {"family": "htr", "data": {"ground_truth": "page"}} | settings
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job), encoding="utf-8")
    return get_family("htr").resolve(load_job(path, overrides))


def test_the_plan_runs_kraken_in_its_own_environment(page_folder: Path):
    resolved = resolve(page_folder.parent, {})
    plan = get_family("htr").plan(resolved)
    assert {step.name: step.environment for step in plan.steps} == {
        "check": "this",
        "prepare": "this",
        "train": "htr",
        "evaluate": "htr",
    }
    assert resolved.settings["data.normalization"].value == "NFC"
    assert "about 38 training samples" in resolved.settings["train.batch_size"].why


def test_the_base_model_decides_the_normal_form(page_folder: Path):
    composed = safetensors(page_folder.parent / "c.safetensors", ["recognition"])
    assert read_model(composed).normal_form == "NFC"
    resolved = resolve(page_folder.parent, {"model": "c.safetensors"})
    assert resolved.settings["data.normalization"].value == "NFC"
    assert "base model" in resolved.settings["data.normalization"].why


def test_folds_make_an_array(page_folder: Path):
    plan = get_family("htr").plan(resolve(page_folder.parent, {}, "split.folds=4"))
    assert plan.step("train").array == 4
    assert plan.step("train").outputs == ["folds/{index}"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"train": {"learning_rte": 1e-3}}, "Did you mean learning_rate"),
        ({"train": {"freeze_epochs": 2}}, "goes with freeze"),
        ({"split": {"folds": 2}}, "at least 3"),
        ({"split": {"test_list": "t.txt"}}, "validation_list"),
        ({"task": "segmentation", "split": {"folds": 3}}, "for recognition"),
    ],
)
def test_impossible_jobs_are_refused(page_folder: Path, settings: dict, words: str):
    with pytest.raises(JobError, match="(?s)" + words):
        resolve(page_folder.parent, settings)


def test_model_files_of_the_wrong_kind_are_refused(tmp_path: Path):
    segmenter = coreml(tmp_path / "s.mlmodel", [], "segmentation")
    with pytest.raises(ModelError, match="is for segmentation, the job is for recognition"):
        read_model(segmenter, "recognition")
    with pytest.raises(ModelError, match="no such model file"):
        read_model(tmp_path / "none.mlmodel")
    (tmp_path / "text.mlmodel").write_text("<html>not found</html>", encoding="utf-8")
    with pytest.raises(ModelError, match="not a Kraken model"):
        read_model(tmp_path / "text.mlmodel")
    whole = safetensors(tmp_path / "cut.safetensors", ["recognition"])
    assert read_model(whole, "recognition").input_shape == (48, 0, 1)
    whole.write_bytes(whole.read_bytes()[:-2])
    with pytest.raises(ModelError, match="cut short"):
        read_model(whole)


@pytest.mark.parametrize(
    ("part", "odd"),
    [
        (b'"kraken_meta": "', b'"kraken_meta": "7'),
        (b'\\"codec\\": {', b'\\"codec\\": 7, \\"x\\": {'),
        (b'\\"vgsl\\": \\"[1,48', b'\\"vgsl\\": \\"[x,48'),
        (b'\\"_tasks\\": [', b'\\"_tasks\\": [7, '),
        (b'"data_offsets": [0, 4]', b'"data_offsets": 1e999'),
        (b'"__metadata__": {', b'"__metadata__": [], "x": {'),
        (b"{", b"[" * 100_000 + b"{"),
    ],
)
def test_odd_model_files_are_refused(tmp_path: Path, part: bytes, odd: bytes):
    path = safetensors(tmp_path / "m.safetensors", ["recognition"])
    head = path.read_bytes()[8:-4]
    assert part in head
    head = head.replace(part, odd, 1)
    path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(4))
    with pytest.raises(ModelError, match="not a Kraken model"):
        read_model(path)


def test_the_gallery_shows_lines_and_what_is_wrong_with_them(page_folder: Path, tmp_path: Path):
    edit("<Baseline[^>]*>", "")(page_folder / "p000.xml")
    on_image(truncate)(page_folder / "p001.xml")
    assert write_gallery(page_folder, tmp_path / "lines.html") == 48
    html = (tmp_path / "lines.html").read_text(encoding="utf-8")
    assert html.count("data:image/png") == 43
    assert html.count("Cannot be cut out") == 5


def test_init_makes_the_workspace_and_keeps_what_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "projet"
    models = folder / "Modeles"
    models.mkdir(parents=True)
    for name in ("Model_final.mlmodel", "odalricus_transcription_v1.mlmodel", "notes.txt"):
        (models / name).write_bytes(b"")
    (models / "README.md").write_text("mine", encoding="utf-8")
    line = ["init", "htr", str(folder), "--name", "french", "--name", "models=Modeles"]
    assert run_command(line) == 0
    said = capsys.readouterr().out
    assert "Model_final.mlmodel does not follow corpus_type_vN" in said
    assert "odalricus_transcription_v1.mlmodel does" not in said
    assert {path.name for path in folder.iterdir()} == {
        *(name for place, name in FRENCH.items() if place != "models"),
        "Modeles",
        "job.yaml",
    }
    assert (models / "README.md").read_text(encoding="utf-8") == "mine"
    assert load_job(folder / "job.yaml").job.data.ground_truth == str(folder / "Ground_Truth")
    assert run_command(line) == 2
    assert "left as it is" in capsys.readouterr().err


def test_a_finished_run_fills_the_workspace_it_was_made_in_and_no_other(
    page_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "projet"
    assert run_command(["init", "htr", str(folder), "--name", "french"]) == 0
    shutil.copytree(page_folder, folder / "Ground_Truth", dirs_exist_ok=True)
    resolved = load(folder / "job.yaml")
    run = Run.create(
        tmp_path / "runs" / "lettres_transcription_v1", resolved, FAMILY.plan(resolved)
    )
    for name in ("model/best.mlmodel", "logs/train.log", "data/train.arrow", "slurm/train.sbatch"):
        (run.path / name).parent.mkdir(exist_ok=True)
        (run.path / name).write_text(name, encoding="utf-8")
    assert FAMILY.keep
    names = {
        "Repertoire_model_finetune/lettres_transcription_v1.mlmodel",
        "Repertoire_model_finetune/lettres_transcription_v1.log",
        "GT_compile/lettres_transcription_v1-train.arrow",
        "Scripts/lettres_transcription_v1/train.sbatch",
    }
    assert {path.relative_to(folder).as_posix() for path in FAMILY.keep(run)} == names
    assert FAMILY.keep(run) == [], "what is there stays as it is"

    shutil.rmtree(folder / "Scripts")
    (folder / "Scripts").mkdir()
    text = (folder / "job.yaml").read_text(encoding="utf-8")
    (folder / "job.yaml").write_text(f"{text}\n# mine\n", encoding="utf-8")
    assert FAMILY.keep(run) == [], "a run of another job writes nothing here"


@pytest.mark.parametrize("name", ["medieval_latin_seg_v2", "decretum_fine_tune_v3", "a_b_v1"])
def test_the_names_of_the_guides_follow_the_convention(name: str, tmp_path: Path):
    (tmp_path / f"{name}.mlmodel").touch()
    (tmp_path / "Model_final.mlmodel").touch()
    assert misnamed(tmp_path) == ["Model_final.mlmodel"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("models=../elsewhere", "leads out"),
        ("models=", "leads out"),
        ("attic=Grenier", "names no place"),
        ("spanish", "names no place"),
    ],
)
def test_impossible_names_of_places_are_refused(tmp_path: Path, name: str, words: str):
    with pytest.raises(RequestError, match=words):
        workspace(tmp_path / "new", [name])
    assert not (tmp_path / "new").exists()


def test_preview_shows_lines_as_high_as_the_network_reads_them(
    page_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    job = tmp_path / "job.yaml"
    job.write_text(
        "family: htr\ndata: {ground_truth: page}\n"
        'train: {spec: "[1,24,0,1 Cr3,3,8 S1(1x0)1,3 Lbx8]"}\n'
    )
    for source, count, height in ((job, 5, 24), (page_folder, 48, 48)):
        line = ["preview", str(source), "--output-dir", str(tmp_path / "out")]
        assert run_command([*line, "--count", str(count)]) == 0
        told = Path(capsys.readouterr().out.split(maxsplit=1)[1].strip())
        html = told.read_text(encoding="utf-8")
        pictures = re.findall(r"base64,([^\"]+)", html)
        assert len(pictures) == count
        with Image.open(io.BytesIO(base64.b64decode(pictures[0]))) as picture:
            assert picture.height == height
    assert run_command([*line, "--count", "0"]) == 2


def test_the_template_is_a_job_that_loads(page_folder: Path):
    template = get_family("htr").template / "job.yaml"
    job = page_folder.parent / "job.yaml"
    text = template.read_text(encoding="utf-8")
    job.write_text(text.replace("ground_truth: ground_truth", "ground_truth: page"))
    assert get_family("htr").resolve(load_job(job)).job.family == "htr"


@pytest.mark.parametrize("name", ["odalricus_transcription_v1", "cremma-mss_seg_v12"])
def test_good_model_names(name: str):
    check_name(name)


@pytest.mark.parametrize("name", ["Model_final", "odalricus_v1", "odalricus_seg_1", "../x_y_v1"])
def test_bad_model_names_are_refused(name: str):
    with pytest.raises(RequestError, match="corpus_type_vN"):
        check_name(name)


def test_transcription_refuses_what_would_overwrite(page_folder: Path, tmp_path: Path):
    model = safetensors(tmp_path / "m.safetensors", ["recognition"])
    assert len(find_images([page_folder])) == 12
    output = tmp_path / "out"
    output.mkdir()
    (output / "p000.xml").write_text("mine", encoding="utf-8")
    with pytest.raises(RequestError, match="exists already"):
        transcribe([page_folder], model, output)
    twin = tmp_path / "p000.png"
    twin.write_bytes((page_folder / "p000.png").read_bytes())
    with pytest.raises(RequestError, match="same file"):
        transcribe([page_folder, twin], model, tmp_path / "new")
    with pytest.raises(RequestError, match="no such image"):
        transcribe([tmp_path / "none.png"], model, tmp_path / "new")


def test_pages_are_read_side_by_side_as_cores_and_memory_allow(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("deepsynth.processors.available", lambda: 8)
    monkeypatch.setattr(predict, "_free_memory", lambda: int(9 * predict.PROCESS_BYTES))
    assert [predict.side_by_side(pages, "cpu") for pages in (1, 3, 100)] == [1, 3, 8]
    assert predict.side_by_side(100, "cuda:0") == 1
    monkeypatch.setattr(predict, "_free_memory", lambda: int(2.5 * predict.PROCESS_BYTES))
    assert predict.side_by_side(100, "cpu") == 2
    monkeypatch.setattr(predict, "_free_memory", lambda: 0)
    assert predict.side_by_side(100, "cpu") == 1
