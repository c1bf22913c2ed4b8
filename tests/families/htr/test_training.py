"""Training through Kraken: it learns, goes on after a kill, freezes for real, and is scored."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from examples.manuscript.make_pages import demo_font, write_pages
from lxml import etree

from deepsynth import durable
from deepsynth.cli import run_command
from deepsynth.errors import ModelError, RequestError, StepFailed
from deepsynth.families import get_family, load_job
from deepsynth.families.htr.ground_truth.pages import parse_xml, read_page
from deepsynth.families.htr.kraken.model_file import read_model
from deepsynth.families.htr.predict import transcribe
from deepsynth.families.htr.prepared import read_manifest
from deepsynth.families.htr.publish import About, write_archive
from deepsynth.families.htr.scores import comparable, rates, score_line
from deepsynth.run.run import Run
from deepsynth.runners.local.runner import LocalRunner
from tests.families.htr.conftest import ITALIC, SERIF
from tests.support.tickets import wait_until
from tests.support.toy import drive

pytestmark = pytest.mark.slow

SPEC = "[1,24,0,1 Cr3,3,8 Mp2,2 Cr3,3,16 Mp2,2 S1(1x0)1,3 Lbx32]"
SEGMENTER = "[1,120,0,1 Cr3,3,8,2,2 Gn4 Cr3,3,16 Gn8 Lbx8 Lby8 Cr1,1,8 Gn4]"


def make_run(folder: Path, settings: dict, name: str) -> Run:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"family": "htr"} | settings), encoding="utf-8")
    family = get_family("htr")
    resolved = family.resolve(load_job(path))
    return Run.create(folder / name, resolved, family.plan(resolved))


def do(run: Run, upto: str | None = None) -> None:
    steps = run.plan.upto(upto) if upto else run.plan.steps
    LocalRunner().run(run, steps, lambda: None)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, kraken: Callable[..., str]) -> Path:
    folder = tmp_path_factory.mktemp("htr")
    for name, font, seed in (("serif", SERIF, 1), ("italic", ITALIC, 2)):
        write_pages(folder / name, font=demo_font(font), pages=12, seed=seed, lines=5)
    return folder


@pytest.fixture(scope="module")
def base(world: Path) -> Run:
    """A run from fresh weights, to the end."""
    settings = {
        "data": {"ground_truth": "serif"},
        "train": {
            "spec": SPEC,
            "batch_size": 4,
            "epochs": 16,
            "learning_rate": 0.01,
            "patience": 0,
        },
    }
    run = make_run(world, settings, "base")
    do(run)
    return run


def test_a_run_learns_and_its_figures_can_be_counted_again(base: Run):
    final = base.final_metrics()
    assert final
    curve = [point["cer"] for point in base.metrics()]
    assert len(curve) == 16
    assert min(curve) < 0.7 < curve[0]
    lines = durable.read_lines(base.path / "evaluation" / "lines.jsonl")
    counted = [
        score_line(
            entry["page"],
            entry["line"],
            comparable(entry["truth"], "NFC"),
            comparable(entry["prediction"], "NFC"),
        )
        for entry in lines
    ]
    assert rates(counted) == (final["cer"], final["wer"])
    manifest = read_manifest(base)
    tested = {Path(page).stem for page in manifest.parts["test"].pages}
    assert {line.page for line in counted} == tested
    truths = {
        line.text
        for page in tested
        for line in read_page(
            Path(base.plan.step("prepare").sources["ground_truth"]) / f"{page}.xml"
        ).lines
    }
    assert {line.truth for line in counted} == truths
    for name in ("best.safetensors", "best.mlmodel"):
        assert read_model(base.path / "model" / name).task == "recognition"
    report = (base.path / "report.html").read_text(encoding="utf-8")
    assert "Character error rate" in report
    assert "data:image/png" in report
    assert "http" not in report


def test_splits_do_not_share_pages(base: Run):
    parts = read_manifest(base).parts
    pages = [page for part in parts.values() for page in part.pages]
    assert len(pages) == len(set(pages)) == 12


def fine_tune(world: Path, base: Run, name: str, **train: object) -> Run:
    settings = {
        "data": {"ground_truth": "italic"},
        "model": str(base.path / "model" / "best.safetensors"),
        "train": {"batch_size": 4, "epochs": 2, "learning_rate": 0.005} | train,
    }
    return make_run(world, settings, name)


def layers(path: Path) -> dict[str, bytes]:
    """The weights of a safetensors file by name, without the changing prefix."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return {
        name.partition(".")[2]: content[8 + length + start : 8 + length + end]
        for name, entry in header.items()
        if name != "__metadata__"
        for start, end in [entry["data_offsets"]]
    }


