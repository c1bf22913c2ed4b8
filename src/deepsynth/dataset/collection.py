"""From what a job names (a file, a folder, a saved dataset, a Hub dataset) to tables by split."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from deepsynth.checks import Finding, Severity
from deepsynth.dataset.table import FORMATS, Table, concatenate, read_table
from deepsynth.errors import DataError, DeepSynthError

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


def pin_hub(name: str, revision: str | None) -> str | None:
    """The commit a Hub dataset stands at now, as the caller's token sees it.

    Asking first matters: `datasets` silently returns what is in its cache when a token was
    revoked or a dataset is gone. With HF_HUB_OFFLINE=1 nobody is asked and `revision` is returned.

    Args:
        name: `USER/NAME`.
        revision: Branch, tag or commit; the default branch when None.

    Raises:
        RequestError: Name, revision or token are wrong.
        DeepSynthError: The Hub cannot be reached.
    """
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return revision
    from deepsynth.hub.account import Account
    from deepsynth.hub.remote import Remote

    return Remote(Account.from_environment(), name).state(revision).head


def read_hub(name: str, config: str | None, revision: str | None) -> dict[str, Table]:
    """Tables by split of a dataset on the Hugging Face Hub.

    Args:
        name: `USER/NAME`.
        config: Its configuration, when it has several.
        revision: The commit that `pin_hub` gave.

    Raises:
        DataError: There is no such dataset, configuration or revision, or it needs a token.
        DeepSynthError: The Hub cannot be reached.
    """
    from datasets import disable_progress_bars, load_dataset

    from deepsynth.hub.account import Account

    disable_progress_bars()
    token = Account.from_environment().token
    place = name if config is None else f"{name} ({config})"
    try:
        loaded = load_dataset(name, config, revision=revision, token=token or False)
    except (ValueError, FileNotFoundError) as error:
        # `datasets` says "doesn't exist or cannot be accessed", bad configs and gated sets so.
        raise DataError(
            str(error).splitlines()[0],
            where=place,
            hint="Check the name, data.config and data.revision; private sets need HF_TOKEN.",
        ) from error
    except (OSError, RuntimeError) as error:
        raise DeepSynthError(
            f"the Hub did not answer: {str(error).splitlines()[0]}",
            where=place,
            hint="Check the network, or download the data and give data.path.",
        ) from error
    return _from_datasets(loaded, place)


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
        next(iter(tables.values())).problems.append(
            Finding(Severity.INFO, "split-ignored", name, f"Splits not used: {', '.join(left)}.")
        )
    if "train" not in tables:
        raise DataError("there is no train split.", where=name)
    return tables
