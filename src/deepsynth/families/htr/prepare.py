"""Step `prepare`: compile the lines of each split for training.

Writes `data/`: one Arrow file a split (for segmentation the lists of pages alone) and
`manifest.json`.
"""

from __future__ import annotations

from collections import Counter

from deepsynth import processors
from deepsynth.families.htr.ground_truth.alphabet import normalize
from deepsynth.families.htr.job import HtrJob
from deepsynth.families.htr.kraken.ketos_training import write_lists
from deepsynth.families.htr.kraken.model_file import read_model
from deepsynth.families.htr.lines.compile import compile_split, read_lines
from deepsynth.families.htr.prepared import (
    Manifest,
    Part,
    base_model,
    ground_truth_folder,
    htr_job,
)
from deepsynth.families.htr.reading import read_reading
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run


def main(run: Run) -> None:
    """Write `data/` of a run."""
    job = htr_job(run)
    source = ground_truth_folder(run, "prepare")
    reading = read_reading(run, source)
    folder = run.path / "data"
    folder.mkdir()
    parts: dict[str, Part] = {}
    alphabet: Counter[str] = Counter()
    form = str(job.data.normalization)
    done = 0
    for name, pages in reading.shares.items():
        if job.task == "segmentation":
            parts[name] = Part(name, list(pages))
            continue
        output = folder / f"{name}.arrow"
        before = done
        report = compile_split(
            [reading.pages[page] for page in pages],
            output,
            root=source,
            colour=_channels(run, job) == 3,
            allow_lost=job.data.allow_lost,
            workers=processors.available(),
            progress=lambda count, _, before=before: run.progress(
                "prepare", before + count, len(reading.pages), "pages"
            ),
        )
        done += len(pages)
        parts[name] = Part(name, list(pages), output.name, report.as_dict())
        for line in read_lines(output):
            alphabet.update(normalize(line.text, form))
    manifest = Manifest(
        task=job.task,
        normalization=form,
        parts=parts,
        folds=job.split.folds,
        skipped=reading.skipped,
        alphabet=dict(alphabet.most_common()),
    )
    manifest.write(folder)
    if job.kraken.version:
        write_lists(folder, manifest)


def _channels(run: Run, job: HtrJob) -> int:
    base = base_model(run, "prepare")
    if base:
        return read_model(base, job.task).input_shape[2]
    spec = job.train.spec or ""
    return 3 if spec.strip("[ ").split(" ")[0].endswith(",3") else 1


if __name__ == "__main__":
    step_process(main)
