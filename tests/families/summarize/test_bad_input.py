"""What cannot be trained on ends in one clear message, before anything expensive runs."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepsynth.checks import Severity
from deepsynth.checks.report import read_findings
from deepsynth.errors import DataError, DeepSynthError, JobError, ModelError
from deepsynth.families import get_family, load_job
from deepsynth.families.summarize import check, prepare
from deepsynth.run.run import Run
from tests.support.pages import SUMMARIES, TEXTS, page, save_llava


def rows(count: int = 6) -> list[dict[str, Any]]:
    return [
        {
            "images": [{"bytes": page(f"{n} {TEXTS[n % 4]}"), "path": None}],
            "text": f"{TEXTS[n % 4]} {n * 'and so on '}",
            "summary": f"{SUMMARIES[n % 4]} {n}",
        }
        for n in range(count)
    ]


def checked(folder: Path, documents: list[dict[str, Any]], **job: Any) -> list[Any]:
    """Findings of the steps `prepare` and `check` over documents, whether or not they refuse."""
    run = make_run(folder, documents, **job)
    with suppress(DataError):
        check.main(run)
    return read_findings(run.path / "checks")


def make_run(folder: Path, documents: list[dict[str, Any]], **more: Any) -> Run:
    (folder / "pages").mkdir()
    table = pa.Table.from_pylist(documents)
    pq.write_table(table, folder / "pages" / "train-0.parquet", row_group_size=2)
    job = {
        "family": "summarize",
        "data": {"path": "pages", "validation_share": 0, "test_share": 0},
        "model": "scratch:deepseek-ocr-2-tiny",
        "train": {"preset": "balanced"},
        "check": {"learn": False},
        "evaluation": {"split": "train"},
    }
    (folder / "job.yaml").write_text(json.dumps(job | more))
    family = get_family("summarize")
    resolved = family.resolve(load_job(folder / "job.yaml"))
    run = Run.create(folder / "run", resolved, family.plan(resolved))
    prepare.main(run)
    return run


def found(findings: list[Any], code: str) -> Any:
    (finding,) = [finding for finding in findings if finding.code == code]
    return finding


def test_sound_documents_pass(tmp_path: Path) -> None:
    findings = checked(tmp_path, rows())
    wrong = [f for f in findings if f.severity in (Severity.ERROR, Severity.WARNING)]
    assert [f.code for f in wrong] == ["pages-unknown"], "these rows come without a manifest"
    assert (tmp_path / "run" / "checks" / "preview.html").is_file()


def test_a_page_damaged_in_the_middle_of_a_shard(tmp_path: Path) -> None:
    documents = rows()
    data = bytearray(documents[3]["images"][0]["bytes"])
    data[len(data) // 2] ^= 0xFF
    documents[3]["images"][0]["bytes"] = bytes(data)
    finding = found(checked(tmp_path, documents), "page-unreadable")
    assert finding.severity is Severity.ERROR
    assert finding.examples == ("train-0.parquet, row 3",)


def test_a_summary_of_100_000_characters(tmp_path: Path) -> None:
    documents = rows()
    documents[2]["summary"] = "endless " * 12_500
    finding = found(checked(tmp_path, documents), "summary-truncated")
    assert finding.severity is Severity.WARNING
    assert finding.examples == ("train-0.parquet, row 2",)


def test_summaries_that_are_all_empty(tmp_path: Path) -> None:
    documents = [row | {"summary": ""} for row in rows()]
    finding = found(checked(tmp_path, documents), "summary-empty")
    assert finding.severity is Severity.ERROR
    assert "All of 6" in finding.what


def test_pages_of_another_size_than_the_models_view(tmp_path: Path) -> None:
    documents = rows()
    for number, row in enumerate(documents):
        row["images"][0]["bytes"] = page(TEXTS[number % 4], side=256 + number)
    findings = checked(tmp_path, documents)
    assert "145 tokens a page" in found(findings, "page-geometry").what
    assert found(findings, "page-sizes").severity is Severity.WARNING


def test_nothing_to_evaluate_on_is_said_before_training(tmp_path: Path) -> None:
    finding = found(checked(tmp_path, rows(), evaluation={"split": "test"}), "split-empty")
    assert finding.severity is Severity.ERROR
    assert finding.where == "evaluation.split"
    assert "evaluate on train" in finding.fix


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        ("text", ModelError, "reads text only"),
        ("empty", ModelError, "holds no model"),
        ("llava", JobError, "no mixture of experts"),
    ],
)
def test_models_that_do_not_fit(
    model: str, error: type[DeepSynthError], words: str, tmp_path: Path
) -> None:
    from transformers import LlamaConfig

    folder = tmp_path / model
    folder.mkdir()
    if model == "text":
        LlamaConfig(hidden_size=32, intermediate_size=8).save_pretrained(folder)
    elif model == "llava":
        save_llava(folder)
    run = make_run(tmp_path, rows(), model=str(folder), train={"preset": "router_focused"})
    with pytest.raises(error, match=words):
        check.main(run)
