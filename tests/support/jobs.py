"""For each family a whole job on tiny data, trained in seconds on a CPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from examples.manuscript.make_pages import demo_font, write_pages

from tests.support import tickets

ARTICLES = Path(__file__).parents[2] / "examples" / "articles" / "articles.jsonl"


def summarize(folder: Path) -> Path:
    """Three headlines that are their own summary."""
    rows = map(json.loads, ARTICLES.read_text(encoding="utf-8").splitlines()[:3])
    texts = [json.dumps(row | {"summary": row["title"], "text": row["title"]}) for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "short.jsonl").write_text("\n".join(texts), encoding="utf-8")
    return _write(
        folder,
        {
            "family": "summarize",
            "data": {"path": "short.jsonl", "validation_share": 0, "test_share": 0},
            "pages": {"mode": "tile"},
            "model": "scratch:deepseek-ocr-2-tiny",
            "train": {"epochs": 1, "batch_size": 1, "gradient_accumulation": 1},
            "evaluation": {"split": "train"},
        },
    )


def htr(folder: Path, **more: Any) -> Path:
    """Twelve pages with two lines each."""
    write_pages(folder / "truth", font=demo_font("DejaVuSerif"), pages=12, seed=1, lines=2)
    return _write(
        folder,
        {
            "family": "htr",
            "data": {"ground_truth": "truth"},
            "train": {
                "spec": "[1,24,0,1 Cr3,3,8 Mp2,2 S1(1x0)1,3 Lbx16]",
                "batch_size": 8,
                "epochs": 2,
                "patience": 0,
            },
        }
        | more,
    )


SMALL: dict[str, Callable[[Path], Path]] = {
    "summarize": summarize,
    "classify": tickets.write_job,
    "htr": htr,
}
"""What writes such a job with its data into a folder and returns the job file."""


def _write(folder: Path, job: dict[str, Any]) -> Path:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job, sort_keys=False), encoding="utf-8")
    return path
