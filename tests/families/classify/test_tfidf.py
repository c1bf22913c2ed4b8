"""`model: tfidf`: trained, kept, used and explained like any other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepsynth import durable
from deepsynth.errors import ModelError
from deepsynth.evaluation.tfidf import Tfidf, features_of
from deepsynth.families import get_family
from deepsynth.families.classify.inference import load_trained, probabilities
from deepsynth.families.classify.prepared import read_split
from deepsynth.run.run import Run
from tests.support.encoders import run_here
from tests.support.tickets import tickets, write_job


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run."""
    folder = tmp_path_factory.mktemp("tfidf")
    job = write_job(folder, {"model": "tfidf"})
    return run_here(job, folder / "run")


def test_words_pairs_and_pieces_are_features() -> None:
    found = list(features_of("Lost CARD"))
    assert found[:3] == ["lost", "card", "lost card"]
    assert "#<lo" in found
    assert "#ard>" in found


def test_rows_have_length_one_and_rare_features_weigh_more() -> None:
    weigh = Tfidf.learn(["a card", "a card", "a fee", "a fee", "a card"])
    rows = weigh(["a card", "nothing known"]).to_dense()
    assert rows.norm(dim=1).tolist() == pytest.approx([1.0, 0.0])
    assert (
        weigh.idf[weigh.index["a"]] < weigh.idf[weigh.index["card"]] < weigh.idf[weigh.index["fee"]]
    )


def test_it_is_kept_and_gives_the_same_answers(run: Path) -> None:
    model, tokenizer, how = load_trained(run / "model")
    assert how["method"] == "tfidf"
    test = read_split(Run(run), "test")
    found = probabilities(model, tokenizer, test.texts, max_length=128)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    final = Run(run).final_metrics() or {}
    assert (found.argmax(1) == test.labels).mean() == pytest.approx(final["accuracy"])
    assert final["accuracy"] > final["baselines"]["majority"]["accuracy"]
    assert not any("probe" in name for name in final["baselines"])


def test_it_is_used_and_explained(run: Path, command: Any) -> None:
    told = command("predict", run, "--text", "lovely sunny garden, thanks", "--json")
    assert told.code == 0, told.err[-300:]
    assert json.loads(told.out.splitlines()[0])["label"] == "comment"
    words = durable.read_json(run / "evaluation" / "words.json")
    assert set(words["comment"]) & {"lovely", "sunny", "pleasant", "enjoyed", "smile", "thanks"}
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Words that speak for a label" in page
    card = get_family("classify").card
    assert card
    assert "TfidfClassifier" in card(Run(run)).loading


def test_files_that_do_not_belong_together_are_refused(run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run / "model", tmp_path / "model")
    said = durable.read_json(folder / "tfidf.json")
    durable.write_json(folder / "tfidf.json", said | {"features": said["features"][1:]})
    with pytest.raises(ModelError, match=r"tfidf\.json"):
        load_trained(folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_trained(folder)


def test_the_snippet_of_its_card_gives_the_label(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    card = get_family("classify").card
    assert card
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repo: str(run / "model"))
    text, label = tickets()[0]
    snippet = card(Run(run)).loading.format(repo="me/x", base="").replace('"..."', repr(text))
    exec(snippet)
    assert label in capsys.readouterr().out
