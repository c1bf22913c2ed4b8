"""Kill -9 at any moment: the next run completes, and sends again at most what was under way."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from deepsynth import durable
from deepsynth.hub.journal import NAME as JOURNAL
from deepsynth.hub.publish import publish
from deepsynth.hub.remote import Remote
from deepsynth.hub.transfer import Mover
from tests.hub import fault_table
from tests.hub.conftest import QUICK
from tests.hub.fault_cases import NO_ANSWER, STORE
from tests.support.folders import make_dataset, seed_of

SHARDS = 8
KILLS = 3
COMMAND = """
import sys
from pathlib import Path
from deepsynth.hub.journal import NAME as JOURNAL
from deepsynth.hub.publish import publish
publish(Path(sys.argv[1]), repo=sys.argv[2], transport=sys.argv[3])
"""


def start(folder, repo, transport, hub, home):
    environment = {**os.environ, "HF_TOKEN": "hf_alice_write", "HF_ENDPOINT": hub.url}
    environment["HF_HOME"] = str(home)  # a new one each time: no cache of the client may help
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(folder), repo, transport],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def committed(hub):
    return len([r for r in hub.requests("/commit/main") if r["status"] == 200])


def workers_of(process):
    """The transfer processes a publisher has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == process.pid and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for the worker in /proc")
@pytest.mark.parametrize("transport", ["lfs", "xet"])
def test_a_publisher_killed_again_and_again(hub, alice, repo, tmp_path, monkeypatch, transport):
    folder = make_dataset(
        tmp_path / "d", seed=seed_of(repo), size=8_000, splits={"train": (SHARDS, 12)}
    )
    sizes = [file.stat().st_size for file in (folder / "data").iterdir()]
    moments = random.Random(transport)
    killed = 0
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    for number in range(KILLS):
        hub.fault(STORE[transport], delay=0.25, times=SHARDS)
        process = start(folder, repo, transport, hub, tmp_path / f"home{number}")
        stored = len(hub.requests(STORE[transport].split()[1]))
        wanted = stored + moments.randint(2, 3)
        while process.poll() is None and len(hub.requests(STORE[transport].split()[1])) < wanted:
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.3))
        workers = workers_of(process)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in workers):
            assert time.monotonic() < deadline, "the transfer outlived its publisher"
            time.sleep(0.02)
        hub.control("faults", method="DELETE")
    left = [path.name for path in temporary.iterdir() if path.name.startswith("deepsynth")]
    assert left == [], "nobody else cleans up behind a publisher that was killed"
    noted = {entry["path"]: entry["bytes"] for entry in durable.read_lines(folder / JOURNAL)}
    assert killed >= 2
    assert noted
    sent = hub.sent()
    commits = committed(hub)
    hub.clear()
    done = publish(folder, repo=repo, account=alice, retry=QUICK, transport=transport)
    state = Remote(alice, done.repo).state()
    for file in (folder / "data").iterdir():
        assert state.files[f"data/{file.name}"].sha256 == durable.sha256_file(file)
    assert commits + committed(hub) == 1
    if noted.keys() >= {f"data/{file.name}" for file in (folder / "data").iterdir()}:
        assert hub.sent() == 0
    else:
        # what the journal noted is not sent again; the rest is, each kill cost one shard at most
        assert hub.sent() <= 1.1 * (sum(sizes) - sum(noted.values()))
    sent += hub.sent()
    assert sent <= sum(sizes) + killed * max(sizes) * 1.1
    fault_table.record_other(
        "killed (-9) three times while uploading",
        transport,
        "the next run completes it; each kill cost at most the shard under way",
        sent / sum(sizes),
    )


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for the worker in /proc")
def test_a_transfer_that_hangs_ends_with_its_publisher(hub, repo, tmp_path):
    folder = make_dataset(tmp_path / "d", seed=seed_of(repo), splits={"train": (1, 3)})
    hub.fault(STORE["lfs"], delay=120, times=100)
    process = start(folder, repo, "lfs", hub, tmp_path / "home")
    while not hub.requests("/_s3/put"):
        assert process.poll() is None
        time.sleep(0.02)
    workers = workers_of(process)
    assert len(workers) == 1
    process.kill()
    process.wait()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{workers[0]}").exists():
        assert time.monotonic() < deadline, "the transfer outlived its publisher"
        time.sleep(0.02)


@pytest.mark.thorough
def test_the_client_alone_waits_for_a_storage_that_never_answers(hub, alice, repo, tmp_path):
    """Why transfers have a process of their own: with it, this ends after `stall_seconds`."""
    HfApi(endpoint=hub.url, token=alice.token).create_repo(f"alice/{repo}", repo_type="dataset")
    file = tmp_path / "x.bin"
    file.write_bytes(random.Random(repo).randbytes(100_000))
    hub.fault(STORE["xet"], **NO_ANSWER)
    script = (
        "import sys\nfrom huggingface_hub import HfApi\n"
        "HfApi(endpoint=sys.argv[1], token='hf_alice_write').upload_file("
        "path_or_fileobj=sys.argv[2], path_in_repo='x.bin', repo_id=sys.argv[3],"
        " repo_type='dataset')"
    )
    patience = Mover(alice, retry=QUICK)._environment("xet")
    process = subprocess.Popen(
        [sys.executable, "-c", script, hub.url, str(file), f"alice/{repo}"],
        env={**os.environ, **patience, "HF_HOME": str(tmp_path / "hf")},
        stderr=subprocess.DEVNULL,
    )
    try:
        while not any(request["fault"] for request in hub.log()):
            assert process.poll() is None
            time.sleep(0.05)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(15)
    finally:
        process.kill()
        process.wait()
