"""What goes wrong between a laptop and a centre: nothing is lost, and each has its message."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deepsynth.errors import StepFailed
from deepsynth.run.run import Run
from deepsynth.run.step import Step
from deepsynth.runners.slurm.connection import ConnectionLost, RemoteError
from deepsynth.runners.slurm.journey import need_record
from deepsynth.runners.slurm.runner import SlurmRunner, attach
from deepsynth.runners.slurm.transfer import Transfer, TransferFailed
from tests.servers.remote import RemoteHost
from tests.support.toy import counted, counting, make_run, shell

CUT = "pkill -f '^sshd: alice' || true"


def reader(source: Path) -> Step:
    """A step that copies what it was sent."""
    return shell(
        "train",
        'mkdir -p "$0/model"; find "$0/sources" -type f -print0 | sort -z | '
        'xargs -0 cat > "$0/model/copy"',
        sources={"data": str(source)},
        outputs=["model"],
    )


def listening(runner: SlurmRunner) -> list[str]:
    """What the runner says."""
    said: list[str] = []
    runner.say = said.append
    return said


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("how", ["ssh is cut", "rsync is killed"])
def test_a_cut_transfer_goes_on_where_it_stopped(
    how: str,
    hpc: SlurmRunner,
    remote_host: RemoteHost,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = tmp_path / "bin"
    slow.mkdir()
    calls = tmp_path / "calls"
    (slow / "rsync").write_text(
        f'#!/bin/sh\necho "$$" >>"{calls}"\nexec /usr/bin/rsync --bwlimit=15m --stats '
        f'--log-file="{tmp_path}/rsync.log" "$@"\n'
    )
    (slow / "rsync").chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow}:{os.environ['PATH']}")
    big = tmp_path / "big.bin"
    size = 40_000_000
    big.write_bytes(os.urandom(size))
    run = make_run(tmp_path / "run", reader(big))
    hpc.__dict__["transfer"] = Transfer(hpc.connection, patience=0.1)

    def there() -> int:
        text = remote_host.root("du -sk /home/alice/deepsynth/sources 2>/dev/null || echo 0")
        return int(text.split()[0])

    before = there()

    def disturb() -> None:
        wait_for(lambda: there() > before + 14_000)
        if how == "ssh is cut":
            remote_host.root(CUT)
        else:
            os.kill(int(calls.read_text().split()[0]), 9)

    thread = threading.Thread(target=disturb)
    thread.start()
    hpc.submit(run)
    thread.join()
    assert calls.read_text().count("\n") >= 3, "nothing was cut"
    hpc.run(run, run.plan.steps)
    assert (run.path / "model" / "copy").read_bytes() == big.read_bytes()
    log = (tmp_path / "rsync.log").read_text()
    sent = [
        int(line.split()[-2].replace(",", "")) for line in log.splitlines() if "Literal" in line
    ]
    assert sent[0] < size * 0.8, "it began again from nothing"
    told = [event for event in run.events() if event.get("step") == "Sending big.bin"]
    assert [told[0]["kind"], told[-1]["kind"]] == ["step_started", "step_done"]
    assert {(event["total"], event["unit"]) for event in told[1:-1]} == {(100, "%")}
    assert told[-2]["note"].endswith("B/s")


def test_a_lost_connection_is_waited_out(
    hpc: SlurmRunner, remote_host: RemoteHost, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", counting(40, 0.1))
    said = listening(hpc)
    hpc.submit(run)

    def disturb() -> None:
        remote_host.root(f"echo 'maintenance' >/etc/nologin; {CUT}")
        try:
            wait_for(lambda: any("cannot be reached" in line for line in said), 20)
        finally:
            remote_host.root("rm /etc/nologin")

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        hpc.follow(run)
    finally:
        thread.join()
    hpc.fetch(run)
    assert "The connection is back." in said
    assert (run.path / "model" / "weights").read_text() == counted(40)


def test_a_restarted_slurmctld_is_waited_out(
    hpc: SlurmRunner, remote_host: RemoteHost, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", counting(40, 0.1))
    said = listening(hpc)
    hpc.submit(run)
    remote_host.root("kill $(cat /opt/slurm/run/slurmctld.pid); sleep 0.5")
    thread = threading.Timer(3, lambda: remote_host.root("slurmctld"))
    thread.start()
    hpc.run(run, run.plan.steps)
    thread.join()
    assert (run.path / "model" / "weights").read_text() == counted(40), said


def test_a_refused_job_leaves_nothing_in_the_queue(
    hpc: SlurmRunner, remote_host: RemoteHost, tmp_path: Path
) -> None:
    site = hpc.site.model_copy(update={"partition": "publicgup"})
    gpu = counting(5, after=["prepare"]).resources.model_copy(update={"gpus": 1})
    run = make_run(
        tmp_path / "run",
        shell("prepare", "sleep 30"),
        counting(5, after=["prepare"], resources=gpu),
    )
    with pytest.raises(RemoteError, match="invalid partition") as caught:
        SlurmRunner("hpc", site, lambda line: None).submit(run)
    assert "doctor --on" in str(caught.value.hint)
    wait_for(lambda: not remote_host.root("squeue -h").strip(), 15)


def test_a_drained_node_is_told_in_words(
    hpc: SlurmRunner, remote_host: RemoteHost, tmp_path: Path
) -> None:
    remote_host.root("scontrol update nodename=n2 state=drain reason=repair")
    try:
        run = make_run(tmp_path / "run", counting(5))
        hpc.submit(run)
        wait_for(lambda: "down" in hpc.lines(run)[0], 20)
    finally:
        remote_host.root("scontrol update nodename=n2 state=resume")
    hpc.run(run, run.plan.steps)


def test_scancel_by_hand_is_told(hpc: SlurmRunner, remote_host: RemoteHost, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", shell("train", "sleep 60"))
    hpc.submit(run)
    wait_for(lambda: hpc.status(run).kind("train") == "running")
    remote_host.root("scancel -u alice")
    with pytest.raises(StepFailed, match="it was cancelled") as caught:
        hpc.follow(run)
    assert "--resume" in str(caught.value.hint)


def test_a_full_disk_is_told_and_the_transfer_goes_on_later(
    hpc: SlurmRunner, remote_host: RemoteHost, tmp_path: Path
) -> None:
    remote_host.root(
        "mkdir -p /home/alice/small; mount -t tmpfs -o size=4m small /home/alice/small"
    )
    remote_host.root("chown alice /home/alice/small")
    (tmp_path / "pages").mkdir()
    for number in range(4):
        (tmp_path / "pages" / f"{number}.bin").write_bytes(os.urandom(2_000_000))
    run = make_run(tmp_path / "run", reader(tmp_path / "pages"))
    site = hpc.site.model_copy(update={"workspace": "~/small"})
    runner = SlurmRunner("hpc", site, lambda line: None)
    with pytest.raises(TransferFailed, match="No space left") as caught:
        runner.submit(run)
    assert "deepsynth clean" in str(caught.value.hint)
    remote_host.root("mount -o remount,size=60m /home/alice/small")
    runner.run(run, run.plan.steps)
    assert (run.path / "model" / "copy").stat().st_size == 8_000_000


def test_a_step_that_fills_the_disk_is_told_and_goes_on_later(
    hpc: SlurmRunner, remote_host: RemoteHost, tmp_path: Path
) -> None:
    place = "/home/alice/little"
    remote_host.root(
        f"mkdir -p {place}; mount -t tmpfs -o size=2m little {place}; chown alice {place}"
    )
    write = 'mkdir -p "$0/model"; head -c 5000000 /dev/zero > "$0/model/weights"'
    run = make_run(tmp_path / "run", shell("train", write, outputs=["model"]))
    site = hpc.site.model_copy(update={"workspace": "~/little"})
    runner = SlurmRunner("hpc", site, lambda line: None)
    with pytest.raises(StepFailed, match="no space left on the disk") as caught:
        runner.run(run, run.plan.steps)
    assert "deepsynth clean --on" in str(caught.value.hint)
    remote_host.root(f"mount -o remount,size=20m {place}")
    runner.run(run, run.plan.steps)
    assert (run.path / "model" / "weights").stat().st_size == 5_000_000


def test_names_with_spaces_and_accents(
    hpc: SlurmRunner, remote_host: RemoteHost, tmp_path: Path
) -> None:
    folder = tmp_path / "Zoé d'Été" / "mes données"
    folder.mkdir(parents=True)
    (folder / 'l\'œuvre "1" $x.txt').write_text("page")
    site = hpc.site.model_copy(update={"workspace": "~/Zoé Dupont/l'atelier $x"})
    run = make_run(tmp_path / "Zoé d'Été" / "l'essai (1)", reader(folder))
    SlurmRunner("hpc", site, lambda line: None).run(run, run.plan.steps)
    assert (run.path / "model" / "copy").read_text() == "page"
    assert "/Zoé Dupont/l'atelier $x/runs/l_essai_1-" in need_record(run).folder


def test_changed_bytes_go_even_when_size_and_time_are_the_same(
    hpc: SlurmRunner, tmp_path: Path
) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    page, gone = folder / "page.txt", folder / "gone.txt"
    page.write_text("old")
    gone.write_text("gone")
    before = page.stat()
    first = make_run(tmp_path / "first", reader(folder))
    hpc.run(first, first.plan.steps)
    page.write_text("new")
    gone.unlink()
    os.utime(page, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = make_run(tmp_path / "second", reader(folder))
    hpc.run(second, second.plan.steps)
    assert (first.path / "model" / "copy").read_text() == "goneold"
    assert (second.path / "model" / "copy").read_text() == "new"


def test_two_laptops_fetch_at_once(hpc: SlurmRunner, tmp_path: Path) -> None:
    run = make_run(tmp_path / "one", counting(5))
    hpc.submit(run)
    shutil.copytree(run.path, tmp_path / "two")
    hpc.follow(run)
    failures: list[BaseException] = []

    def fetch(path: Path) -> None:
        try:
            own = Run.open(path)
            attach(own).fetch(own)
        except BaseException as error:
            failures.append(error)

    paths = [run.path, run.path, tmp_path / "two", tmp_path / "two"]
    threads = [threading.Thread(target=fetch, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for path in paths[1:3]:
        assert (path / "model" / "weights").read_text() == counted(5)


def test_a_file_changed_there_is_not_taken(
    hpc: SlurmRunner, remote_host: RemoteHost, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", counting(5))
    hpc.submit(run)
    hpc.follow(run)
    remote_host.root(f"echo 0 >'{need_record(run).folder}/model/weights'")
    with pytest.raises(
        TransferFailed, match="not what their receipts say, the first model/weights"
    ):
        hpc.fetch(run)
    assert not need_record(run).fetched


def test_an_answer_lost_after_submission_submits_nothing_twice(
    hpc: SlurmRunner, remote_host: RemoteHost, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", counting(20, 0.1))
    hpc.submit(run)
    folder = need_record(run).folder
    remote_host.root(f"rm '{folder}/slurm/jobs.tsv'")
    hpc.submit(run)
    assert remote_host.root("squeue -h -u alice -t PD,R").count("\n") == 1
    hpc.run(run, run.plan.steps)


def test_without_rsync_there_sftp_is_used(
    hpc: SlurmRunner, remote_host: RemoteHost, tmp_path: Path
) -> None:
    folder = tmp_path / "mes pages"
    (folder / "a b").mkdir(parents=True)
    (folder / "a b" / 'é "q".txt').write_text("un")
    (folder / "deux.txt").write_text("deux")
    run = make_run(
        tmp_path / "run",
        shell(
            "train",
            'mkdir "$0/model"; cp -r "$0/sources/data/mes pages" "$0/model/"',
            sources={"data": str(folder)},
            outputs=["model"],
        ),
    )
    remote_host.root("mv /usr/bin/rsync /usr/bin/rsync.away")
    try:
        hpc.run(run, run.plan.steps)
    finally:
        remote_host.root("mv /usr/bin/rsync.away /usr/bin/rsync")
    assert (run.path / "model" / "mes pages" / "a b" / 'é "q".txt').read_text() == "un"


WRONG_CLOCK = r"""
mkdir -p /opt/skew
cat >/opt/skew/date <<'D'
#!/bin/sh
exec /usr/bin/date -d "@$(($(/usr/bin/date +%s) + SKEW))" "$@"
D
chmod +x /opt/skew/date
cat >/opt/skew/sitecustomize.py <<'P'
import os, time
right = time.time
time.time = lambda: right() + int(os.environ["SKEW"])
P
"""
"""What asks for the time there, and is told a wrong one: one kernel has one clock."""


@pytest.mark.parametrize("skew", [-10_800, 172_800])
def test_a_clock_that_is_wrong_there_confuses_nothing(
    skew: int, hpc: SlurmRunner, remote_host: RemoteHost, tmp_path: Path
) -> None:
    page = tmp_path / "page.txt"
    page.write_text("old")
    run = make_run(tmp_path / "run", reader(page))
    shown = f"export SKEW={skew} PATH=/opt/skew:$PATH PYTHONPATH=/opt/skew"
    remote_host.root(f"{WRONG_CLOCK}\necho '{shown}' >/etc/profile.d/zz-skew.sh")
    try:
        there = int(hpc.connection.check("date +%s", "no"))
        assert abs(there - time.time()) > 10_000
        hpc.run(run, run.plan.steps)
        page.write_text("new")
        again = make_run(tmp_path / "again", reader(page))
        hpc.run(again, again.plan.steps)
    finally:
        remote_host.root("rm /etc/profile.d/zz-skew.sh")
    assert (run.path / "model" / "copy").read_text() == "old"
    assert (again.path / "model" / "copy").read_text() == "new"
    for event in run.events():
        assert abs(event["time"] - time.time()) < 600, event


def test_an_unknown_host_is_told(hpc: SlurmRunner, tmp_path: Path) -> None:
    site = hpc.site.model_copy(update={"host": "nowhere.invalid"})
    run = make_run(tmp_path / "run", counting(5))
    with pytest.raises(ConnectionLost, match="cannot be reached") as caught:
        SlurmRunner("x", site, lambda line: None).submit(run)
    assert "VPN" in str(caught.value)
