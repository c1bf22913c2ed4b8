"""What our journey to a Slurm site costs over the same commands typed into a shell script.

The job sleeps for one second and writes a file. By hand: rsync there, `sbatch`, ask `squeue`
every half second, read the log, rsync back. Ours does the same, and verifies what was sent and
fetched, writes receipts, and survives what the shell script does not. `plain` runs the site's own
program; `steps` runs it through `python -m deepsynth.run.step`, with an interpreter start on the
node.

    python benchmarks/slurm_overhead.py [--rounds 5]

Needs root, for the login node it starts in namespaces of this machine (tests/servers/remote). The
three ways take turns, so that a noisy machine disturbs all of them. Prints a table and writes
benchmarks/results/slurm_overhead.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.servers.remote import running_remote, why_no_remote  # noqa: E402
from tests.support.toy import make_run, shell  # noqa: E402

from deepsynth.runners.slurm.runner import SlurmRunner  # noqa: E402
from deepsynth.runners.slurm.site import Site, SiteEnvironment  # noqa: E402

LIMIT_SECONDS = 2.0
"""Most that our journey may cost over the one by hand."""

JOB = """#!/bin/bash -l
#SBATCH --partition=cpu --ntasks=1 --time=10 --mem=200M --output=slurm-%j.out
sleep 1
mkdir -p model
echo done > model/weights
"""
BY_HAND = """
set -euo pipefail
rsync -rt "$1/" "hpc:hand/"
id=$(ssh hpc 'cd hand && sbatch --parsable job.sbatch')
while [ -n "$(ssh hpc "squeue -h -j $id -t PD,R,CG" 2>/dev/null)" ]; do sleep 0.5; done
ssh hpc "cat hand/slurm-$id.out"
rsync -rt hpc:hand/ "$1/"
[ -s "$1/model/weights" ]
"""


def by_hand(folder: Path) -> None:
    """Send, submit, wait and fetch by a shell script."""
    folder.mkdir()
    (folder / "job.sbatch").write_text(JOB)
    subprocess.run(["bash", "-c", BY_HAND, "by-hand", folder], check=True, capture_output=True)


def ours(folder: Path, environment: SiteEnvironment) -> None:
    """The same by the runner."""
    step = shell(
        "train", 'sleep 1; mkdir -p "$0/model"; echo done > "$0/model/weights"', outputs=["model"]
    )
    run = make_run(folder, step)
    site = Site(host="hpc", partition="cpu", environments={"this": environment})
    SlurmRunner("hpc", site, lambda line: None).run(run, run.plan.steps)
    assert (folder / "model" / "weights").read_text() == "done\n"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    if reason := why_no_remote():
        sys.exit(f"cannot be measured here: {reason}")
    ways = {
        "by hand": by_hand,
        "plain": lambda folder: ours(folder, SiteEnvironment(deepsynth=False)),
        "steps": lambda folder: ours(folder, SiteEnvironment(venv=sys.prefix)),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        with running_remote(base / "remote") as host:
            os.environ["PATH"] = f"{host.bin}:{os.environ['PATH']}"
            subprocess.run(["ssh", "hpc", "true"], check=True, capture_output=True)
            for number in range(-1, rounds):
                for way, go in ways.items():
                    started = time.monotonic()
                    go(base / f"{way} {number}".replace(" ", "-"))
                    if number >= 0:  # the first round warms up
                        seconds[way].append(time.monotonic() - started)
    hand = statistics.median(seconds["by hand"])
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "rounds": rounds,
        "limit_seconds": LIMIT_SECONDS,
        "seconds": {way: [round(s, 2) for s in values] for way, values in seconds.items()},
        "median": {way: round(statistics.median(values), 2) for way, values in seconds.items()},
        "overhead": {
            way: round(statistics.median(values) - hand, 2)
            for way, values in seconds.items()
            if way != "by hand"
        },
    }
    target = ROOT / "benchmarks" / "results" / "slurm_overhead.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{'way':10}{'median s':>10}{'over s':>8}  all")
    for way, values in seconds.items():
        over = statistics.median(values) - hand
        print(f"{way:10}{hand + over:10.2f}{over:8.2f}  {' '.join(f'{s:.2f}' for s in values)}")
    if max(result["overhead"].values()) > LIMIT_SECONDS:
        sys.exit(f"more than {LIMIT_SECONDS} s over the shell script")


if __name__ == "__main__":
    main()
