"""Each family at a site, on tiny data; a family that is added here needs a line in `SMALL`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from examples.manuscript.make_pages import demo_font, write_pages

from deepsynth.families import family_names, get_family, load_job
from deepsynth.run.receipts import has_receipt
from deepsynth.run.run import Run
from deepsynth.runners.slurm.record import need_record
from deepsynth.runners.slurm.runner import SlurmRunner
from deepsynth.runners.slurm.site import Allocation, Site, SiteEnvironment
from tests.servers.remote import RemoteHost
from tests.support import tickets

ARTICLES = Path(__file__).parents[3] / "examples" / "articles" / "articles.jsonl"


def classify(folder: Path) -> Path:
    return tickets.write_job(folder, {"train": {"epochs": 1, "batch_size": 4}})


def summarize(folder: Path) -> Path:
    rows = map(json.loads, ARTICLES.read_text(encoding="utf-8").splitlines()[:3])
    texts = [json.dumps(row | {"summary": row["title"], "text": row["title"]}) for row in rows]
    (folder / "short.jsonl").write_text("\n".join(texts), encoding="utf-8")
    job = {
        "family": "summarize",
        "data": {"path": "short.jsonl", "validation_share": 0, "test_share": 0},
        "pages": {"mode": "tile"},
        "model": "scratch:deepseek-ocr-2-tiny",
        "train": {"epochs": 1, "batch_size": 1, "gradient_accumulation": 1},
        "evaluation": {"split": "train"},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    return folder / "job.yaml"


def htr(folder: Path) -> Path:
    write_pages(folder / "truth", font=demo_font("DejaVuSerif"), pages=12, seed=1, lines=2)
    job = {
        "family": "htr",
        "data": {"ground_truth": "truth"},
        "kraken": {"toolchain": "site", "version": 7},
        "train": {
            "spec": "[1,24,0,1 Cr3,3,8 Mp2,2 S1(1x0)1,3 Lbx16]",
            "batch_size": 8,
            "epochs": 2,
            "patience": 0,
        },
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    return folder / "job.yaml"


SMALL: dict[str, Callable[[Path], Path]] = {
    "classify": classify,
    "summarize": summarize,
    "htr": htr,
}


def make_run(name: str, folder: Path) -> Run:
    family = get_family(name)
    job = family.resolve(load_job(SMALL[name](folder)))
    return Run.create(folder / name, job, family.plan(job))


def test_every_family_has_a_small_job() -> None:
    assert SMALL.keys() == set(family_names())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "last"), [("classify", "evaluate"), ("summarize", "train")])
def test_a_family_is_trained_where_deepsynth_is_installed(
    name: str, last: str, hpc: SlurmRunner, tmp_path: Path
) -> None:
    run = make_run(name, tmp_path)
    steps = run.plan.upto(last)
    cpu = Allocation(partition="cpu", memory="1G")
    hpc.site = hpc.site.model_copy(update={"memory": "1G", "cpu": cpu})
    hpc.run(run, steps)
    assert all(has_receipt(run, step) for step in steps)
    assert "hpc-login" in (run.path / "steps" / last / "receipt.json").read_text()
    assert any((run.path / "model").iterdir())
    if last == "evaluate":
        final = run.final_metrics()
        assert final
        assert get_family(name).headline(final)


@pytest.mark.slow
def test_kraken_is_trained_where_nothing_of_ours_is(
    hpc: SlurmRunner, remote_host: RemoteHost, kraken_folder: Path, tmp_path: Path
) -> None:
    ketos = kraken_folder / "bin" / "ketos"
    remote_host.show(kraken_folder)
    remote_host.root(f"mkdir -p /opt/kraken/bin; ln -sf '{ketos}' /opt/kraken/bin/")
    plain = SiteEnvironment(setup=["module load kraken"], deepsynth=False, signal="USR1")
    site = Site(host="hpc", partition="cpu", memory="1G", environments={"this": plain})
    runner = SlurmRunner("hpc", site, lambda line: None)
    run = make_run("htr", tmp_path)
    planned = runner.dry_run(run)
    assert "done on this side, since the site has no DeepSynth: check, prepare, train" in planned
    runner.run(run, run.plan.upto("train"))
    batch = (run.path / "slurm" / "ketos.sbatch").read_text()
    assert "ketos -v " in batch
    assert "python" not in batch.lower().replace("pythonunbuffered", "")
    there = remote_host.root(
        f"cd '{need_record(run).folder}' && find . -name '*.sbatch' -o -name p0*"
    )
    assert there.split() == ["./slurm/ketos.sbatch"], "no page was sent, and nothing else submitted"
    curve = run.metrics()
    assert [point["epoch"] for point in curve] == [1, 2]
    summary = json.loads((run.path / "training" / "summary.json").read_text())
    assert summary["kraken"] == 7
    assert summary["best_validation_cer"] == pytest.approx(min(p["cer"] for p in curve), abs=1e-3)
    assert [path.name for path in (run.path / "model").iterdir()] == ["best.mlmodel"]
