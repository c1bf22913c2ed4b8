"""How good is a classifier, and for how many processor seconds: ours, and what it must beat.

On one table of labelled texts, for several seeds (each draws the splits and everything else anew):

- `words`: a linear model on TF-IDF, the baseline of every run
- `probe`: the encoder as it came with a linear head, what a run shows first
- `scratch`: our own small model with fresh weights, as a whole run
- `stock`: the encoder fine-tuned with transformers' settings (5e-5, three passes, batches of 8)

    make weights
    python benchmarks/quality.py --data texts.jsonl --seeds 3 --ways words probe

Every measurement is a process of its own with one thread. Writes
benchmarks/results/quality.json; ways and data that are not asked for keep their figures.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / ".weights" / "all-MiniLM-L6-v2"
RESULTS = ROOT / "benchmarks" / "results" / "quality.json"
WAYS = ("words", "probe", "scratch", "stock")
STOCK = {"method": "finetune", "learning_rate": 5e-5, "epochs": 3, "batch_size": 8}


def cpu_seconds() -> float:
    return sum(
        sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )


def measure(way: str, data: Path, seed: int) -> dict[str, float]:
    """Train once, all of it timed after the imports, and score the test split."""
    from transformers import AutoModelForSequenceClassification
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    from deepsynth import families
    from deepsynth.families.classify import train
    from deepsynth.families.classify.baselines import words
    from deepsynth.families.classify.metrics import scores
    from deepsynth.families.classify.prepare import main as prepare
    from deepsynth.families.classify.prepared import read_labels, read_split
    from deepsynth.run.run import Run

    disable_progress_bar()
    set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.yaml"
        said: dict[str, Any] = {
            "family": "classify",
            "data": {"path": str(data)},
            "model": "scratch:tiny" if way == "scratch" else str(WEIGHTS),
            "seed": seed,
        }
        if way in ("probe", "stock"):
            said["train"] = STOCK if way == "stock" else {"method": "probe"}
        job.write_text(json.dumps(said), encoding="utf-8")
        resolved = families.load(job)
        plan = families.get_family("classify").plan(resolved)
        run = Run.create(Path(folder) / "run", resolved, plan)
        prepare(run)
        began = cpu_seconds()
        test = read_split(run, "test")
        if way == "words":
            _, answers = words(read_split(run, "train"), read_labels(run), test, seed)
            return {**scores(test.labels, answers), "cpu_seconds": cpu_seconds() - began}
        if way == "stock":
            # Stock is transformers' own classifier, which reads the first token.
            train.build_model = lambda job, name, config, seed: (
                AutoModelForSequenceClassification.from_pretrained(name, config=config)
            )
        train.main(run)
        found = json.loads((run.path / "training" / "test_scores.json").read_text())
        return {**found, "cpu_seconds": cpu_seconds() - began}


def measured(way: str, data: Path, seed: int) -> dict[str, float]:
    """The same in a process of its own."""
    code = (
        f"import json, sys; sys.path.insert(0, {str(ROOT / 'benchmarks')!r}); import quality;"
        f"from pathlib import Path;"
        f"print('=' + json.dumps(quality.measure({way!r}, Path({str(data)!r}), {seed})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout.rpartition("=")[2])


def summary(found: list[dict[str, float]]) -> dict[str, Any]:
    f1 = [one["macro_f1"] for one in found]
    return {
        "seeds": len(found),
        "macro_f1": statistics.mean(f1),
        "macro_f1_each": f1,
        "cpu_seconds": statistics.mean(one["cpu_seconds"] for one in found),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    asked = parser.parse_args()
    if not WEIGHTS.exists():
        sys.exit("the pretrained encoder is not here: make weights")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    told = results.setdefault(asked.data.stem, {})
    for way in asked.ways:
        found = [measured(way, asked.data.resolve(), seed) for seed in range(asked.seeds)]
        told[way] = summary(found)
        said = told[way]
        each = ", ".join(f"{one:.3f}" for one in said["macro_f1_each"])
        print(f"{way:8} macro-F1 {said['macro_f1']:.3f} ({each}), {said['cpu_seconds']:.1f} CPU-s")
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
