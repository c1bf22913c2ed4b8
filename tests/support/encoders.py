"""A tiny sentence encoder with random weights, and a classify job done without processes."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import torch

from deepsynth import families
from deepsynth.run.run import Run
from tests.support.tickets import tickets


def write_encoder(folder: Path, *, mode: str = "mean", sentence: bool = True) -> Path:
    """An encoder of transformers; with `sentence`, one of sentence-transformers."""
    from transformers import BertConfig, BertModel

    from deepsynth.families.classify.models import train_tokenizer

    folder.mkdir(parents=True)
    tokenizer = train_tokenizer([text for text, _ in tickets()], 400)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(3)
    BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
            initializer_range=0.4,
        )
    ).save_pretrained(folder)
    if sentence:
        kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
        modules = [
            {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for n, (kind, path) in enumerate(kinds)
        ]
        (folder / "modules.json").write_text(json.dumps(modules))
        (folder / "1_Pooling").mkdir()
        pooling = {f"pooling_mode_{name}": name.startswith(mode) for name in _MODES}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


_MODES = ("cls_token", "mean_tokens", "max_tokens")


def run_here(job: Path, folder: Path) -> Path:
    """All steps of a classify job in this process, which has imported what they need."""
    resolved = families.load(job)
    run = Run.create(folder, resolved, families.get_family("classify").plan(resolved))
    for step in run.plan.steps:
        import_module(step.argv[2]).main(run)
    return folder
