"""Verbs of the family `htr` for the command line."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from deepsynth.duration import duration
from deepsynth.printing import say


def repair(
    folder: Annotated[Path, Parameter(help="Ground truth: ALTO or PAGE files and images.")],
    copy: Annotated[Path, Parameter(help="A new folder for the corrected copy.")],
    /,
    *,
    form: Annotated[
        Literal["NFC", "NFD", "NFKC", "NFKD"], Parameter(help="Unicode normal form to write.")
    ] = "NFC",
    drop_unusable: Annotated[
        bool, Parameter(help="Also remove transcribed lines Kraken would lose.", negative=())
    ] = False,
) -> int:
    """Write a corrected copy of a ground truth, and say every change.

    For example:

    ```
    deepsynth repair Ground_Truth/Odalricus Ground_Truth/Odalricus-mended
    ```
    """
    from deepsynth.families.htr.ground_truth.repair import REPORT
    from deepsynth.families.htr.ground_truth.repair import repair as mend

    report = mend(folder, copy, form=form, drop_unusable=drop_unusable)
    for what, count in report.counts().most_common():
        say(f"{count:6} {what}")
    for name, why in report.left_out.items():
        say(f"Left out {name}: {why}")
    say(f"{report.copied} files copied; every change is in {copy / REPORT}")
    job = next(
        (p / "job.yaml" for p in folder.resolve().parents if (p / "job.yaml").is_file()), None
    )
    shown = (
        job if job is None or not job.is_relative_to(Path.cwd()) else job.relative_to(Path.cwd())
    )
    words = [str(shown or "JOB"), f"data.ground_truth={copy.resolve()}"]
    say(f"Next: deepsynth check {shlex.join(words)}")
    return 0


def transcribe(
    images: Annotated[list[Path], Parameter(help="Page images, or folders of them.")],
    /,
    *,
    model: Annotated[Path, Parameter(help="A recognition model.")],
    to: Annotated[
        Literal["alto", "page", "abbyy", "hocr", "text", "pagexml", "abbyyxml"],
        Parameter(help="Format: ALTO, PAGE, ABBYY XML, hOCR or text."),
    ] = "alto",
    output: Annotated[Path, Parameter(help="Folder of the results.")] = Path("transcribed"),
    segmentation: Annotated[
        Path | None, Parameter(help="A segmentation model; Kraken's own by default.")
    ] = None,
    device: Annotated[str, Parameter(help="auto, cpu, mps or cuda:0.")] = "auto",
    overwrite: Annotated[bool, Parameter(help="Replace results.", negative=())] = False,
) -> int:
    """Find and read the lines of page images, one result file for each.

    For example:

    ```
    deepsynth transcribe scans --model runs/hand/model/best.safetensors --to page
    ```
    """
    from deepsynth.families.htr.predict import transcribe as read

    started = time.monotonic()

    def progress(done: int, total: int, name: str) -> None:
        left = duration((time.monotonic() - started) / done * (total - done))
        more = f", about {left} left" if done < total else ""
        say(f"{done}/{total} {name}{more}", file=sys.stderr, flush=True)

    written = read(
        images,
        model,
        output,
        to=to,
        segmentation=segmentation,
        device=device,
        overwrite=overwrite,
        progress=progress,
    )
    for path in written:
        say(path)
    return 0


def card(
    run: Annotated[Path, Parameter(help="A finished run.")],
    /,
    *,
    name: Annotated[str, Parameter(help="corpus_type_vN.")],
    author: Annotated[list[str], Parameter(help="May be given several times.", negative=())],
    license: Annotated[str, Parameter(help="For example CC-BY-4.0.")],
    language: Annotated[list[str], Parameter(help="ISO 639-3, such as fra.", negative=())],
    script: Annotated[list[str], Parameter(help="ISO 15924, such as Latn.", negative=())],
    dataset: Annotated[list[str] | None, Parameter(help="URL.", negative=())] = None,
    output: Annotated[Path, Parameter(help="Folder of card and archive.")] = Path("published"),
) -> int:
    """Write a validated HTRMoPo model card and an archive for Zenodo."""
    from deepsynth.families.htr.publish import About, write_archive
    from deepsynth.run.run import Run

    about = About(name, author, license, language, script, datasets=dataset or ())
    archive = write_archive(Run.open(run), about, output)
    say(f"{archive.with_suffix('.md')}\n{archive}")
    say("Next: upload the archive to Zenodo, or `ketos publish` with the card and the model.")
    return 0
