"""Kill -9 at any moment: the next run completes, and sends again at most what was under way."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepsynth import durable
from deepsynth.hub.publish import publish
from deepsynth.hub.remote import Remote
from tests.hub import fault_table
from tests.hub.conftest import QUICK
from tests.hub.fault_cases import STORE
from tests.hub.folders import make_dataset, seed_of

SHARDS = 6
KILLS = 3
COMMAND = """
import sys
from pathlib import Path
from deepsynth.hub.publish import publish
publish(Path(sys.argv[1]), repo=sys.argv[2], transport=sys.argv[3])
"""


def start(folder, repo, transport, hub):
    environment = {**os.environ, "HF_TOKEN": "hf_alice_write", "HF_ENDPOINT": hub.url}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(folder), repo, transport],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


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
def test_a_publisher_killed_again_and_again(hub, alice, repo, tmp_path, transport):
    folder = make_dataset(
        tmp_path / "d", seed=seed_of(repo), size=8_000, splits={"train": (SHARDS, 12)}
    )
    sizes = [file.stat().st_size for file in (folder / "data").iterdir()]
    moments = random.Random(transport)
    killed = 0
    for _ in range(KILLS):
        hub.fault(STORE[transport], delay=0.25, times=SHARDS)
        process = start(folder, repo, transport, hub)
        stored = len(hub.requests(STORE[transport].split()[1]))
        wanted = stored + moments.randint(1, 2)
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
    done = publish(folder, repo=repo, account=alice, retry=QUICK, transport=transport)
    assert killed >= 2
    state = Remote(alice, done.repo).state()
    for file in (folder / "data").iterdir():
        assert state.files[f"data/{file.name}"].sha256 == durable.sha256_file(file)
    assert len([r for r in hub.requests("/commit/main") if r["status"] == 200]) == 1
    # each kill may cost the one shard that was under way, and nothing else
    assert hub.sent() <= sum(sizes) + killed * max(sizes) * 1.1
    fault_table.record_other(
        "killed (-9) three times while uploading",
        transport,
        "the next run completes it; each kill cost at most the shard under way",
        hub.sent() / sum(sizes),
    )