def test_a_frozen_backbone_does_not_change(world: Path, base: Run):
    run = fine_tune(world, base, "frozen", freeze="backbone")
    do(run, "train")
    before = layers(base.path / "model" / "best.safetensors")
    after = layers(run.path / "model" / "best.safetensors")
    assert set(before) == set(after)
    changed = {name for name in before if before[name] != after[name]}
    assert changed
    assert all(".O_" in f".{name}" for name in changed), changed
    assert len(before) > len(changed)


def test_a_killed_training_goes_on_and_ends_as_if_nothing_had_been(world: Path, base: Run):
    whole = fine_tune(world, base, "whole", epochs=5, patience=0)
    do(whole, "train")
    killed = fine_tune(world, base, "killed", epochs=5, patience=0)
    do(killed, "prepare")
    code = "import sys; from deepsynth.run.execution import main; sys.exit(main(sys.argv[1:]))"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(killed.path), "train"], start_new_session=True
    )
    deadline = time.monotonic() + 200
    while len(killed.metrics()) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGTERM)
    assert child.wait(timeout=130) == 130
    assert not (killed.path / "model").exists()
    done = len(killed.metrics())
    assert 2 <= done < 5
    do(killed, "train")
    assert [point["epoch"] for point in killed.metrics()] == [1, 2, 3, 4, 5]
    losses = [[point["loss"] for point in run.metrics()] for run in (whole, killed)]
    assert losses[0][:done] == losses[1][:done]
    assert losses[1][-1] == pytest.approx(losses[0][-1], rel=1e-3)


def test_characters_the_model_lacks_are_refused_when_asked(world: Path, base: Run):
    folder = world / "odd"
    write_pages(folder, font=demo_font(SERIF), pages=10, seed=9, lines=2)
    path = folder / "p000.xml"
    for page in folder.glob("*.xml"):
        page.write_text(page.read_text(encoding="utf-8").replace("<Unicode>", "<Unicode>œ "))
    settings = {
        "data": {"ground_truth": "odd"},
        "model": str(base.path / "model" / "best.safetensors"),
        "train": {"epochs": 1, "resize": "fail"},
    }
    run = make_run(world, settings, "odd-run")
    with pytest.raises(StepFailed, match="cannot write some characters") as failed:
        do(run, "train")
    assert failed.value.exit_code == 2
    assert "resize=union" in str(failed.value)
    assert path.exists()


def test_a_site_ketos_trains_the_same_job(world: Path, base: Run):
    from deepsynth.run.environments import managed_folder

    settings = {
        "data": {"ground_truth": "italic"},
        "model": str(base.path / "model" / "best.mlmodel"),
        "kraken": {"toolchain": "site", "ketos": str(managed_folder("htr") / "bin" / "ketos")},
        "train": {"batch_size": 8, "epochs": 2, "patience": 0},
    }
    run = make_run(world, settings, "site")
    do(run)
    assert [point["epoch"] for point in run.metrics()] == [1, 2]
    final = run.final_metrics()
    assert final
    assert final["training"][0]["kraken"] == 7
    assert (run.path / "model" / "best.mlmodel").is_file()


