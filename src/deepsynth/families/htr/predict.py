"""Transcribe page images with a model: lines found, read, and written in a standard format.

This side of the process border checks the request and shows the progress; Kraken works in its own
environment (transcribe_pages.py), in one process a core for the whole batch.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal, get_args

from deepsynth import processors
from deepsynth.errors import DataError, DeepSynthError, RequestError
from deepsynth.families.htr.ground_truth.images import IMAGE_SUFFIXES
from deepsynth.families.htr.kraken.environment import MANAGED
from deepsynth.families.htr.kraken.model_file import read_model
from deepsynth.families.htr.prepared import best_model
from deepsynth.run.child import Child, ChildEnded
from deepsynth.run.environments import get_environment

if TYPE_CHECKING:
    from deepsynth.run.run import Run

PROCESS_BYTES = 2e9
"""Memory for a process that reads pages."""

Format = Literal["alto", "page", "abbyy", "hocr", "text", "pagexml", "abbyyxml"]
"""Formats as people call them, and two as Kraken does."""
SUFFIXES: dict[Format, str] = {
    "alto": ".xml",
    "page": ".xml",
    "pagexml": ".xml",
    "abbyy": ".xml",
    "abbyyxml": ".xml",
    "hocr": ".html",
    "text": ".txt",
}


def transcribe(
    images: Sequence[Path],
    model: Path,
    output: Path,
    *,
    to: Format = "alto",
    segmentation: Path | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> list[Path]:
    """Transcribe images and write one file for each, named like the image.

    Args:
        images: Image files, or folders of them.
        model: A recognition model.
        output: Folder of the results, made if needed.
        to: Format of the results.
        segmentation: A segmentation model; Kraken's own when None.
        device: auto, cpu, mps, cuda or cuda:0.
        overwrite: Replace results that are there already.
        progress: Called with pages done, pages in all, and the name of the last one.

    Returns:
        The files written, in the order of the images.

    Raises:
        RequestError: Nothing to do, an unknown format, or a result that exists already.
        ModelError: A model of the wrong kind.
        DataError: Pages that could not be read; the others are written.
    """
    if to not in get_args(Format):
        raise RequestError(
            f"{to!r} is no format", where="--to", hint=f"One of: {', '.join(get_args(Format))}."
        )
    read_model(model, "recognition")
    if segmentation:
        read_model(segmentation, "segmentation")
    pages = find_images(images)
    targets = [output / (page.stem + SUFFIXES[to]) for page in pages]
    _refuse_clashes(pages, targets, overwrite)
    output.mkdir(parents=True, exist_ok=True)
    failed: dict[str, str] = {}
    events = _work(pages, targets, model, to, segmentation, device)
    for done, event in enumerate(events, start=1):
        progress(done, len(pages), Path(event["image"]).name)
        if event.get("error"):
            failed[event["image"]] = event["error"]
    if failed:
        first, why = next(iter(failed.items()))
        raise DataError(
            f"{len(failed)} of {len(pages)} pages could not be transcribed: {why}",
            where=first,
            hint="The others are written. Copy or export these images again.",
        )
    return targets


def predict(run: Run, texts: Sequence[str], files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Read page images with the model of a run.

    Args:
        run: A run whose training is done.
        texts: Paths of images or folders.
        files: More images, or text files with one image path a line.

    Yields:
        For each line of each page its image, id and text.
    """
    from deepsynth.families.htr.ground_truth.pages import read_page

    names = [Path(text) for text in texts]
    for file in files:
        if file.suffix.lower() in IMAGE_SUFFIXES:
            names.append(file)
        else:
            names += [Path(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    model = best_model(run.path / "model")
    with tempfile.TemporaryDirectory() as folder:
        for page in transcribe(names, model, Path(folder), to="alto"):
            for line in read_page(page).lines:
                yield {"image": page.stem, "line": line.id, "text": line.text}


def find_images(images: Sequence[Path]) -> list[Path]:
    """The image files meant by a list of files and folders, folders in the order of names.

    Raises:
        RequestError: A path that does not exist, or no image at all.
    """
    found: list[Path] = []
    for path in images:
        if path.is_dir():
            found += [
                entry
                for entry in sorted(path.iterdir())
                if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".")
            ]
        elif path.is_file():
            found.append(path)
        else:
            raise RequestError("there is no such image", where=path, hint="Check the name.")
    if not found:
        raise RequestError(
            "there is no image to transcribe",
            where=", ".join(map(str, images)) or None,
            hint=f"Images end in {', '.join(IMAGE_SUFFIXES)}.",
        )
    return found


def _refuse_clashes(pages: list[Path], targets: list[Path], overwrite: bool) -> None:
    seen: dict[Path, Path] = {}
    for page, target in zip(pages, targets, strict=True):
        if target in seen:
            raise RequestError(
                f"{page.name} and {seen[target].name} would be written to the same file",
                where=target,
                hint="Transcribe them into different folders.",
            )
        seen[target] = page
        if target.exists() and not overwrite:
            raise RequestError(
                "this exists already", where=target, hint="Name another folder, or --overwrite."
            )


def _work(
    pages: list[Path],
    targets: list[Path],
    model: Path,
    to: Format,
    segmentation: Path | None,
    device: str,
) -> Iterator[dict[str, Any]]:
    """Start Kraken's side, once a core, and yield what is told of each page as it is done."""
    request = {
        "model": str(model.resolve()),
        "segmentation": str(segmentation.resolve()) if segmentation else None,
        "to": to,
        "device": device,
    }
    pairs = [
        [str(page.resolve()), str(target.resolve())]
        for page, target in zip(pages, targets, strict=True)
    ]
    count = side_by_side(len(pages), device)
    environment = get_environment(MANAGED)
    argv = environment.command(["{python}", "-m", "deepsynth.families.htr.kraken.transcribe_pages"])
    threads = {"OMP_NUM_THREADS": str(max(1, processors.available() // count))}
    answers: SimpleQueue[dict[str, Any] | ChildEnded] = SimpleQueue()

    def work(child: Child, share: list[list[str]]) -> None:
        try:
            child.send(request | {"pages": share})
            for _ in share:
                answers.put(child.receive())
        except ChildEnded as end:
            answers.put(end)

    with ExitStack() as stack:
        for number in range(count):
            child = stack.enter_context(Child(argv, threads if count > 1 else None))
            Thread(target=work, args=(child, pairs[number::count]), daemon=True).start()
        for told in range(len(pages)):
            answer = answers.get()
            if isinstance(answer, ChildEnded):
                raise DeepSynthError(
                    f"Kraken ended after {told} of {len(pages)} pages: {answer}",
                    where=model,
                    hint="The pages that were finished are written.",
                )
            yield answer


def side_by_side(pages: int, device: str) -> int:
    """How many processes read pages at once: one a core, as memory allows; one where a GPU does."""
    if device != "cpu" and (
        device != "auto" or shutil.which("nvidia-smi") or sys.platform == "darwin"
    ):
        return 1
    free = _free_memory()
    fitting = processors.available() if free is None else int(free / PROCESS_BYTES)
    return max(1, min(pages, processors.available(), fitting))


def _free_memory() -> int | None:
    """Bytes of memory that new processes may take, where the system tells."""
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None
