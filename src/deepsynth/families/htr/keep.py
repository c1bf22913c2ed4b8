"""What a finished run leaves in the folders of its workspace: lines, scripts, model, log."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from deepsynth import durable
from deepsynth.families.htr.prepared import htr_job
from deepsynth.run.run import Run


def keep(run: Run) -> list[Path]:
    """Put what a run made where its job says, under the run's name; nothing there is replaced.

    A run folder may come from anybody, and names absolute places. They are filled only where they
    lie beside the very job file that the run was made of.

    Returns:
        The files that are new there.
    """
    places = htr_job(run).keep
    kept: list[Path] = []
    for folder, pairs in (
        (places.compiled, _compiled(run)),
        (places.scripts, _scripts(run)),
        (places.models, _models(run)),
    ):
        if folder and _is_beside_its_job(Path(folder), run):
            kept += [target for source, name in pairs if (target := _put(source, folder, name))]
    return kept


def _compiled(run: Run) -> Iterator[tuple[Path, str]]:
    for arrow in sorted((run.path / "data").glob("*.arrow")):
        yield arrow, f"{run.path.name}-{arrow.name}"


def _scripts(run: Run) -> Iterator[tuple[Path, str]]:
    for script in sorted([*run.path.glob("*/*.sbatch"), *run.path.glob("*/submit.sh")]):
        yield script, f"{run.path.name}/{script.name}"


def _models(run: Run) -> Iterator[tuple[Path, str]]:
    for model in sorted((run.path / "model").glob("best.*")):
        yield model, f"{run.path.name}{model.suffix}"
    for log in (run.path / "logs" / "ketos.log", run.path / "logs" / "train.log"):
        if log.is_file():
            yield log, f"{run.path.name}.log"
            return


def _is_beside_its_job(folder: Path, run: Run) -> bool:
    text = (run.path / "job.yaml").read_bytes()
    jobs = [path for path in folder.parent.glob("*.y*ml") if path.is_file()]
    return folder.is_dir() and any(path.read_bytes() == text for path in jobs)


def _put(source: Path, folder: str, name: str) -> Path | None:
    target = Path(folder) / name
    if source.is_symlink() or target.exists():
        return None
    target.parent.mkdir(parents=True, exist_ok=True)
    with durable.appearing(target) as draft:
        shutil.copyfile(source, draft)
    return target
