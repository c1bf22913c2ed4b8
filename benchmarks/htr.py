"""Kraken's own commands against ours: compiling, training to the same error rate, checking.

    python benchmarks/htr.py                  # pages made here
    python benchmarks/htr.py --data FOLDER    # ground truth of yours, for compiling and checking

Needs the environment `deepsynth setup htr` builds. Every measurement is a process of its own with
all it starts, the two ways take turns, and processor seconds are counted, start-up included.
Training is measured until the validation pages reach the target error rate for the first time,
from the same base model on the same compiled lines: plain `ketos train` with its defaults, `ketos
train` with the batch size and the learning rate our presets choose, and our job; on 20 pages
and on 100. Writes benchmarks/results/htr.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from examples.manuscript.make_pages import demo_font, write_pages  # noqa: E402

from deepsynth import durable  # noqa: E402
from deepsynth.families import get_family, load_job  # noqa: E402
from deepsynth.families.htr.ground_truth.pages import read_page, scan_folder  # noqa: E402
from deepsynth.families.htr.prepared import read_manifest  # noqa: E402
from deepsynth.run.environments import managed_folder  # noqa: E402
from deepsynth.run.run import Run  # noqa: E402
from deepsynth.runners.local import LocalRunner  # noqa: E402

TARGET_CER = 0.05
LIMIT_SECONDS = 1800
OURS = """
import sys
from pathlib import Path
from deepsynth.families.htr.ground_truth.pages import read_page
from deepsynth.families.htr.lines.compile import compile_split
pages = [read_page(Path(name)) for name in sys.argv[2:]]
compile_split(pages, Path(sys.argv[1]), allow_lost=10**6)
"""
CHECK = """
import sys
from pathlib import Path
from deepsynth.families.htr.ground_truth.folder_checks import check_ground_truth
check_ground_truth(Path(sys.argv[1]))
"""


def group_cpu(group: int) -> float:
    """Processor seconds of every process of a group so far, in user and system mode."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            total += sum(int(value) for value in fields[11:15])
    return total / os.sysconf("SC_CLK_TCK")


def until(argv: list[str], reached: Callable[[Path], bool], **extra: str) -> tuple[float, bool]:
    """Run a command until `reached` says so (or to its end); CPU seconds, and whether it did."""
    with tempfile.NamedTemporaryFile() as log:
        child = subprocess.Popen(
            argv,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | extra,
        )
        spent, started = 0.0, time.monotonic()
        while child.poll() is None and time.monotonic() - started < LIMIT_SECONDS:
            spent = max(spent, group_cpu(child.pid))
            if reached(Path(log.name)):
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                return spent, True
            time.sleep(0.1)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            return spent, False
        if child.returncode:
            sys.exit(f"{argv[:3]} failed:\n{Path(log.name).read_text()[-2000:]}")
        return spent, reached(Path(log.name))


def cpu_of(argv: list[str]) -> float:
    """CPU seconds of a command that runs to its end, as the kernel counted them."""
    before = os.times()
    subprocess.run(argv, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    after = os.times()
    spent = (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )
    return round(spent, 2)


def compile_both(data: Path, rounds: int, folder: Path) -> dict[str, Any]:
    documents = [str(path) for path in scan_folder(data).documents]
    lines = sum(bool(line.text.strip()) for d in documents for line in read_page(Path(d)).lines)
    ketos = str(managed_folder("htr") / "bin" / "ketos")
    outputs = {"ketos": folder / "ketos.arrow", "ours": folder / "ours.arrow"}
    commands = {
        "ketos": [ketos, "compile", "-f", "xml", "-o", str(outputs["ketos"]), *documents],
        "ours": [sys.executable, "-c", OURS, str(outputs["ours"]), *documents],
    }
    for way in commands:  # once each unmeasured: caches of files and of compiled code
        cpu_of(commands[way])
    spent: dict[str, list[float]] = {way: [] for way in commands}
    for _ in range(rounds):
        for way, argv in commands.items():
            spent[way].append(cpu_of(argv))
    result: dict[str, Any] = {"pages": len(documents), "lines": lines}
    for way, output in outputs.items():
        rows = pa.ipc.open_file(pa.memory_map(str(output), "rb")).read_all().num_rows
        result[way] = {
            "cpu_seconds": spent[way],
            "bytes": output.stat().st_size,
            "lines_lost": lines - rows,
        }
    return result


def make_run(folder: Path, name: str, settings: dict[str, Any], last: str) -> Run:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"family": "htr"} | settings))
    family = get_family("htr")
    resolved = family.resolve(load_job(path))
    run = Run.create(folder / name, resolved, family.plan(resolved))
    LocalRunner().run(run, run.plan.upto(last), lambda: None)
    return run


