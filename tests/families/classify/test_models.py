from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, DistilBertConfig, RobertaConfig

from deepsynth.errors import ModelError
from deepsynth.families.classify.inference import SETTINGS, load_trained
from deepsynth.families.classify.job import ClassifyJob
from deepsynth.families.classify.models import (
    build_model,
    check_model_name,
    load_config,
    load_tokenizer,
    usable_length,
)
from tests.support.tickets import tickets

TEXTS = [text for text, _ in tickets()]


def job(model: str) -> ClassifyJob:
    return ClassifyJob.model_validate(
        {"family": "classify", "data": {"path": "t.csv"}, "model": model}
    )


def test_the_same_texts_give_the_same_tokenizer_in_every_process() -> None:
    script = (
        "from deepsynth.families.classify.models import train_tokenizer\n"
        "from tests.support.tickets import tickets\n"
        "made = train_tokenizer([text for text, _ in tickets()], 150)\n"
        "print(made.backend_tokenizer.to_str())"
    )
    made = {
        subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
        for _ in range(2)
    }
    assert len(made) == 1


def test_a_tokenizer_of_ones_own_knows_its_texts_and_nothing_special_in_them() -> None:
    tokenizer = load_tokenizer(job("scratch:tiny"), "scratch:tiny", TEXTS)
    ids = tokenizer(["Broken PARCEL"])["input_ids"][0]
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "broken", "parcel", "[SEP]"]
    assert "##a" not in tokenizer.all_special_tokens
    assert tokenizer.tokenize("##a")[:1] == ["[UNK]"]


def test_fresh_weights_are_of_the_seed_and_of_these_labels() -> None:
    tokenizer = load_tokenizer(job("scratch:tiny"), "scratch:tiny", TEXTS)
    config = load_config(job("scratch:tiny"), "scratch:tiny", tokenizer, ["no", "yes"])
    assert config.id2label == {0: "no", 1: "yes"}
    first, again, other = (
        build_model(job("scratch:tiny"), "scratch:tiny", config, seed).state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_folder_of_a_model_gets_a_new_head(tmp_path: Path) -> None:
    from transformers import BertForSequenceClassification

    tokenizer = load_tokenizer(job("scratch:tiny"), "scratch:tiny", TEXTS)
    tokenizer.save_pretrained(tmp_path)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    old = BertForSequenceClassification(
        BertConfig(vocab_size=len(tokenizer), intermediate_size=16, num_labels=5, **sizes)
    )
    old.save_pretrained(tmp_path)
    own = job(str(tmp_path))
    loaded = load_tokenizer(own, own.model, TEXTS)
    config = load_config(own, own.model, loaded, ["a", "b", "c"])
    model = build_model(own, own.model, config, seed=1)
    assert model.classifier.out_features == 3
    assert torch.equal(
        model.bert.embeddings.word_embeddings.weight, old.bert.embeddings.word_embeddings.weight
    )


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    own = job(str(tmp_path))
    with pytest.raises(ModelError, match="holds no model"):
        load_tokenizer(own, own.model, TEXTS)


def test_a_name_of_a_fresh_model_must_exist() -> None:
    with pytest.raises(ModelError, match="there is no model 'scratch:big'") as caught:
        check_model_name("scratch:big")
    assert caught.value.hint == "Models with fresh weights: scratch:tiny, scratch:small."
    check_model_name("scratch:small")
    check_model_name("distilbert/distilbert-base-uncased")


@pytest.mark.parametrize(
    ("config", "longest"),
    [
        (DistilBertConfig(max_position_embeddings=512), 512),
        (RobertaConfig(max_position_embeddings=514, pad_token_id=1), 512),
    ],
)
def test_a_text_is_never_longer_than_the_model_allows(config: object, longest: int) -> None:
    class Tokenizer:
        model_max_length = 10**30

    assert usable_length(config, Tokenizer(), 128) == 128
    assert usable_length(config, Tokenizer(), 4096) == longest
    Tokenizer.model_max_length = 100
    assert usable_length(config, Tokenizer(), 4096) == 100


def test_code_of_a_repository_is_neither_run_nor_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, ran = tmp_path / "model", tmp_path / "ran"
    folder.mkdir()
    (folder / "own.py").write_text(
        f"open({str(ran)!r}, 'w')\nfrom transformers import PretrainedConfig as Own\n"
    )
    names = {"AutoConfig": "own.Own", "AutoTokenizer": ["own.Own", None]}
    (folder / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": names}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": names}))
    (folder / SETTINGS).write_text('{"max_length": 8}')
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    asked = job(model=str(folder))
    for load in (
        lambda: load_config(asked, str(folder), None, ["a", "b"]),
        lambda: load_tokenizer(asked, str(folder), []),
        lambda: load_trained(folder),
    ):
        with pytest.raises(ModelError):
            load()
    assert not ran.exists()
