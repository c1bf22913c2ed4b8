"""Families at a site, on tiny data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepsynth.families import get_family, load
from deepsynth.run.receipts import has_receipt
from deepsynth.run.run import Run
from deepsynth.runners.slurm.journey import need_record
from deepsynth.runners.slurm.runner import SlurmRunner
from deepsynth.runners.slurm.site import Allocation, Site, SiteEnvironment
from tests.servers.remote import RemoteHost
from tests.support.jobs import SMALL, htr


def make_run(name: str, path: Path, folder: Path) -> Run:
    job = load(path)
    return Run.create(folder / name, job, get_family(name).plan(job))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("classify", "evaluate"),
        pytest.param("summarize", "train", marks=pytest.mark.thorough),
    ],
)
def test_a_family_is_trained_where_deepsynth_is_installed(
    name: str, last: str, hpc: SlurmRunner, tmp_path: Path
) -> None:
    run = make_run(name, SMALL[name](tmp_path), tmp_path)
    steps = run.plan.upto(last)
    cpu = Allocation(partition="cpu", memory="1G")
    hpc.site = hpc.site.model_copy(update={"memory": "1G", "cpu": cpu})
    hpc.run(run, steps)
    assert all(has_receipt(run, step) for step in steps)
    assert "hpc-login" in (run.path / "steps" / last / "receipt.json").read_text()
    assert any((run.path / "model").iterdir())
    if last == "evaluate":
        notes = [e["text"] for e in run.events() if e["kind"] == "note"]
        assert any("gpu:1 was asked for" in text for text in notes), "the fake GPU is none"
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
    job = htr(tmp_path, kraken={"toolchain": "site", "version": 7})
    run = make_run("htr", job, tmp_path)
    planned = runner.dry_run(run)
    assert "done on this side, since the site has no DeepSynth: check, prepare, train" in planned
    runner.run(run, run.plan.upto("train"))
    batch = (run.path / "slurm" / "ketos.sbatch").read_text()
    assert "ketos -v " in batch
    own = batch.lower().replace("pythonunbuffered", "").replace("pythonsafepath", "")
    assert "python" not in own
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
