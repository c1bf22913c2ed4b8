"""From what a job names (a file, a folder, a saved dataset, a Hub dataset) to tables by split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepsynth.checks import Finding, Severity
from deepsynth.data.table import FORMATS, Table, concatenate, read_table
from deepsynth.errors import DataError

SPLITS = ("train", "validation", "test")
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


def read_path(path: Path, encoding: str | None = None) -> dict[str, Table]:
    """Tables by split of a file, a folder of files, or a folder saved by `datasets`.

    Files of a folder named for a split (`train.csv`, `dev.jsonl`, `test-00000.parquet`) are that
    split; without a training file among them, all files together are one table to be split.

    Raises:
        DataError: Nothing that can be read is there.
    """
    if not path.is_dir():
        return {"train": read_table(path, encoding)}
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        return _from_datasets(_load_saved(path), path.name)
    files = sorted(
        p
        for p in path.rglob("*")
        if p.suffix.lower() in FORMATS and not p.name.startswith((".", "_"))
    )
    if not files:
        raise DataError(
            "there are no data files in this folder.",
            where=path,
            hint=f"Put {', '.join(FORMATS)} files there.",
        )
    by_split: dict[str, list[Table]] = {}
    for file in files:
        by_split.setdefault(_split_of(file) or "train", []).append(read_table(file, encoding))
    if not any(_split_of(file) == "train" for file in files):
        by_split = {"train": [table for tables in by_split.values() for table in tables]}
    return {split: concatenate(tables, path.name) for split, tables in by_split.items()}


def read_hub(spec: str, config: str | None = None) -> tuple[dict[str, Table], str]:
    """Tables by split of a dataset on the Hugging Face Hub, and the commit they are from.

    The commit is asked for with the caller's token before a cache is looked at, and every file is
    verified. With `--offline` (HF_HUB_OFFLINE=1) only what an earlier reading left is read.

    Args:
        spec: `[hub:]USER/NAME[@branch, tag or commit]`.
        config: Its configuration, when it has several.

    Raises:
        RequestError: Name, configuration, revision or token are wrong.
        DataError: There is nothing to read, or nothing to train on.
        DeepSynthError: The Hub cannot be reached.
    """
    from deepsynth.hub.load import is_offline, load

    loaded = load(spec, config=config, offline=is_offline())
    by_split: dict[str, list[Table]] = {}
    for split, file in loaded.files():
        by_split.setdefault(split, []).append(read_table(file))
    tables = {
        split: concatenate(parts, loaded.repo)
        for split, parts in by_split.items()
        if split in SPLITS
    }
    if "train" not in tables:
        raise DataError(
            "there is no train split.", where=loaded.repo, hint=f"It has: {', '.join(by_split)}."
        )
    if left := sorted(set(by_split) - set(SPLITS)):
        tables["train"].problems.append(_unused(left, loaded.repo))
    return tables, loaded.sha


def _load_saved(path: Path) -> Any:
    from datasets import load_from_disk

    try:
        return load_from_disk(str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"this is not a whole dataset saved by `datasets`: {first}",
            where=path,
            hint="Save it again with save_to_disk, or give CSV, JSONL or Parquet files.",
        ) from error


def _unused(splits: list[str], name: str) -> Finding:
    return Finding(Severity.INFO, "split-ignored", name, f"Splits not used: {', '.join(splits)}.")


def _split_of(path: Path) -> str | None:
    stem = path.stem.lower().split(".")[0]
    return _SPLIT_NAMES.get(stem) or _SPLIT_NAMES.get(stem.split("-")[0].split("_")[0])


def _from_datasets(loaded: Any, name: str) -> dict[str, Table]:
    from datasets import ClassLabel, Dataset

    parts = {"train": loaded} if isinstance(loaded, Dataset) else dict(loaded)
    tables: dict[str, Table] = {}
    for split, data in parts.items():
        known = _SPLIT_NAMES.get(split)
        if known is None:
            continue
        names = {
            column: list(feature.names)
            for column, feature in data.features.items()
            if isinstance(feature, ClassLabel)
        }
        places = [f"{split}:row {index}" for index in range(1, len(data) + 1)]
        columns = {column: list(data[column]) for column in data.column_names}
        tables[known] = Table(name, columns, places, label_names=names)
    if left := sorted(set(parts) - set(_SPLIT_NAMES)):
        if not tables:
            raise DataError(f"none of its splits is known: {', '.join(left)}.", where=name)
        next(iter(tables.values())).problems.append(_unused(left, name))
    if "train" not in tables:
        raise DataError("there is no train split.", where=name)
    return tables
