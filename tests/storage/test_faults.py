"""What goes wrong between a machine and a real S3."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from deepsynth import durable, storage
from deepsynth.storage import stores
from tests.servers.s3 import Ceph
from tests.servers.s3.link import bad_link
from tests.storage.conftest import MEBIBYTE, write_folder


@pytest.fixture
def url(ceph: Ceph) -> str:
    """A location in a bucket, not used yet."""
    return f"s3://tests/{uuid.uuid4().hex[:12]}"


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Change the environment a store is opened with."""

    def change(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        stores._open.cache_clear()

    return change


@pytest.mark.parametrize(
    ("change", "place", "what", "remedy"),
    [
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "tests", "does not know this access key", "AWS_ACC"),
        ({"AWS_SECRET_ACCESS_KEY": "guess"}, "tests", "refuses the secret key", "AWS_SECRET"),
        ({}, "no-such-bucket", "no such bucket", "Check the name"),
    ],
)
def test_a_wrong_request_is_told_and_keys_are_not(
    ceph: Ceph,
    use: Callable[..., None],
    tmp_path: Path,
    change: dict[str, str],
    place: str,
    what: str,
    remedy: str,
) -> None:
    use(**change)
    with pytest.raises(storage.LocationError, match=what) as error:
        storage.publish(write_folder(tmp_path / "run"), f"s3://{place}/x")
    assert remedy in str(error.value)
    assert error.value.exit_code == 2
    for secret in ("deepsynthsecret", "guess", "Signature="):
        assert secret not in str(error.value)
    assert error.value.__cause__ is None


def test_a_wrong_clock_is_told(ceph: Ceph, tmp_path: Path) -> None:
    if not shutil.which("faketime"):
        pytest.skip("not installed: faketime")
    script = (
        "import sys; from pathlib import Path; from deepsynth import storage\n"
        "try: storage.publish(Path(sys.argv[1]), 's3://tests/clock')\n"
        "except storage.LocationError as error: print(error)\n"
    )
    folder = write_folder(tmp_path / "run")
    told = subprocess.run(
        ["faketime", "-f", "-2h", sys.executable, "-c", script, folder],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "the clock of this machine is too far from the clock of the storage" in told.stdout


def test_a_gateway_killed_during_an_upload_leaves_the_old_folder_whole(
    ceph: Ceph, url: str, use: Callable[..., None], tmp_path: Path
) -> None:
    old, new = write_folder(tmp_path / "old", 1), write_folder(tmp_path / "new", 2, mebibytes=24)
    before = storage.publish(old, url)
    with bad_link(ceph.port, bytes_per_second=16 * MEBIBYTE) as link:
        use(**ceph.environment(link.port))
        failed: list[BaseException] = []

        def upload() -> None:
            try:
                storage.publish(new, url, replace=True)
            except Exception as error:
                failed.append(error)

        writer = threading.Thread(target=upload)
        writer.start()
        while link.sent < 10 * MEBIBYTE:
            time.sleep(0.01)
        ceph.kill_gateway()
        try:
            time.sleep(0.5)
        finally:
            ceph.start_gateway()
        # A reader now: the folder that was whole before.
        use(**ceph.environment())
        assert storage.read_publication(url) == before
        assert durable.digest(storage.fetch(url, tmp_path / "a")) == durable.digest(old)
        writer.join()
    # The writer waited the crash out by itself, or is told to do it again.
    if failed:
        assert "it goes on from there" in str(failed[0])
    storage.publish(new, url, replace=True)
    assert durable.digest(storage.fetch(url, tmp_path / "b")) == durable.digest(new)


def test_a_connection_cut_during_a_download_is_taken_up(
    ceph: Ceph, url: str, use: Callable[..., None], tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "run", mebibytes=24)
    storage.publish(folder, url)
    with bad_link(ceph.port, cut_after=10 * MEBIBYTE, cuts=2) as link:
        use(**ceph.environment(link.port))
        back = storage.fetch(url, tmp_path / "back")
    assert link.cuts == 0
    assert durable.digest(back) == durable.digest(folder)


def test_a_slow_link_is_waited_for(
    ceph: Ceph, url: str, use: Callable[..., None], tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "run", mebibytes=2)
    with bad_link(ceph.port, bytes_per_second=MEBIBYTE) as link:
        use(**ceph.environment(link.port))
        started = time.monotonic()
        storage.publish(folder, url)
        back = storage.fetch(url, tmp_path / "back")
        assert time.monotonic() - started > 3
    assert durable.digest(back) == durable.digest(folder)


def test_a_service_that_is_away_is_told(
    ceph: Ceph, use: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(stores._RETRY, "max_retries", 1)
    use(AWS_ENDPOINT_URL="http://127.0.0.1:9")
    with pytest.raises(storage.StorageError, match="cannot be reached") as error:
        storage.publish(write_folder(tmp_path / "run"), "s3://tests/x")
    assert "AWS_ENDPOINT_URL" in str(error.value)


@pytest.mark.slow
def test_memory_stays_small_whatever_the_size(ceph: Ceph, url: str, tmp_path: Path) -> None:
    script = (
        "import resource, sys; from pathlib import Path; from deepsynth import storage\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "storage.read_publication(sys.argv[2]); before = peak()\n"
        "storage.publish(Path(sys.argv[1]), sys.argv[2]); sent = peak()\n"
        "storage.fetch(sys.argv[2], Path(sys.argv[3]))\n"
        "print(sent - before, peak() - before)\n"
    )
    folder = tmp_path / "run"
    folder.mkdir()
    with (folder / "weights").open("wb") as stream:
        stream.truncate(256 * MEBIBYTE)
    told = subprocess.run(
        [sys.executable, "-c", script, folder, url, tmp_path / "back"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    sent, both = map(int, told.stdout.split())
    assert sent < 100
    assert both < 128
