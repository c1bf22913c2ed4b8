"""Which files make which split, in datasets that others published."""

import time

import pytest

from deepsynth.errors import RequestError
from deepsynth.hub.configurations import files_by_split, split_of
from deepsynth.hub.load import load
from tests.hub.conftest import QUICK

PATHS = ["emoji/train-0.parquet", "emoji/dev-0.parquet", "irony/train-0.parquet", "more.csv"]
CARD = {
    "configs": [
        {
            "config_name": "emoji",
            "data_files": [
                {"split": "train", "path": "emoji/train-*"},
                {"split": "dev", "path": ["emoji/dev-*"]},
            ],
        },
        {"config_name": "irony", "data_dir": "irony", "data_files": "*.parquet"},
    ]
}


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("data/train-00000-of-00001.parquet", "train"),
        ("fr/validation/0000.parquet", "validation"),
        ("val.csv", "validation"),
        ("latest.csv", "train"),
        ("contest-results.csv", "train"),
    ],
)
def test_paths_name_their_split(path, split):
    assert split_of(path) == split


def test_the_card_says_which_files_are_of_a_configuration():
    emoji = {"train": [PATHS[0]], "validation": [PATHS[1]]}
    assert files_by_split(PATHS, CARD, "emoji", "x") == emoji
    assert files_by_split(PATHS, CARD, "irony", "x") == {"train": [PATHS[2]]}
    CARD["configs"][0]["default"] = True
    assert files_by_split(PATHS, CARD, None, "x") == emoji
    CARD["configs"][0].pop("default")


def test_one_of_several_must_be_named():
    with pytest.raises(RequestError, match=r"several configurations: emoji, irony"):
        files_by_split(PATHS, CARD, None, "x")
    with pytest.raises(RequestError, match=r"no configuration stance(.|\n)*emoji, irony"):
        files_by_split(PATHS, CARD, "stance", "x")


def test_without_a_card_a_configuration_is_a_folder():
    assert files_by_split(PATHS, {}, "irony", "x") == {"train": [PATHS[2]]}
    assert len(files_by_split(PATHS, {}, None, "x")["train"]) == 3
    with pytest.raises(RequestError, match="no configuration stance"):
        files_by_split(PATHS, {}, "stance", "x")


def test_only_the_files_of_the_configuration_travel(hub, alice, repo):
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.url, token=alice.token)
    api.create_repo(f"alice/{repo}", repo_type="dataset")
    for path in ("one/train.csv", "one/dev.csv", "two/train.csv"):
        api.upload_file(
            path_or_fileobj=f"text,label\n{path},x\n".encode(),
            path_in_repo=path,
            repo_id=f"alice/{repo}",
            repo_type="dataset",
        )
    loaded = load(repo, config="one", account=alice, retry=QUICK)
    files = [(split, file.relative_to(loaded.folder).as_posix()) for split, file in loaded.files()]
    assert files == [("validation", "one/dev.csv"), ("train", "one/train.csv")]


def test_a_pattern_of_a_card_takes_no_longer_than_its_length_allows():
    metadata = {"configs": [{"data_files": "*a" * 30 + "b"}, {"data_files": "**/" * 300 + "b"}]}
    paths = ["a" * 200 + ".csv", "/".join("a" * 100) + ".csv"]
    began = time.monotonic()
    for item in metadata["configs"]:
        assert files_by_split(paths, {"configs": [item]}, None, "x") == {}
    assert time.monotonic() - began < 2
