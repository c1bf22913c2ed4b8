"""A pretrained encoder: the probe, fine-tuning from it, and the folder that is left."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from deepsynth import durable
from deepsynth.errors import ModelError, Stopped
from deepsynth.families import get_family
from deepsynth.families.classify import train
from deepsynth.families.classify.encoder import Pooling, SentenceClassifier, read_pooling
from deepsynth.families.classify.inference import load_trained, probabilities
from deepsynth.families.classify.job import ClassifyJob
from deepsynth.families.classify.linear import choose_linear, fit_linear, predict_linear
from deepsynth.families.classify.method import choose_method
from deepsynth.families.classify.models import build_model, load_config, load_tokenizer
from deepsynth.families.classify.prepared import read_split
from deepsynth.families.classify.probe import embed, features, head_of
from deepsynth.run.run import Run
from tests.conftest import Answer
from tests.support.encoders import run_here, write_encoder
from tests.support.tickets import tickets, write_job

TEXTS = [text for text, _ in tickets()]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder") / "mean")


def opened(folder: Path, labels: int = 3, **train: Any) -> tuple[ClassifyJob, Any, Any]:
    job = ClassifyJob.model_validate(
        {"family": "classify", "data": {"path": "t.csv"}, "model": str(folder), "train": train}
    )
    tokenizer = load_tokenizer(job, job.model, TEXTS)
    config = load_config(job, job.model, tokenizer, [f"label {n}" for n in range(labels)])
    return job, tokenizer, build_model(job, job.model, config, seed=1)


def test_the_linear_head_is_that_of_scikit_learn_wherever_the_features_lie() -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(90, 6)).astype(np.float32) * 0.3 + 5
    labels = (rows[:, 0] > 5).astype(int) + (rows[:, 1] > 5.1)
    blocks = [torch.from_numpy(rows[:50]), torch.from_numpy(rows[50:])]
    middle = torch.from_numpy(rows.mean(0))
    ours = fit_linear(blocks, labels, 3, strength=2.0, middle=middle)
    theirs = LogisticRegression(C=2.0, tol=1e-8, max_iter=5000).fit(rows - rows.mean(0), labels)
    own = torch.softmax(ours.logits(torch.from_numpy(rows)), dim=1).numpy()
    np.testing.assert_allclose(own, theirs.predict_proba(rows - rows.mean(0)), atol=2e-3)


def test_a_rare_class_weighs_more_in_the_head_too() -> None:
    block = torch.tensor([[0.0], [0.1], [0.2], [0.3], [0.25]])
    labels = np.array([0, 0, 0, 0, 1])
    plain = fit_linear([block], labels, 2, strength=1.0)
    pulled = fit_linear([block], labels, 2, strength=1.0, class_weights=torch.tensor([0.6, 2.5]))
    assert (predict_linear(plain, [block]) == 0).all()
    assert (predict_linear(pulled, [block]) == 1).any()


@pytest.mark.parametrize(
    ("reached", "chosen"),
    [([0.5, 0.9, 0.9], 30.0), ([0.6, 0.5, 0.6], 30.0), ([0.9, 0.5, 0.5], 3.0)],
)
def test_another_strength_must_be_clearly_better_on_validation(
    reached: list[float], chosen: float
) -> None:
    block, labels = torch.eye(4), np.array([0, 1, 0, 1])

    def fit(strength: float, start: Any) -> Any:
        return fit_linear([block], labels, 2, strength=strength, start=start)

    scored = iter(reached)
    best, found = choose_linear(fit, [block], lambda found: next(scored))
    assert (best.strength, found) == (chosen, dict(zip((3, 30, 300), reached, strict=True))[chosen])


def test_a_sentence_encoder_is_pooled_as_it_was_made_to_be(encoder: Path, tmp_path: Path) -> None:
    assert read_pooling(str(encoder)) == Pooling("mean", normalize=True)
    _, tokenizer, model = opened(encoder)
    assert isinstance(model, SentenceClassifier)
    found = embed(model, tokenizer, TEXTS[:5], max_length=32, batch_size=2)
    batch = tokenizer(TEXTS[3], return_tensors="pt")
    with torch.no_grad():
        hidden = model.encoder(batch["input_ids"]).last_hidden_state[0]
    vector = hidden.mean(0) / hidden.mean(0).norm()
    np.testing.assert_allclose(found[3], vector.numpy(), atol=1e-5)
    plain = write_encoder(tmp_path / "plain", sentence=False)
    assert read_pooling(str(plain)) is None
    assert not isinstance(opened(plain)[2], SentenceClassifier)
    first = write_encoder(tmp_path / "first", mode="cls")
    assert read_pooling(str(first)) == Pooling("cls", normalize=True)


def test_blocks_that_are_whole_are_not_embedded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepsynth.families.classify.probe.BLOCK", 4)
    asked: list[int] = []

    def embedded(texts: Any, start: int) -> np.ndarray:
        asked.append(start)
        if len(asked) == 3:
            raise Stopped("now")
        return np.full((len(texts), 2), start, dtype=np.float32)

    with pytest.raises(Stopped):
        features(tmp_path, "train", TEXTS[:10], embedded)
    damaged = tmp_path / "train-00000.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    blocks = features(tmp_path, "train", TEXTS[:10], embedded)
    assert asked == [0, 4, 8, 0, 8]
    assert torch.cat(blocks)[:, 0].tolist() == [0.0] * 4 + [4.0] * 4 + [8.0] * 2


@pytest.mark.parametrize(
    ("method", "texts", "probe", "finetune"),
    [
        ("auto", 60, True, False),
        ("auto", 600, True, True),
        ("probe", 600, True, False),
        ("finetune", 60, False, True),
    ],
)
def test_few_texts_are_for_the_probe(
    encoder: Path, method: str, texts: int, probe: bool, finetune: bool
) -> None:
    job, _, model = opened(encoder, method=method)
    chosen = choose_method(job, model, texts)
    assert (chosen.probe, chosen.finetune) == (probe, finetune)


def test_fresh_weights_have_nothing_to_probe() -> None:
    job, _, model = opened(Path("scratch:tiny"))
    assert not choose_method(job, model, 10_000).probe
    asked, *_ = opened(Path("scratch:tiny"), method="probe")
    with pytest.raises(ModelError, match="nothing"):
        choose_method(asked, model, 10_000)


@pytest.fixture(scope="module")
def probed(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A whole run on the tiny encoder, and its job."""
    folder = tmp_path_factory.mktemp("probed")
    changes = {"model": str(encoder), "train": {"epochs": 1, "batch_size": 8}}
    job = write_job(folder, changes)
    return run_here(job, folder / "run"), job


