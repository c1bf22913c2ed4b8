"""Loading: the commit the token sees now, only what is needed, every byte verified."""

import hashlib
import json

import pyarrow.parquet as pq
import pytest

from deepsynth.errors import DataError, RequestError
from deepsynth.hub.account import Account
from deepsynth.hub.failure import HubError
from deepsynth.hub.load import load, parse_spec
from deepsynth.hub.publish import publish
from deepsynth.hub.remote import RemoteFile, RemoteState
from deepsynth.hub.selection import select
from tests.hub import fault_table
from tests.hub.conftest import QUICK
from tests.support.folders import make_dataset, seed_of


@pytest.fixture
def published(alice, repo, tmp_path):
    folder = make_dataset(tmp_path / "made")
    return folder, publish(folder, repo=repo, account=alice, retry=QUICK, transport="lfs")


def bytes_of(folder):
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted((folder / "data").iterdir())
    }


@pytest.mark.parametrize("transport", ["lfs", "xet"])
def test_what_was_published_comes_back_byte_for_byte(hub, alice, published, transport):
    folder, done = published
    loaded = load(f"hub:{done.repo}", account=alice, retry=QUICK, transport=transport)
    assert loaded.sha == done.sha
    assert bytes_of(loaded.folder) == bytes_of(folder)
    assert loaded.rows == {"train": 120, "validation": 12, "test": 12}
    manifest = json.loads((loaded.folder / "manifest.json").read_text())
    assert manifest["hub"]["sha"] == done.sha
    assert manifest["settings"] == {"seed": 0}
    hub.clear()
    again = load(done.repo, account=alice, retry=QUICK, transport=transport)
    assert (again.folder, again.fetched_bytes) == (loaded.folder, 0)
    assert not hub.requests("/_s3/")


def test_only_the_splits_and_shards_that_are_needed_travel(hub, alice, published):
    _, done = published
    hub.clear()
    loaded = load(
        done.repo, splits=["train"], max_samples=45, account=alice, retry=QUICK, transport="lfs"
    )
    assert loaded.rows == {"train": 45}
    fetched = {
        r["req"].split("/data/")[1] for r in hub.requests("/resolve/") if "/data/" in r["req"]
    }
    assert fetched == {"train-00000-of-00003.parquet", "train-00001-of-00003.parquet"}
    rows = pq.read_table(loaded.folder / "data/train-00001-of-00003.parquet").to_pylist()
    assert [r["text"] for r in rows] == [f"texte é 1-{i}" for i in range(5)]


def test_few_samples_of_a_large_shard_are_streamed(hub, alice, repo, tmp_path):
    folder = make_dataset(tmp_path / "big", size=60_000, splits={"train": (1, 60)})
    done = publish(folder, repo=repo, account=alice, retry=QUICK, transport="lfs")
    hub.clear()
    loaded = load(done.repo, max_samples=5, account=alice, retry=QUICK)
    assert loaded.rows == {"train": 5}
    travelled = sum(r["out"] for r in hub.log() if "/_s3/" in r["req"])
    assert travelled < 0.6 * (folder / "data/train-00000-of-00001.parquet").stat().st_size


@pytest.mark.parametrize("times", [1, 100_000])
def test_streamed_rows_are_verified_by_their_page_checksums(hub, alice, repo, tmp_path, times):
    folder = make_dataset(
        tmp_path / "big", seed=seed_of(repo), size=60_000, splits={"train": (1, 60)}
    )
    done = publish(folder, repo=repo, account=alice, retry=QUICK, transport="lfs")
    hub.fault("GET /_s3/get", corrupt=True, times=times)
    source = pq.read_table(folder / "data/train-00000-of-00001.parquet").slice(0, 5)
    if times > 1:
        with pytest.raises(HubError, match="damaged bytes arrived twice"):
            load(done.repo, max_samples=5, account=alice, retry=QUICK)
        hub.clear()
    loaded = load(done.repo, max_samples=5, account=alice, retry=QUICK)
    assert pq.read_table(loaded.folder / "data/train-00000-of-00001.parquet").equals(source)


def test_a_revision_is_a_tag_a_commit_or_a_branch(alice, repo, tmp_path):
    old = publish(
        make_dataset(tmp_path / "a"), repo=repo, tag="2026-11", account=alice, retry=QUICK
    )
    new = publish(make_dataset(tmp_path / "b", seed=1), repo=repo, account=alice, retry=QUICK)
    assert new.sha != old.sha
    for revision, sha in (("2026-11", old.sha), (old.sha, old.sha), ("main", new.sha)):
        assert load(f"{repo}@{revision}", account=alice, retry=QUICK).sha == sha