@pytest.mark.thorough
def test_a_site_ketos_goes_on_where_it_was_stopped_and_makes_no_more_passes_than_asked(
    world: Path, base: Run
):
    from deepsynth.run.environments import managed_folder

    settings = {
        "data": {"ground_truth": "italic"},
        "model": str(base.path / "model" / "best.mlmodel"),
        "kraken": {"toolchain": "site", "ketos": str(managed_folder("htr") / "bin" / "ketos")},
        "train": {"batch_size": 8, "epochs": 5, "patience": 50},
    }
    run = make_run(world, settings, "limited")
    with drive("local", run) as driver:
        wait_until(lambda: len(run.metrics()) >= 2, 120)
        driver.send_signal(signal.SIGTERM)
    before = len(run.metrics())
    do(run, "train")
    log = (run.path / "logs" / "train.log").read_text()
    assert "It goes on from models/checkpoint_abort.ckpt" in log
    passes = [point["epoch"] for point in run.metrics()]
    assert passes == list(range(1, len(passes) + 1))
    assert before < len(passes) <= 7, "one pass or two more may be made until it is ended"
    assert (run.path / "model" / "best.mlmodel").is_file()

    models = run.path / "steps" / "train" / "work" / "models"
    assert not models.exists(), "nothing is kept of a step that is done"


@pytest.fixture(scope="module")
def segmenter(world: Path) -> Run:
    settings = {
        "task": "segmentation",
        "data": {"ground_truth": "serif"},
        "segmentation": {"line_classes": {"DefaultLine": "line"}, "region_classes": {}},
        "train": {"spec": SEGMENTER, "epochs": 8, "learning_rate": 0.01},
    }
    run = make_run(world, settings, "segmenter")
    do(run)
    return run


def test_segmentation_is_trained_and_scored(segmenter: Run):
    final = segmenter.final_metrics()
    assert final
    assert final["line_types"].keys() == {"line"}
    assert 0 < final["baseline_f1"] <= 1
    assert final["training"]["region_types"] == []
    assert read_model(segmenter.path / "model" / "best.safetensors").task == "segmentation"
    assert "Baselines" in (segmenter.path / "report.html").read_text(encoding="utf-8")
    curve = [point["baseline_f1"] for point in segmenter.metrics()]
    assert len(set(curve)) > 1
    best = final["training"]["best_validation_score"]
    assert best == pytest.approx(max(curve)), "the pass that finds the lines best is kept"


@pytest.mark.thorough
def test_the_base_model_is_scored_on_the_same_lines(world: Path, segmenter: Run):
    settings = {
        "task": "segmentation",
        "data": {"ground_truth": "serif"},
        "model": str(segmenter.path / "model" / "best.safetensors"),
        "segmentation": {"region_classes": {}},
        "train": {"epochs": 1, "resize": "new"},
    }
    run = make_run(world, settings, "resegmented")
    do(run)
    final, before = run.final_metrics(), segmenter.final_metrics()
    assert final
    assert before
    assert final["base"]["baseline_f1"] == pytest.approx(before["baseline_f1"], abs=0.02)
    assert "The base model on the same pages" in (run.path / "report.html").read_text()


WRITE = """
import json, subprocess, sys

argv = [sys.executable, "-m", "deepsynth.families.htr.kraken.transcribe_pages"]
for request in json.loads(sys.argv[1]):
    subprocess.run(argv, input=json.dumps(request), text=True, check=True)
"""
ROOTS = {"pagexml": "PcGts", "abbyyxml": "document", "hocr": "html"}


