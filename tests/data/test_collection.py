from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from deepsynth.data.collection import read_path
from deepsynth.errors import DataError


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_csv", ".csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text\n{text}\n")
    return folder


def texts(folder: Path) -> dict[str, list[Any]]:
    return {split: table.columns["text"] for split, table in read_path(folder).items()}


def test_a_file_is_all_training(tmp_path: Path) -> None:
    assert texts(write(tmp_path, test_csv="a") / "test.csv") == {"train": ["a"]}


def test_files_named_for_a_split_are_that_split(tmp_path: Path) -> None:
    folder = write(
        tmp_path, **{"train-00000-of-2_csv": "a", "train-00001-of-2_csv": "b", "dev_csv": "c"}
    )
    write(tmp_path, below__TEST_csv="d", more_csv="e", **{".hidden_csv": "x", "_draft_csv": "x"})
    assert texts(folder) == {"train": ["e", "a", "b"], "validation": ["c"], "test": ["d"]}


def test_without_a_training_file_everything_is_one_table(tmp_path: Path) -> None:
    assert texts(write(tmp_path, test_csv="a", other_csv="b")) == {"train": ["b", "a"]}


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(DataError, match="no data files in this folder"):
        read_path(tmp_path)


def saved(path: Path, *splits: str) -> Path:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    data = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, features=features)
    (DatasetDict(dict.fromkeys(splits, data)) if splits else data).save_to_disk(path)
    return path


def test_a_saved_dataset_brings_splits_and_label_names(tmp_path: Path) -> None:
    tables = read_path(saved(tmp_path / "many", "train", "val", "unsupervised"))
    assert list(tables) == ["train", "validation"]
    assert tables["train"].label_names == {"label": ["no", "yes"]}
    assert tables["train"].places == ["train:row 1", "train:row 2"]
    (ignored,) = tables["train"].problems
    assert ignored.what == "Splits not used: unsupervised."
    assert list(read_path(saved(tmp_path / "one"))) == ["train"]


def test_a_saved_dataset_without_training_or_cut_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no train split"):
        read_path(saved(tmp_path / "a", "test"))
    with pytest.raises(DataError, match="none of its splits is known: extra"):
        read_path(saved(tmp_path / "b", "extra"))
    whole = saved(tmp_path / "c")
    next(whole.glob("*.arrow")).unlink()
    with pytest.raises(DataError, match="not a whole dataset"):
        read_path(whole)
