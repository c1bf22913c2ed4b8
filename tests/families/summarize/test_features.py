from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from deepsynth.errors import DataError, RequestError
from deepsynth.families.summarize.features import FeatureStore, require_space


def store(folder: Path) -> FeatureStore:
    return FeatureStore(folder, ["encoder", "processor"], 8, torch.bfloat16)


def features(seed: int, tokens: int = 3) -> torch.Tensor:
    return torch.randn(tokens, 8, generator=torch.Generator().manual_seed(seed)).bfloat16()


def test_features_come_back_bit_for_bit_in_another_process(tmp_path: Path) -> None:
    first = store(tmp_path)
    first.add([("a", features(1)), ("b", features(2, 5))])
    first.add([("c", features(3))])
    for again in (store(tmp_path), pickle.loads(pickle.dumps(first))):
        assert len(again) == 3
        assert torch.equal(again["b"], features(2, 5))
        assert torch.equal(again["c"], features(3))


def test_another_encoder_or_precision_has_another_folder(tmp_path: Path) -> None:
    store(tmp_path).add([("a", features(1))])
    other = FeatureStore(tmp_path, ["other encoder", "processor"], 8, torch.bfloat16)
    assert "a" not in other
    assert "a" not in FeatureStore(tmp_path, ["encoder", "processor"], 8, torch.float32)


@pytest.mark.parametrize("lost", [1, 8, 20])
def test_what_a_kill_left_half_written_is_encoded_again(lost: int, tmp_path: Path) -> None:
    first = store(tmp_path)
    first.add([("a", features(1))])
    first.add([("b", features(2)), ("c", features(3))])
    index = first.folder / "index.jsonl"
    index.write_bytes(index.read_bytes()[:-lost])
    with (first.folder / "features.bin").open("ab") as data:
        data.write(b"half a page")
    again = store(tmp_path)
    again.add([(key, features(number)) for key, number in (("b", 2), ("c", 3)) if key not in again])
    final = store(tmp_path)
    for key, number in (("a", 1), ("b", 2), ("c", 3)):
        assert torch.equal(final[key], features(number))


def test_index_lines_without_their_bytes_are_not_trusted(tmp_path: Path) -> None:
    first = store(tmp_path)
    first.add([("a", features(1)), ("b", features(2))])
    data = first.folder / "features.bin"
    data.write_bytes(data.read_bytes()[:-1])
    assert "a" in store(tmp_path)
    assert "b" not in store(tmp_path)


def test_a_disk_that_fills_up_is_one_message_and_loses_nothing(tmp_path: Path) -> None:
    first = store(tmp_path)
    first.add([("a", features(1))])
    data = first.folder / "features.bin"
    kept = data.rename(tmp_path / "kept")
    data.symlink_to("/dev/full")
    with pytest.raises(RequestError, match="the disk is full") as caught:
        first.add([("b", features(2))])
    assert "train.cache_dir" in (caught.value.hint or "")
    assert "b" not in first
    data.unlink()
    kept.rename(data)
    again = store(tmp_path)
    assert torch.equal(again["a"], features(1))
    again.add([("b", features(2))])
    assert torch.equal(store(tmp_path)["b"], features(2))


def test_space_is_asked_for_in_advance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = store(tmp_path)
    assert "1,000 pages to encode" in require_space(cache, 1000, 257, 1.0)
    with pytest.raises(RequestError, match=r"more than train\.cache_max_gb"):
        require_space(cache, 10_000_000, 257, 1.0)
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(
        "deepsynth.families.summarize.features.shutil.disk_usage", lambda path: usage
    )
    with pytest.raises(RequestError, match="the disk has") as caught:
        require_space(cache, 1000, 257, 1.0)
    assert "train.cache_features: false" in (caught.value.hint or "")


def test_features_that_are_not_what_was_written_are_refused(tmp_path: Path) -> None:
    first = store(tmp_path)
    first.add([("a", features(1)), ("b", features(2))])
    data = first.folder / "features.bin"
    half = data.stat().st_size // 2
    data.write_bytes(data.read_bytes()[:half] + bytes(half))
    again = store(tmp_path)
    assert torch.equal(again["a"], features(1))
    with pytest.raises(DataError, match="cached features") as caught:
        again["b"]
    assert str(first.folder) in (caught.value.hint or "")


def test_features_from_before_there_was_a_checksum_are_encoded_again(tmp_path: Path) -> None:
    first = store(tmp_path)
    first.add([("a", features(1))])
    (first.folder / "index.jsonl").write_text('["a", 0, 3]\n')
    assert "a" not in store(tmp_path)