def train_all(folder: Path, rounds: int) -> dict[str, Any]:
    write_pages(folder / "serif", font=demo_font("DejaVuSerif"), pages=30, seed=5)
    fresh = {"data": {"ground_truth": "serif"}, "train": {"epochs": 12}}
    base = make_run(folder, "base", fresh, "train").path / "model" / "best.safetensors"
    every = {f"{pages} pages": train_on(folder, base, pages, rounds) for pages in (20, 100)}
    return {"target_cer": TARGET_CER, **every}


def train_on(folder: Path, model: Path, pages: int, rounds: int) -> dict[str, Any]:
    hand = f"italic{pages}"
    write_pages(folder / hand, font=demo_font("STIXGeneralItalic"), pages=pages, seed=6)
    settings = {"data": {"ground_truth": hand}, "model": str(model)}
    ways: dict[str, list[Any]] = {"ketos": [], "ketos, our settings": [], "ours": []}
    python = str(managed_folder("htr") / "bin" / "python")
    ketos = str(managed_folder("htr") / "bin" / "ketos")
    for number in range(rounds):
        run = make_run(folder, f"{hand}-{number}", settings, "prepare")
        data = {
            split: str(run.path / "data" / read_manifest(run).parts[split].arrow)
            for split in ("train", "validation")
        }
        (folder / "e.txt").write_text(data["validation"] + "\n")
        chosen = run.settings
        same = ["-B", str(chosen["train.batch_size"].value)]
        same += ["-r", str(chosen["train.learning_rate"].value)]
        for way, extra in (("ketos", []), ("ketos, our settings", same)):
            argv = [ketos, "-v", "-d", "cpu", "train", "-f", "binary", "-i", str(model), *extra]
            argv += ["--resize", "union", "-o", str(folder / f"plain{pages}-{number}{len(extra)}")]
            argv += ["-e", str(folder / "e.txt"), data["train"]]
            ways[way].append(until(argv, lambda log: min(log_cers(log), default=1) <= TARGET_CER))
        argv = [python, "-m", "deepsynth.families.htr.train", str(run.path)]
        ways["ours"].append(
            until(
                argv,
                lambda _, run=run: min((p["cer"] for p in run.metrics()), default=1) <= TARGET_CER,
                DEEPSYNTH_STEP="train",
            )
        )
    return ways


def log_cers(log: Path) -> Iterator[float]:
    """Error rates that a ketos log has told so far."""
    for found in re.finditer(r"errors \S+ accuracy ([\d.]+)", log.read_text(errors="replace")):
        yield 1 - float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="ground truth to compile and check")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-training", action="store_true")
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": platform.machine(), "processors": os.cpu_count()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = options.data
        if data is None:
            data = folder / "pages"
            write_pages(data, font=demo_font("DejaVuSerif"), pages=60, seed=1)
        result["compile"] = compile_both(data, options.rounds, folder)
        pages = result["compile"]["pages"]
        checks = [cpu_of([sys.executable, "-c", CHECK, str(data)]) for _ in range(options.rounds)]
        result["check"] = {"cpu_seconds": checks, "pages": pages}
        if not options.no_training:
            result["train"] = train_all(folder, options.rounds)
    target = ROOT / "benchmarks" / "results" / "htr.json"
    target.parent.mkdir(exist_ok=True)
    durable.write_text(target, json.dumps(result, indent=2) + "\n")
    show(result)


def show(result: dict[str, Any]) -> None:
    compiled = result["compile"]
    middle = {w: statistics.median(compiled[w]["cpu_seconds"]) for w in ("ketos", "ours")}
    print(f"compile {compiled['lines']} lines of {compiled['pages']} pages")
    for way, seconds in middle.items():
        print(
            f"  {way:6} {seconds:7.1f} CPU s {compiled[way]['bytes'] / 1e6:7.1f} MB "
            f"{compiled[way]['lines_lost']} lines lost"
        )
    print(f"  ours takes {middle['ketos'] / middle['ours']:.1f} times less")
    seconds = statistics.median(result["check"]["cpu_seconds"])
    print(f"check {result['check']['pages'] / seconds:.0f} pages a CPU second")
    if "train" not in result:
        return
    print(f"train to {100 * result['train'].pop('target_cer'):.0f} % CER on the validation pages")
    for size, ways in result["train"].items():
        ours = statistics.median(cpu for cpu, _ in ways["ours"])
        print(f"  on {size}")
        for way, spent in ways.items():
            every = ", ".join(
                f"{cpu:.0f}" + ("" if reached else " (not reached)") for cpu, reached in spent
            )
            ratio = statistics.median(cpu for cpu, _ in spent) / ours
            print(f"    {way:19} {every} CPU s, {ratio:.1f} times ours")


if __name__ == "__main__":
    main()