def test_the_probe_is_kept_as_a_folder_of_sentence_transformers(
    probed: tuple[Path, Path], encoder: Path
) -> None:
    run, _ = probed
    model, tokenizer, how = load_trained(run / "model")
    assert how["method"] == "probe"
    assert how["updates"] == 0
    assert how["validation_macro_f1"] == how["probe_macro_f1"]
    assert {path.name for path in (run / "model").iterdir()} >= {
        "modules.json",
        "1_Pooling",
        "2_Normalize",
        "3_Dense",
        "config.json",
        "model.safetensors",
    }
    old = opened(encoder)[2].encoder.state_dict()
    assert all(
        torch.equal(weight, old[name]) for name, weight in model.encoder.state_dict().items()
    )
    test = read_split(Run(run), "test")
    found = probabilities(model, tokenizer, test.texts, max_length=how["max_length"]).argmax(1)
    assert found.tolist() == durable.read_json(run / "training" / "probe.json")["test"]
    stored = durable.read_json(run / "training" / "test_scores.json")["accuracy"]
    assert (found == np.array(test.labels)).mean() == pytest.approx(stored)


def test_a_model_of_ours_can_be_trained_on(probed: tuple[Path, Path]) -> None:
    _, _, model = opened(probed[0] / "model", labels=5)
    assert isinstance(model, SentenceClassifier)
    assert head_of(model) is model.classifier
    assert model.classifier.out_features == 5


def test_sentence_transformers_and_the_snippet_of_the_card_give_the_same_answers(
    probed: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model, tokenizer, how = load_trained(probed[0] / "model")
    texts = [*TEXTS[:3], " ".join(TEXTS * 60)]
    own = probabilities(model, tokenizer, texts, max_length=how["max_length"])
    theirs = sentence_transformers.SentenceTransformer(str(probed[0] / "model"), device="cpu")
    scores = torch.softmax(theirs.encode(texts, convert_to_tensor=True), dim=-1)
    np.testing.assert_allclose(scores.numpy(), own, atol=1e-5)
    card = get_family("classify").card
    assert card
    snippet = card(Run(probed[0])).loading.format(repo=probed[0] / "model", base="")
    capsys.readouterr()
    exec(snippet.replace('"..."', repr(texts[3])))
    label, score = capsys.readouterr().out.split()
    assert label == how["labels"][own[3].argmax()]
    assert float(score) == pytest.approx(own[3].max(), abs=1e-5)


@pytest.mark.parametrize(("reached", "kept"), [(0.2, "probe"), (1.1, "finetune")])
def test_fine_tuning_is_kept_only_where_it_is_better(
    probed: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reached: float,
    kept: str,
) -> None:
    run = Run(Path(shutil.copytree(probed[0], tmp_path / "run")))
    shutil.rmtree(run.work("train"))
    monkeypatch.setattr("deepsynth.families.classify.method.ENOUGH", 1)
    real = train.fit_in_run

    def fit(run: Run, trainer: Any, *rest: Any, **named: Any) -> Path:
        best = real(run, trainer, *rest, **named)
        trainer.state.best_metric = reached
        return best

    monkeypatch.setattr(train, "fit_in_run", fit)
    train.main(run)
    how = durable.read_json(run.path / "model" / "deepsynth.json")
    assert (how["method"], how["finetuned_macro_f1"]) == (kept, reached)
    before, _, _ = load_trained(probed[0] / "model")
    after, _, _ = load_trained(run.path / "model")
    same = [
        torch.equal(weight, after.state_dict()[name])
        for name, weight in before.state_dict().items()
    ]
    assert all(same) is (kept == "probe")


def test_predict_reads_a_text_of_three_thousand_words(
    probed: tuple[Path, Path], command: Any
) -> None:
    told: Answer = command("predict", probed[0], "--text", " ".join(TEXTS * 60), "--json")
    assert told.code == 0, told.err[-300:]
    assert '"probability"' in told.out
