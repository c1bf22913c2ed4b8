from itertools import pairwise

import pytest

from deepsynth.errors import RequestError
from deepsynth.pages.identity import claim, differences
from deepsynth.pages.shards import ROWS_PER_SHARD, ShardRange, plan_shards

SPLITS = {"train": 2500, "validation": 300, "test": 10}


def covered(shards):
    return [(s.split, row) for s in shards for row in range(s.start, s.stop)]


def test_shards_cover_every_row_once():
    shards = plan_shards(SPLITS)
    assert covered(shards) == [(split, row) for split, n in SPLITS.items() for row in range(n)]
    assert max(s.stop - s.start for s in shards) == ROWS_PER_SHARD == 1000


@pytest.mark.parametrize("cuts", [[1000, 2000], [1], [999, 1001, 2500, 2801], [2500]])
def test_chunks_cover_every_row_once_wherever_they_are_cut(cuts):
    edges = [0, *cuts, sum(SPLITS.values())]
    chunks = [plan_shards(SPLITS, a, b) for a, b in pairwise(edges)]
    assert [row for chunk in chunks for row in covered(chunk)] == covered(plan_shards(SPLITS))


def test_chunks_cut_at_thousands_have_the_shards_of_the_whole():
    whole = plan_shards(SPLITS)
    assert plan_shards(SPLITS, 0, 2000) + plan_shards(SPLITS, 2000, None) == whole


def test_names_sort_in_row_order():
    names = [ShardRange("train", start, start + 1).name for start in (0, 999, 1000, 123_456_789)]
    assert names == sorted(names)


def test_a_folder_of_other_things_is_not_taken(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RequestError, match="files that are not a dataset of pages"):
        claim(tmp_path, {"a": 1})
    claim(tmp_path / "new", {"a": {"b": 1}})
    claim(tmp_path / "new", {"a": {"b": 1}})
    with pytest.raises(RequestError, match=r"a\.b 1 -> 2"):
        claim(tmp_path / "new", {"a": {"b": 2}})


def test_differences_are_short():
    assert differences({"a": 1, "b": {"c": "x" * 99}}, {"b": {"c": "y"}}).startswith(
        "a 1 -> absent; b.c xxxxxxxxxxxxxxxxxxxxx... -> y"
    )
    many = {str(i): i for i in range(20)}
    assert differences(many, {}).endswith("and 14 more")
