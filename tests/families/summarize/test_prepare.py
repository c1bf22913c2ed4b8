from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deepsynth.checks import Severity
from deepsynth.families import get_family, load_job
from deepsynth.families.summarize.check_drawn import check_drawn
from deepsynth.families.summarize.job import Data, Pages, SummarizeJob
from deepsynth.families.summarize.predict import draw, page_settings
from deepsynth.families.summarize.prepare import choose_rows, drawn_with, main
from deepsynth.families.summarize.prepared import pages_drawn, read_samples, rows_of
from deepsynth.families.summarize.samples import PageSamples, ShardRows
from deepsynth.pages.generate import generate
from deepsynth.pages.render.settings import PageSettings
from deepsynth.run.run import Run
from tests.support.pages import page


def write(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = [
        {"images": [{"bytes": page(text), "path": None}], "text": text, "summary": text[:20]}
        for text in texts
    ]
    pq.write_table(pa.Table.from_pylist(made), path)
    return path


def texts(count: int, start: int = 0) -> list[str]:
    words = ["oak", "river", "salt", "clock", "maps", "bread", "ships", "violet", "marble", "fog"]
    return [
        " ".join(words[(n * (i + 3) + i) % 10] + str(n * i) for i in range(12))
        for n in range(start, start + count)
    ]


def data(**more: Any) -> Data:
    return Data.model_validate({"path": "x", **more})


def test_what_is_missing_is_held_out_and_the_same_each_time(tmp_path: Path) -> None:
    rows = ShardRows([write(tmp_path / "train-0.parquet", texts(40))])
    given = {"train": list(range(40))}
    shares = {"validation_share": 0.1, "test_share": 0.2}
    chosen, findings = choose_rows(given, rows, data(**shares), seed=1)
    assert findings == []
    assert [len(chosen[s]) for s in ("train", "validation", "test")] == [28, 4, 8]
    assert sorted(n for numbers in chosen.values() for n in numbers) == list(range(40))
    assert choose_rows(given, rows, data(**shares), seed=1)[0] == chosen
    assert choose_rows(given, rows, data(**shares), seed=2)[0] != chosen
    few, _ = choose_rows(given, rows, data(**shares, max_train_samples=5), seed=1)
    assert len(few["train"]) == 5
    assert set(few["train"]) < set(chosen["train"])


def test_a_document_that_is_tested_on_does_not_train(tmp_path: Path) -> None:
    same = texts(20)
    files = [
        write(tmp_path / "train-0.parquet", same),
        write(tmp_path / "test-0.parquet", [same[3].upper() + " !", *texts(3, start=50)]),
    ]
    given = {"train": list(range(20)), "test": list(range(20, 24))}
    chosen, (finding,) = choose_rows(given, ShardRows(files), data(validation_share=0.0), seed=0)
    assert chosen["train"] == [n for n in range(20) if n != 3]
    assert chosen["test"] == [20, 21, 22, 23]
    assert finding.code == "split-leak"
    assert finding.examples == ("train-0.parquet, row 3",)


def test_a_dataset_of_pages_is_read_where_it_lies(tmp_path: Path) -> None:
    write(tmp_path / "pages" / "data" / "train-000.parquet", texts(12))
    write(tmp_path / "pages" / "data" / "validation-000.parquet", texts(4, start=30))
    job = {
        "family": "summarize",
        "data": {"path": "pages", "test_share": 0},
        "model": "scratch:deepseek-ocr-2-tiny",
    }
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    family = get_family("summarize")
    resolved = family.resolve(load_job(tmp_path / "job.yaml"))
    assert "12 samples" in resolved.settings["train.batch_size"].why
    run = Run.create(tmp_path / "run", resolved, family.plan(resolved))
    main(run)
    assert rows_of(run) == {"train": 12, "validation": 4, "test": 0}
    assert not list((run.path / "data").rglob("*.parquet"))
    held_out = read_samples(run, "train", "validation")
    assert held_out.summaries() == [text[:20] for text in texts(4, start=30)]
    assert (run.path / "base" / "config.json").is_file()


def test_how_the_pages_were_drawn_travels_with_the_model(tmp_path: Path) -> None:
    made = [{"text": text, "summary": text[:20]} for text in texts(6)]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, made)))
    (pages,) = generate(
        str(tmp_path / "texts.jsonl"),
        output_dir=tmp_path / "sets",
        workers=1,
        pages=PageSettings(mode="tile", size_px=24),
    )
    job = {
        "family": "summarize",
        "data": {"path": str(pages.folder), "validation_share": 0, "test_share": 0},
        "model": "scratch:deepseek-ocr-2-tiny",
    }
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    family = get_family("summarize")
    resolved = family.resolve(load_job(tmp_path / "job.yaml"))
    run = Run.create(tmp_path / "run", resolved, family.plan(resolved))
    main(run)
    drawn = pages_drawn(run)
    assert (drawn["mode"], drawn["size_px"]) == ("tile", 24)
    (tmp_path / "training_config.json").write_text(json.dumps({"pages": drawn}))
    row = read_samples(run, "train", "train").row(0)
    settings = page_settings(tmp_path, run.job(SummarizeJob).pages)
    assert draw(row["text"], settings, "text") == [image["bytes"] for image in row["images"]]

    samples = read_samples(run, "train", "train")
    (finding,) = check_drawn(samples, "train", settings)
    assert finding.code == "pages-own"
    # The fault: the pages are those of another document, which scores 1.000.
    documents = [dict(samples.row(index)) for index in range(len(samples))]
    pages_of = [row["images"] for row in documents]
    shuffled = [
        row | {"images": images}
        for row, images in zip(documents, [*pages_of[1:], pages_of[0]], strict=True)
    ]
    (finding,) = check_drawn(PageSamples(shuffled, "rows"), "train", settings)
    assert (finding.code, finding.severity) == ("pages-foreign", Severity.ERROR)
    assert finding.examples[0] == "rows, row 0: its page is at rows, row 5"


def test_pages_of_two_kinds_and_of_no_known_kind_are_said(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder, size in zip(folders, (16, 24, None), strict=True):
        folder.mkdir()
        settings = {"pages": {"mode": "base", "size_px": size}} if size else {}
        (folder / "manifest.json").write_text(json.dumps({"settings": settings}))
    asked = Pages.model_validate({})
    assert [f.code for f in drawn_with(folders, asked)[1]] == ["pages-mixed"]
    assert drawn_with(folders[1:2], asked) == ({"mode": "base", "size_px": 24}, [])
    assert [f.code for f in drawn_with(folders[2:], asked)[1]] == ["pages-unknown"]
