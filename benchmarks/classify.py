"""Classifier training: the guide's way against ours, on the same texts, model and settings.

The guide tokenises with `padding="max_length"`, 128, and hands the result to a plain
transformers Trainer. Ours pads each batch to its longest text and puts texts of similar length
together. Everything else is equal: weights, seed, batch size, epochs, learning rate, precision.

    python benchmarks/classify.py                    # the tickets that ship with the project
    python benchmarks/classify.py --data FILE.jsonl  # other texts

Every measurement is a process of its own, and the two ways take turns, so that a noisy machine
disturbs both. Prints a table and writes benchmarks/results/classify.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WAYS = ("guide", "ours")
MAX_LENGTH = 128
# The shape of the widespread six-layer MiniLM encoders, with fresh weights: nothing to download.
SHAPE = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}


def measure(way: str, data: Path, epochs: float) -> dict[str, Any]:
    """Train once and say how fast, in how much memory, and how well."""
    import numpy as np
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        BertConfig,
        DataCollatorWithPadding,
        PrinterCallback,
        Trainer,
        set_seed,
    )

    from deepsynth.data.collection import read_path
    from deepsynth.families.classify.inference import probabilities
    from deepsynth.families.classify.job import ClassifyJob
    from deepsynth.families.classify.metrics import figures
    from deepsynth.families.classify.models import load_tokenizer
    from deepsynth.families.classify.prepare import prepare
    from deepsynth.families.classify.prepared import Split
    from deepsynth.families.classify.trainer import (
        ClassifierTrainer,
        EncodedTexts,
        training_arguments,
    )

    job = ClassifyJob.model_validate(
        {
            "family": "classify",
            "data": {"path": str(data)},
            "model": "scratch:small",
            "train": {"epochs": epochs, "batch_size": 32, "learning_rate": 5e-4},
        }
    )
    rows = prepare(read_path(data), job)
    index = {name: number for number, name in enumerate(rows.label_names)}

    def split(name: str) -> Split:
        chosen = [row for row, s in enumerate(rows.splits) if s == name]
        return Split(
            [rows.texts[row] for row in chosen],
            [index[rows.labels[row]] for row in chosen],
            [rows.places[row] for row in chosen],
            [rows.groups[row] for row in chosen],
        )

    train, test = split("train"), split("test")
    tokenizer = load_tokenizer(job, job.model, train.texts)
    set_seed(job.seed)
    model = AutoModelForSequenceClassification.from_config(
        BertConfig(vocab_size=len(tokenizer), num_labels=len(rows.label_names), **SHAPE)
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = training_arguments(job, Path(folder), len(train))
        arguments.eval_strategy = arguments.save_strategy = "no"  # the training alone is timed
        shared: dict[str, Any] = {"model": model, "args": arguments}
        if way == "guide":
            encoded = tokenizer(
                train.texts, padding="max_length", truncation=True, max_length=MAX_LENGTH
            )
            shared["train_dataset"] = [
                {"input_ids": ids, "attention_mask": mask, "labels": label}
                for ids, mask, label in zip(
                    encoded["input_ids"], encoded["attention_mask"], train.labels, strict=True
                )
            ]
            trainer = Trainer(**shared)
        else:
            shared["train_dataset"] = EncodedTexts(train, tokenizer, MAX_LENGTH)
            collator = DataCollatorWithPadding(tokenizer)
            trainer = ClassifierTrainer(
                **shared, data_collator=collator, grouped=True, class_weights=None, head_rate=1.0
            )
        trainer.remove_callback(PrinterCallback)
        wall, cpu = time.perf_counter(), time.process_time()
        trainer.train()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = probabilities(model, tokenizer, test.texts, max_length=MAX_LENGTH).argmax(axis=1)
    final = figures(
        test.labels, found.tolist(), train.labels, rows.label_names, samples=1000, seed=0
    )
    samples = len(train) * epochs
    lengths = [len(ids) for ids in EncodedTexts(train, tokenizer, MAX_LENGTH).input_ids]
    return {
        "samples_per_second": samples / wall,
        "samples_per_cpu_second": samples / cpu,
        "peak_memory_mb": peak / (1e6 if platform.system() == "Darwin" else 1e3),
        "macro_f1": final["macro_f1"],
        "macro_f1_interval": final["macro_f1_interval"],
        "parameters": sum(p.numel() for p in model.parameters()),
        "mean_tokens": float(np.mean(lengths)),
        "training_texts": len(train),
        "torch": torch.__version__,
    }


def compare(data: Path, epochs: float, repeats: int) -> dict[str, Any]:
    """Measure both ways in turn, `repeats` times each."""
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for repeat in range(repeats):
        for way in WAYS if repeat % 2 == 0 else reversed(WAYS):
            argv = [sys.executable, __file__, "--one", way, "--data", str(data)]
            done = subprocess.run(
                [*argv, "--epochs", str(epochs)], check=True, capture_output=True, text=True
            )
            found[way].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{repeat + 1}/{repeats} {way:6} {found[way][-1]['samples_per_second']:8.1f} "
                  "samples/s", file=sys.stderr)  # fmt: skip
    table = {
        way: {
            key: statistics.median(run[key] for run in runs)
            for key in ("samples_per_second", "samples_per_cpu_second", "peak_memory_mb")
        }
        | {key: runs[0][key] for key in ("macro_f1", "macro_f1_interval")}
        for way, runs in found.items()
    }
    first = found["ours"][0]
    return {
        "what": f"BERT, 6 layers of 384, fresh weights ({first['parameters'] / 1e6:.1f} M "
        f"parameters), batch 32, fp32, "
        f"{epochs:g} epochs, max_length {MAX_LENGTH}",
        "data": f"{data.name}, {first['training_texts']} training texts, "
        f"{first['mean_tokens']:.1f} tokens on average",
        "machine": {"processor": platform.machine(), "torch": first["torch"], "repeats": repeats},
        "ways": table,
        "speed_up": table["ours"]["samples_per_second"] / table["guide"]["samples_per_second"],
    }


def main() -> None:
    """Compare, print the table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=ROOT / "examples/tickets/tickets.csv")
    parser.add_argument("--epochs", type=float, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/classify.json")
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one, given.data, given.epochs)))
        return
    result = compare(given.data, given.epochs, given.repeats)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{result['what']}\n{result['data']}\n")
    print(f"{'':8}{'samples/s':>12}{'per CPU-s':>12}{'peak MB':>10}{'macro-F1':>10}  95 % interval")
    for way, row in result["ways"].items():
        low, high = row["macro_f1_interval"]
        print(
            f"{way:8}{row['samples_per_second']:12.1f}{row['samples_per_cpu_second']:12.1f}"
            f"{row['peak_memory_mb']:10.0f}{row['macro_f1']:10.3f}  {low:.3f}-{high:.3f}"
        )
    print(f"\nours / guide: {result['speed_up']:.1f}x")


if __name__ == "__main__":
    main()
