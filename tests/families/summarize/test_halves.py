"""Every step computes in bfloat16, as it does by default on a GPU; here on a CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepsynth.families import get_family
from deepsynth.families.summarize import check, evaluate, train
from tests.families.summarize.test_bad_input import make_run, rows


@pytest.mark.parametrize("cached", [True, False])
def test_check_train_evaluate_and_predict_in_bfloat16(cached: bool, tmp_path: Path) -> None:
    settings = {
        "preset": "high_capacity_moe",
        "mixed_precision": "bf16",
        "epochs": 3,
        "learning_rate": 1e-3,
        "cache_features": cached,
        "cache_dir": str(tmp_path / "cache"),
        "num_workers": 0,
    }
    run = make_run(
        tmp_path,
        rows(4),
        train=settings,
        check={"learn": True},
        evaluation={"split": "train", "max_new_tokens": 8, "gallery": 1},
    )
    check.main(run)
    codes = {f["code"] for f in json.loads((run.path / "checks" / "findings.json").read_text())}
    assert {"learn-overfit", "levers-exact", "pages-seen", "adapter-reload"} <= codes
    train.main(run)
    evaluate.main(run)
    final = run.final_metrics() or {}
    export = final["export"]
    assert export["losses"]["adapter"] == pytest.approx(export["trained_loss"], rel=1e-3)
    picture = tmp_path / "page.png"
    picture.write_bytes(rows(1)[0]["images"][0]["bytes"])
    (answer,) = get_family("summarize").predict(run, [], [picture])
    assert answer["pages"] == 1
