"""Full and unwritable cache folders: explained, and gone around where that is possible."""

import os
import shutil
import subprocess

import pytest

from deepsynth.hub.doctor import doctor
from deepsynth.hub.failure import HubError
from deepsynth.hub.load import load
from deepsynth.hub.publish import publish
from tests.hub import fault_table
from tests.hub.conftest import QUICK
from tests.support.folders import make_dataset, seed_of


@pytest.fixture
def full_disk(tmp_path):
    """A file system of its own with no byte left; skipped where none can be mounted."""
    place = tmp_path / "full"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        (place / "filler").write_bytes(bytes(2 << 20))
        assert shutil.disk_usage(place).free == 0
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def blocked(tmp_path):
    """A cache folder that cannot be made, since a file is in its way."""
    (tmp_path / "file").write_text("in the way")
    return tmp_path / "file" / "cache"


@pytest.mark.parametrize("kind", ["full_disk", "blocked"])
def test_a_bad_xet_cache_is_gone_around_or_named(
    hub, alice, repo, tmp_path, monkeypatch, request, kind
):
    cache = request.getfixturevalue(kind)
    monkeypatch.setenv("HF_XET_CACHE", str(cache))
    folder = make_dataset(tmp_path / "d", seed=seed_of(repo))
    options = {"repo": repo, "account": alice, "retry": QUICK}
    with pytest.raises(HubError, match="Xet cache cannot be written") as caught:
        publish(folder, transport="xet", **options)
    assert "MerkleDB Shard error: File I/O error" in str(caught.value)
    notices = []
    done = publish(folder, progress=lambda p: notices.append(p.note), **options)
    assert done.transport == "lfs"
    assert any("Xet cache" in text and "using LFS" in text for text in notices)
    found = [f for f in doctor(alice) if f.where == str(cache)]
    assert "MerkleDB Shard error: File I/O error" in found[0].what
    assert "HF_XET_CACHE" in found[0].fix
    fault_table.record_other(
        "Xet cache full", "auto", "goes on over LFS and says why; `doctor` names the folder"
    )


def test_a_xet_cache_that_fills_up_on_the_way_ends_on_lfs(hub, alice, repo, tmp_path):
    """The probe saw room; then the transfer fails: auto goes on over LFS by itself."""
    hub.fault("POST /_cas/v1/shards", status=500, times=100_000)
    notices = []
    folder = make_dataset(tmp_path / "d", seed=seed_of(repo))
    done = publish(
        folder, repo=repo, account=alice, retry=QUICK, progress=lambda p: notices.append(p.note)
    )
    assert done.transport == "lfs"
    assert any(text.startswith("Xet failed") and "LFS" in text for text in notices)
    fault_table.record_other("Xet fails on the way", "auto", "goes on over LFS and says why")


def test_a_full_download_cache_is_named(hub, alice, repo, tmp_path, monkeypatch, full_disk):
    folder = make_dataset(tmp_path / "d", seed=seed_of(repo))
    publish(folder, repo=repo, account=alice, retry=QUICK, transport="lfs")
    hub.clear()
    monkeypatch.setenv("HF_HUB_CACHE", str(full_disk))
    with pytest.raises(HubError, match="do not fit under the cache") as caught:
        load(repo, account=alice, retry=QUICK)
    assert str(full_disk) in str(caught.value)
    assert not hub.requests("/_s3/")
    fault_table.record_other(
        "download cache full", "both", "stops before anything travels, and names the folder"
    )
