"""Small dataset and run folders, made as the generator and the runs make them."""

import hashlib
import json
import random
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

SPLITS = {"train": (3, 40), "validation": (1, 12), "test": (1, 12)}
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CARD = """---
license: {licence}
language: [fr]
task_categories: [summarization]
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
---

# Pages of articles
"""


def seed_of(name: str) -> int:
    """A seed of this name's own: storage keeps objects of all repositories once."""
    return zlib.crc32(name.encode())


def table(rows: int, seed: int, size: int) -> pa.Table:
    """Rows with an image column of incompressible bytes."""
    rng = random.Random(seed)
    return pa.table(
        {
            "image": pa.array(
                [{"bytes": rng.randbytes(size), "path": f"{i}.png"} for i in range(rows)], IMAGE
            ),
            "text": [f"texte é {seed}-{i}" for i in range(rows)],
            "summary": [f"résumé {i}" for i in range(rows)],
        }
    )


def make_dataset(
    folder: Path,
    *,
    seed: int = 0,
    size: int = 400,
    splits: dict[str, tuple[int, int]] | None = None,
    licence: str = "cc0-1.0",
) -> Path:
    """A dataset folder: `splits` gives shards and rows per shard."""
    (folder / "data").mkdir(parents=True)
    files, rows_by_split = [], {}
    for number, (split, (shards, rows)) in enumerate((splits or SPLITS).items()):
        for shard in range(shards):
            name = f"data/{split}-{shard:05d}-of-{shards:05d}.parquet"
            part = table(rows, seed * 1000 + number * 100 + shard, size)
            pq.write_table(
                part,
                folder / name,
                row_group_size=10,
                use_dictionary=False,
                write_statistics=False,
                write_page_checksum=True,
            )
            data = (folder / name).read_bytes()
            files.append(
                {
                    "path": name,
                    "rows": rows,
                    "bytes": len(data),
                    "sha256": hashlib.sha256(data).hexdigest(),
                }
            )
        rows_by_split[split] = shards * rows
    manifest = {"source": "articles", "settings": {"seed": seed}, "licence": licence}
    manifest |= {"splits": rows_by_split, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))
    (folder / "README.md").write_text(CARD.format(licence=licence))
    return folder


def make_run(folder: Path, base: str = "distilbert/distilbert-base-uncased") -> Path:
    """A finished run with a model, resume points, and settings that hold paths of this machine."""
    model = folder / "model"
    for name in ("checkpoint-10", "epoch_2"):
        (model / name).mkdir(parents=True)
        (model / name / "model.safetensors").write_bytes(b"old")
    (model / "model.safetensors").write_bytes(random.Random(5).randbytes(60_000))
    (model / "config.json").write_text(
        json.dumps({"model_type": "distilbert", "_name_or_path": base, "separator": "/"})
    )
    (model / "adapter").mkdir()
    (model / "adapter/base.json").write_text(json.dumps({"name": base, "sha256": "0"}))
    training = {"model_name": base, "cache_dir": str(folder / "cache"), "prompt": "."}
    (model / "adapter/training_config.json").write_text(json.dumps(training))
    (model / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        (model / name).write_bytes(b"state")
    (folder / "metrics.json").write_text(json.dumps({"test": {"macro_f1": 0.8125, "rows": 31}}))

    def setting(value):
        return {"value": value, "from": "file"}

    resolved = {
        "family": setting("classify"),
        "model": setting(base),
        "data": {"path": setting(str(folder.parent / "tickets.csv"))},
        "train": {"epochs": setting(3), "learning_rate": setting(5e-5)},
    }
    (folder / "resolved.yaml").write_text(yaml.safe_dump(resolved))
    return folder


def places_named(run: Path, *more: str) -> list[str]:
    """Files a publication of `run` would hold, its card too, that name a place on this machine."""
    from deepsynth.families import family_of
    from deepsynth.hub.content import read_content
    from deepsynth.run.run import Run

    content = read_content(run, "me/x", said=family_of(Run(run)).card(Run(run)))
    places = [place.encode() for place in (str(run.resolve()), str(Path.home()), *more)]
    files = {item.path: item.read() for item in content.items}
    files["README.md"] = content.card.encode()
    return [name for name, data in files.items() if any(place in data for place in places)]
