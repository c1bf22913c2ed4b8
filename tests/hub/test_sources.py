"""Texts of the Hub as sources of pages: fetched the one way, so that every file is verified."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfApi

from deepsynth.data import opening, registry
from deepsynth.data.opening import open_corpus
from deepsynth.hub.failure import HubError
from tests.hub.fault_cases import FETCH


@pytest.fixture
def known(hub, alice, repo, tmp_path, monkeypatch):
    """The corpus mlsum_fr as it lies on the stand-in: two languages on a branch of their own."""
    monkeypatch.setenv("HF_TOKEN", alice.token)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    api = HfApi(endpoint=hub.url, token=alice.token)
    where = {"repo_id": f"alice/{repo}", "repo_type": "dataset"}
    api.create_repo(**where)
    api.create_branch(**where, branch="converted")
    for language, rows in (("fr", 4), ("es", 9)):
        for split in ("train", "validation", "test"):
            file = tmp_path / f"{language}-{split}.parquet"
            texts = {
                "text": [f"{language} {split} {n}" for n in range(rows)],
                "summary": ["s"] * rows,
            }
            pq.write_table(pa.table(texts), file)
            api.upload_file(
                path_or_fileobj=file,
                path_in_repo=f"{language}/{split}/0000.parquet",
                revision="converted",
                **where,
            )
    french = registry.known_sources()["mlsum_fr"]
    there = {"mlsum_fr": replace(french, repo=f"alice/{repo}", revision="converted")}
    monkeypatch.setattr(opening, "known_sources", lambda: there)
    hub.clear()
    return api.dataset_info(where["repo_id"], revision="converted").sha


def test_a_known_corpus_is_its_own_configuration_at_one_commit(hub, known, repo, monkeypatch):
    seen = []
    corpus = open_corpus("mlsum_fr", progress=seen.append)
    assert corpus.splits == {"train": 4, "validation": 4, "test": 4}
    assert [row.text for row in corpus.read("train", 1, 3)] == ["fr train 1", "fr train 2"]
    assert (corpus.revision, corpus.language, corpus.private_only) == (known, "fr", True)
    assert corpus.origin == f"alice/{repo}"
    assert (seen[-1].what, seen[-1].done, seen[-1].unit) == ("download", seen[-1].total, "bytes")
    hub.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert open_corpus("mlsum_fr") == corpus
    assert hub.log() == []


def test_damaged_bytes_are_not_read(hub, known, monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    hub.fault(FETCH["lfs"], corrupt=True, times=100)
    with pytest.raises(HubError, match="damaged bytes arrived twice"):
        open_corpus("mlsum_fr")