def test_pages_are_transcribed_in_every_format(
    world: Path, base: Run, segmenter: Run, kraken: Callable[..., str]
):
    model = base.path / "model" / "best.safetensors"
    finder = segmenter.path / "model" / "best.safetensors"
    images = [world / "serif" / "p000.png", world / "serif" / "p001.png"]
    told: list[tuple[int, int, str]] = []
    written = transcribe(
        images,
        model,
        world / "alto",
        segmentation=finder,
        device="cpu",
        progress=lambda *event: told.append(event),
    )
    assert [(done, total) for done, total, _ in told] == [(1, 2), (2, 2)]
    assert {name for _, _, name in told} == {"p000.png", "p001.png"}
    alto = read_page(written[0])
    assert (alto.format, alto.version, alto.image_name) == ("alto", "4", "p000.png")
    assert (alto.width, alto.height) == (760, 640)
    assert any(line.text for line in alto.lines)
    request = {"model": str(model), "segmentation": str(finder), "device": "cpu"}
    requests = [
        request | {"to": to, "pages": [[str(images[0]), str(world / f"p000.{to}")]]}
        for to in (*ROOTS, "text")
    ]
    kraken("-c", WRITE, json.dumps(requests))
    for to, root in ROOTS.items():
        assert etree.QName(parse_xml(world / f"p000.{to}")).localname == root
    page = read_page(world / "p000.pagexml")
    assert (page.version, page.image_name) == ("2019-07-15", "p000.png")
    as_alto, as_page = (
        [(line.text.split(), line.baseline, line.polygon) for line in read.lines]
        for read in (alto, page)
    )
    assert as_alto == as_page
    text = (world / "p000.text").read_text(encoding="utf-8")
    assert text.split() == [word for line in alto.lines for word in line.text.split()]


@pytest.mark.thorough
def test_predict_transcribes_a_page(world: Path, base: Run, capsys: pytest.CaptureFixture[str]):
    assert run_command(["predict", str(base.path), str(world / "serif" / "p000.png")]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 5


def test_models_of_the_wrong_kind_transcribe_nothing(world: Path, base: Run, segmenter: Run):
    model = base.path / "model" / "best.safetensors"
    finder = segmenter.path / "model" / "best.safetensors"
    images = [world / "serif" / "p000.png"]
    with pytest.raises(ModelError, match="is for segmentation"):
        transcribe(images, finder, world / "wrong", to="text")
    with pytest.raises(ModelError, match="is for recognition"):
        transcribe(images, model, world / "wrong", to="text", segmentation=model)


def test_the_card_is_valid_and_the_archive_the_same_every_time(base: Run, tmp_path: Path):
    about = About("demo_transcription_v1", ["A. Scribe"], "CC-BY-4.0", ["fra"], ["Latn"])
    first = write_archive(base, about, tmp_path / "a").read_bytes()
    assert write_archive(base, about, tmp_path / "b").read_bytes() == first
    with zipfile.ZipFile(tmp_path / "a" / "demo_transcription_v1.zip") as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    assert len(found) == 5
    assert not [name for name, data in found.items() if str(base.path.parent).encode() in data]
    front = (tmp_path / "a" / "demo_transcription_v1.md").read_text(encoding="utf-8")
    metadata = yaml.safe_load(front.split("---")[1])
    final = base.final_metrics()
    assert final
    assert metadata["metrics"]["cer"] == pytest.approx(100 * final["cer"], abs=0.01)
    wrong = About("demo_transcription_v1", ["A"], "mine", ["french"], ["latin"])
    with pytest.raises(RequestError) as refused:
        write_archive(base, wrong, tmp_path / "c")
    for where in ("license", "language", "script"):
        assert where in str(refused.value)
    with pytest.raises(RequestError, match="exists already"):
        write_archive(base, about, tmp_path / "a")


def test_with_folds_every_page_is_read_once_by_a_model_that_never_saw_it(world: Path, base: Run):
    settings = {
        "data": {"ground_truth": "italic"},
        "model": str(base.path / "model" / "best.safetensors"),
        "split": {"folds": 3},
        "train": {"batch_size": 8, "epochs": 2, "learning_rate": 0.005},
    }
    run = make_run(world, settings, "folds")
    do(run)
    final = run.final_metrics()
    assert final
    assert (final["measured_on"], final["pages"], final["lines"]) == ("cross-validation", 12, 60)
    manifest = read_manifest(run)
    for fold in range(3):
        roles = {
            role: {page for part in parts for page in part.pages}
            for role, parts in manifest.roles(fold).items()
        }
        assert set.union(*roles.values()) == {f"p{number:03d}.xml" for number in range(12)}
        assert sum(len(pages) for pages in roles.values()) == 12
    assert {point["step"] for point in run.metrics()} == {"train-0", "train-1", "train-2"}
    assert (run.path / "model" / "best.safetensors").is_file()
