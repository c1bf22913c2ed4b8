"""What Slurm's tools and our receipts tell, read and put into words."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from deepsynth.run.step import Plan
from deepsynth.runners.slurm.connection import RemoteError
from deepsynth.runners.slurm.outcome import describe
from deepsynth.runners.slurm.runner import SlurmRunner
from deepsynth.runners.slurm.site import Site
from deepsynth.runners.slurm.states import Element, read_sections
from deepsynth.runners.slurm.submission import missing
from deepsynth.runners.slurm.words import ENDS, REASONS, reason_in_words
from tests.servers.slurm import running_slurm, server_environment, why_not
from tests.support.toy import make_run, shell

EMPTY = dict.fromkeys(("jobs", "queue", "accounting", "marks", "receipts", "events"), "")
JOBS = "train\t7\t\t1795231464\n"
SCONTROL = (
    "JobId=7 JobName=run.train UserId=alice(1001) JobState=NODE_FAIL Reason=None Dependency=(null) "
    "Requeue=1 ExitCode=0:0 WorkDir=/home/a b/run\n"
)


def read(plan: Plan, **sections: str) -> Element:
    return read_sections(plan, EMPTY | {"jobs": JOBS} | sections).elements[-1]


@pytest.mark.parametrize(
    ("sections", "kind", "state"),
    [
        ({"jobs": ""}, "new", ""),
        ({"queue": "7|PENDING|Priority|0:00|N/A\n"}, "waiting", "PENDING"),
        ({"queue": "7|RUNNING|None|0:03|x\n"}, "running", "RUNNING"),
        ({"queue": "7|OUT_OF_MEMORY|OutOfMemory|0:03|x\n"}, "failed", "OUT_OF_MEMORY"),
        ({"accounting": "7|CANCELLED by 1001|00:00:09|n2\n"}, "failed", "CANCELLED"),
        ({"accounting": "7|TIMEOUT|00:01:09|n2\n"}, "failed", "TIMEOUT"),
        ({"accounting": SCONTROL}, "failed", "NODE_FAIL"),
        ({"accounting": "7|FAILED|1|n\n", "queue": "7|RUNNING|None|1|x\n"}, "running", "RUNNING"),
        ({"marks": "slurm/train-0.end 130 USR1 no 7 1\n"}, "failed", "TIMEOUT"),
        ({"marks": "slurm/train-0.end 130 USR1 yes 7 1\n"}, "failed", "PREEMPTED"),
        ({"marks": "slurm/train-0.end 130 TERM no 7 1\n"}, "failed", "CANCELLED"),
        ({"marks": "slurm/train-0.end 3 none no 7 1\n"}, "failed", "FAILED"),
        ({}, "failed", "LOST"),
        ({"receipts": "steps/train/receipt.json\n"}, "done", "COMPLETED"),
        ({"receipts": "steps/train/outputs-0.sha256\n"}, "done", "COMPLETED"),
    ],
)
def test_whichever_witness_exists_is_believed(
    sections: dict[str, str], kind: str, state: str
) -> None:
    element = read(Plan(steps=[shell("train", "true")]), **sections)
    assert (element.kind, element.state) == (kind, state)


def test_the_last_submission_of_an_element_counts() -> None:
    plan = Plan(steps=[shell("train", "true", array=4)])
    jobs = "train\t7\t\t1\ntrain\t9\t1-2\t2\n"
    accounting = "7_0|FAILED|1|n\n7_1|FAILED|1|n\n7_2|FAILED|1|n\n9_[1-2]|PENDING|0|n\n"
    queue = "9_1|RUNNING|None|1|x\n9_2|PENDING|Resources|1|x\n"
    receipts = "steps/train/receipt-00003.json\n"
    told = read_sections(
        plan,
        EMPTY | {"jobs": jobs, "accounting": accounting, "queue": queue, "receipts": receipts},
    )
    assert [e.kind for e in told.elements] == ["failed", "running", "waiting", "done"]
    assert [e.job for e in told.elements] == ["7_0", "9_1", "9_2", "7_3"]
    assert describe(told, plan.steps[0]) == (
        "train: it runs (job 9_1, 1 done, 1 running, 1 failed of 4)"
    )


def test_an_array_that_still_runs_is_left_alone_with_what_follows() -> None:
    plan = Plan(
        steps=[
            shell("one", "true", array=2),
            shell("two", "true", after=["one"]),
            shell("three", "true"),
        ]
    )
    jobs = "one\t7\t\t1\ntwo\t8\t\t1\n"
    ended = {"accounting": "7_0|FAILED|1|n\n8|CANCELLED|0|n\n"}
    queue = "7_1|RUNNING|None|1|x\n"
    running = read_sections(plan, EMPTY | {"jobs": jobs, "queue": queue} | ended)
    assert missing(running, plan.steps) == {"three": None}
    receipt = {"receipts": "steps/one/receipt-00001.json\n"}
    over = read_sections(plan, EMPTY | {"jobs": jobs} | ended | receipt)
    assert missing(over, plan.steps) == {"one": [0], "two": None, "three": None}


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Priority", "its turn"),
        ("Resources", "waits for a node"),
        ("QOSMaxJobsPerUserLimit", "as many jobs running as you may"),
        ("AssocGrpGRES", "as many accelerators as you may"),
        ("QOSUnheardOfLimit", "a limit of your account"),
        ("DependencyNeverSatisfied", "will never start"),
        ("ReqNodeNotAvail, UnavailableNodes:n2", "maintenance"),
        ("Nodes required for job are DOWN, DRAINED or reserved for jobs in x", "down"),
        ("SomethingNew", "Slurm says SomethingNew"),
    ],
)
def test_reasons_are_told_in_words(reason: str, words: str) -> None:
    assert words in reason_in_words(reason)


def test_every_end_says_what_to_do() -> None:
    for words, hint in ENDS.values():
        assert words
        assert hint.format(run="R", step="S")
    assert all(REASONS.values())


@pytest.mark.slow
def test_states_come_from_sacct_when_slurmctld_has_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := why_not("slurmdbd", "mariadbd"):
        pytest.skip(reason)
    with running_slurm(tmp_path / "slurm", SLURM_DBD="1") as conf:
        monkeypatch.setenv("SLURM_CONF", str(conf))
        run = make_run(tmp_path / "run", shell("train", "sleep 60"))
        runner = SlurmRunner("here", Site(), lambda line: None)
        runner.submit(run)
        while runner.status(run).kind("train") != "running":
            time.sleep(0.2)
        runner.stop(run)
        for mark in (run.path / "slurm").glob("*.end"):
            mark.unlink()
        pid = int((conf.parent / "run" / "slurmctld.pid").read_text())
        subprocess.run(["kill", str(pid)], check=True)
        time.sleep(1)
        subprocess.run(["slurmctld", "-c"], check=True, env=server_environment())
        end = time.monotonic() + 20
        while True:
            try:
                told = runner.status(run).elements[0]
                break
            except RemoteError:
                assert time.monotonic() < end
                time.sleep(0.2)
        assert (told.kind, told.state) == ("failed", "FAILED")
