import json
import os
import random
import resource
import signal
import subprocess
import time

import psutil
import pytest

from deepsynth.errors import StepFailed
from deepsynth.pages.generate import generate
from deepsynth.pages.pool import ATTEMPTS
from deepsynth.pages.render.settings import PageSettings
from tests.pages.generate.conftest import command, digests, environment

pytestmark = pytest.mark.slow


@pytest.fixture
def expected(source, tmp_path):
    generate(
        str(source), output_dir=tmp_path / "expected", workers=1, pages=PageSettings(mode="tiny")
    )
    return digests(tmp_path / "expected")


def options(source, home, workers=2):
    return json.dumps(
        {
            "sources": str(source),
            "output_dir": str(home),
            "workers": workers,
            "pages": {"mode": "tiny"},
        }
    )


def run(source, home, **more):
    return subprocess.Popen(
        command(options(source, home)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        **more,
    )


def wait_for_rows(process, rows):
    for line in process.stdout:
        if int(line) >= rows:
            return
    raise AssertionError(f"ended early: {process.stderr.read()}")


def test_a_killed_worker_is_replaced(source, tmp_path, expected):
    process = run(source, tmp_path / "out")
    wait_for_rows(process, 1)
    for worker in psutil.Process(process.pid).children():
        worker.send_signal(signal.SIGKILL)
    told, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert digests(tmp_path / "out") == expected
    done = [int(line) for line in told.splitlines()]
    assert max(done) == done[-1] == 2300


def test_killing_everything_again_and_again_loses_and_doubles_nothing(source, tmp_path, expected):
    generator = random.Random(0)
    home = tmp_path / "out"
    for rows in (1, 200, 1200):
        process = run(source, home)
        wait_for_rows(process, rows)
        time.sleep(generator.uniform(0, 0.05))
        family = [*psutil.Process(process.pid).children(), psutil.Process(process.pid)]
        generator.shuffle(family)
        for member in family:
            member.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        psutil.wait_procs(family, timeout=10)
    process = run(source, home)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert digests(home) == expected


def test_workers_end_when_their_caller_is_killed(source, tmp_path):
    process = run(source, tmp_path / "out")
    wait_for_rows(process, 1)
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    process.kill()
    process.communicate(timeout=60)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive


def test_a_full_disk_is_one_message_and_the_next_run_goes_on(source, tmp_path, expected):
    def small_files():
        # A file may not grow beyond this: what a full disk is to a writer, without one.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    home = tmp_path / "out"
    process = run(source, home, preexec_fn=small_files)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "a shard cannot be written" in errors
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    assert not list((home / "short" / "data").iterdir())
    process = run(source, home)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert digests(home) == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_a_disk_that_is_really_full(source, tmp_path, expected):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    try:
        process = run(source, disk / "out")
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "No space left" in errors
        subprocess.run(["mount", "-o", "remount,size=60m", str(disk)], check=True)
        process = run(source, disk / "out")
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert digests(disk / "out") == expected
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_shard_that_kills_its_worker_every_time_is_given_up(source, tmp_path, monkeypatch):
    # A worker that cannot start stands for one that is killed at the same place again and again.
    monkeypatch.setenv("PYTHONHOME", str(tmp_path / "nowhere"))
    with pytest.raises(StepFailed, match=f"died {ATTEMPTS} times .*\n.*fewer --workers"):
        generate(str(source), output_dir=tmp_path / "out", workers=1)