def test_a_revoked_token_is_an_error_though_all_is_cached(hub, published):
    _, done = published
    hub.control("users", {"token": "hf_soon_gone", "name": "alice"})
    account = Account(token="hf_soon_gone", username="alice", endpoint=hub.url)
    first = load(done.repo, account=account, retry=QUICK)
    hub.control("users", {"token": "hf_soon_gone"}, method="DELETE")
    with pytest.raises(RequestError, match=r"token was not accepted.*\(401\)"):
        load(done.repo, account=account, retry=QUICK)
    assert load(done.repo, offline=True, account=account).folder == first.folder
    fault_table.record_other(
        "token revoked, everything cached",
        "both",
        "stops: *the token was not accepted while looking at the repository (401)*; only "
        "`offline` reads the cache",
    )


def test_offline_reads_only_what_an_earlier_load_left(hub, alice, published):
    _, done = published
    load(done.repo, max_samples=3, account=alice, retry=QUICK)
    hub.clear()
    kept = load(done.repo, max_samples=3, offline=True, account=alice)
    assert kept.sha == done.sha
    assert hub.log() == []
    with pytest.raises(DataError, match="not here"):
        load(done.repo, offline=True, account=alice)


def test_a_damaged_local_copy_is_noticed_and_fetched_again(alice, published):
    folder, done = published
    loaded = load(done.repo, account=alice, retry=QUICK, transport="lfs")
    victim = loaded.folder / "data/test-00000-of-00001.parquet"
    data = bytearray(victim.read_bytes())
    data[100] ^= 1
    victim.write_bytes(data)
    with pytest.raises(DataError, match="not here"):
        load(done.repo, offline=True, account=alice)
    again = load(done.repo, account=alice, retry=QUICK, transport="lfs")
    assert bytes_of(again.folder) == bytes_of(folder)


@pytest.mark.filterwarnings("ignore:hf_xet.upload_bytes:DeprecationWarning")  # of hub 1.16
def test_a_dataset_of_someone_else_loads_without_our_manifest(hub, alice, repo, tmp_path):
    from huggingface_hub import HfApi

    folder = make_dataset(tmp_path / "d")
    api = HfApi(endpoint=hub.url, token="hf_bob_write")
    api.create_repo(f"bob/{repo}", repo_type="dataset")
    for file in sorted((folder / "data").iterdir()):
        api.upload_file(
            path_or_fileobj=file.read_bytes(),
            path_in_repo=f"data/{file.name}",
            repo_id=f"bob/{repo}",
            repo_type="dataset",
        )
    loaded = load(f"bob/{repo}", max_samples=50, account=alice, retry=QUICK)
    assert loaded.rows == {"train": 50, "validation": 12, "test": 12}


@pytest.mark.parametrize(
    ("spec", "splits", "said"),
    [
        ("{repo}@nowhere", None, "404"),
        ("alice/none-such", None, "404"),
        ("{repo}", ["dev"], "no split dev"),
    ],
)
def test_what_is_not_there_is_named(alice, published, spec, splits, said):
    _, done = published
    with pytest.raises(RequestError, match=said):
        load(spec.format(repo=done.repo), splits=splits, account=alice, retry=QUICK)


def test_a_public_dataset_needs_no_token(hub, alice, repo, tmp_path):
    folder = make_dataset(tmp_path / "d")
    done = publish(folder, repo=repo, private=False, account=alice, retry=QUICK, transport="lfs")
    for transport in ("lfs", "xet"):
        loaded = load(
            done.repo, account=Account(endpoint=hub.url), retry=QUICK, transport=transport
        )
        assert bytes_of(loaded.folder) == bytes_of(folder)


def test_a_full_disk_is_said_before_anything_travels(hub, alice, published, monkeypatch, tmp_path):
    _, done = published
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    hub.clear()
    with pytest.raises(HubError, match="do not fit under the cache"):
        load(done.repo, account=alice, retry=QUICK)
    assert not hub.requests("/_s3/")


@pytest.mark.parametrize("path", ["../../outside.parquet", "/etc/x.parquet"])
def test_a_file_that_would_leave_the_folder_is_refused(path):
    state = RemoteState("a/b", True, files={path: RemoteFile(path, 1, None, "")})
    with pytest.raises(DataError, match="outside of itself"):
        select(state, None, None, None, lambda _: None, "a/b")


@pytest.mark.parametrize("spec", ["a/b/c", "x@", "../x", ""])
def test_a_bad_name_is_refused(spec):
    with pytest.raises(RequestError):
        parse_spec(spec)
