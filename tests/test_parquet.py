"""Parquet files of others: damaged ones are named, and none fills the memory."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepsynth import parquet
from deepsynth.data.formats import index_file, read_rows
from deepsynth.data.table import read_table
from deepsynth.errors import DataError
from deepsynth.hub.shards import cut


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that a test comes to without filling the memory itself."""
    monkeypatch.setattr(parquet, "LARGEST", 4 << 20)


def bomb(path: Path) -> Path:
    """A hundred megabytes of text in a file of some kilobytes: one value, again and again."""
    value = "a" * 100_000
    table = pa.table({"text": pa.array([value] * 1000).dictionary_encode().cast(pa.string())})
    pq.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 20_000
    return path


@pytest.mark.usefixtures("small")
def test_a_file_that_would_fill_the_memory_is_named(tmp_path: Path) -> None:
    path = bomb(tmp_path / "bomb.parquet")
    for read in (read_table, lambda path: cut(path, 10, tmp_path / "cut.parquet")):
        with pytest.raises(DataError, match="in memory") as told:
            read(path)
        assert told.value.where == str(path)


@pytest.mark.usefixtures("small")
def test_rows_that_are_read_one_after_the_other_are_never_together_in_memory(
    tmp_path: Path,
) -> None:
    index = index_file(bomb(tmp_path / "bomb.parquet"))
    before = pa.total_allocated_bytes()
    count = 0
    for _ in read_rows(index, ("text", "text"), 0, 1000):
        count += 1
        assert pa.total_allocated_bytes() - before < 20 << 20
    assert count == 1000


def test_rows_come_in_order_and_only_the_columns_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table = pa.table({"a": list(range(2500)), "b": ["x"] * 2500})
    pq.write_table(table, path, row_group_size=1200)
    file = parquet.open_parquet(path)
    assert parquet.read(file, path).equals(table)
    assert parquet.read(file, path, columns=["a"], groups=[1])["a"].to_pylist()[0] == 1200
    with pytest.raises(DataError, match="Parquet"):
        parquet.read(file, path, columns=["c"])


@pytest.mark.parametrize("cut_at", [0, 4, 50, -8, -1])
def test_a_damaged_file_is_named(tmp_path: Path, cut_at: int) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    path.write_bytes(path.read_bytes()[:cut_at])
    with pytest.raises(DataError, match="whole Parquet") as told:
        parquet.open_parquet(path)
    assert told.value.where == str(path)


def test_features_in_a_schema_that_are_none_are_left(tmp_path: Path) -> None:
    for told in (b"[]", b"{", b'{"info": 1}', b'{"info": {"features": {"a": {"_type": 1}}}}'):
        path = tmp_path / "t.parquet"
        schema = pa.schema({"a": pa.int64()}, metadata={b"huggingface": told})
        pq.write_table(pa.table({"a": [1]}, schema=schema), path)
        assert read_table(path).columns == {"a": [1]}
