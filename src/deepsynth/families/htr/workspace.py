"""The workspace of a transcription project: one place for each kind of file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from deepsynth.errors import RequestError
from deepsynth.printing import say

ENGLISH = {
    "ground_truth": "ground_truth",
    "compiled": "compiled",
    "base_models": "base_models",
    "scripts": "scripts",
    "models": "fine_tuned_models",
}
FRENCH = {
    "ground_truth": "Ground_Truth",
    "compiled": "GT_compile",
    "base_models": "Model_de_base",
    "scripts": "Scripts",
    "models": "Repertoire_model_finetune",
}
"""Folder names as French guides have them."""

NAMING = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*_[a-z0-9-]+_v\d+")
"""The convention corpus_type_vN: `odalricus_transcription_v1`, `medieval_latin_seg_v2`."""

_PURPOSE = {
    "ground_truth": "ALTO or PAGE files, each with its image; one folder for each corpus.",
    "compiled": "Compiled lines of finished runs, NAME-SPLIT.arrow; see `keep` in job.yaml.",
    "base_models": "Models to start from: .mlmodel or .safetensors.",
    "scripts": "The batch scripts of finished runs, jobs of further trainings, what else you run.",
    "models": "Models of finished runs with their logs; name runs corpus_type_vN, for example "
    "odalricus_transcription_v1.",
}


def workspace(folder: Path, names: Sequence[str]) -> list[Path]:
    """What `deepsynth init htr` writes: the folders of a project and a job to start from.

    What is there already stays as it is, so that a workspace made by hand can be completed. Models
    in it whose names break the convention are named on standard output.

    Args:
        folder: Made if needed.
        names: Other names for places, as `PLACE=NAME`; `french` stands for all of `FRENCH`.

    Returns:
        The files written.

    Raises:
        RequestError: An unknown place, a name that leads out of the workspace, or a job that
            exists already.
    """
    chosen = chosen_names(folder, names)
    job = folder / "job.yaml"
    for name in misnamed(folder / chosen["models"]):
        say(f"{name} does not follow corpus_type_vN, such as odalricus_transcription_v1")
    if job.exists():
        raise RequestError(
            "this exists already and is left as it is.",
            where=job,
            hint="Choose another folder, or move the file away.",
        )
    text = (Path(__file__).parent / "template" / "job.yaml").read_text(encoding="utf-8")
    for place in ("ground_truth", "base_models"):
        text = text.replace(f"{place}/", f"{chosen[place]}/")
    for place in ("compiled", "scripts", "models"):
        text = text.replace(f"{place}: {ENGLISH[place]}", f"{place}: {chosen[place]}")
    text = text.replace("ground_truth: ground_truth", f"ground_truth: {chosen['ground_truth']}")
    readmes = {
        folder / name / "README.md": f"# {name}\n\n{_PURPOSE[place]}\n"
        for place, name in chosen.items()
    }
    written: list[Path] = []
    for path, content in ({job: text} | readmes).items():
        if path.exists():
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        except OSError as error:
            raise RequestError(f"cannot be written: {error.strerror}.", where=path) from error
        written.append(path)
    return written


def chosen_names(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """The name of each place of a workspace.

    Raises:
        RequestError: An unknown place, or a name that leads out of the workspace.
    """
    chosen = dict(ENGLISH)
    for entry in names:
        place, equals, name = entry.partition("=")
        if entry == "french":
            chosen |= FRENCH
        elif not equals or place not in ENGLISH:
            raise RequestError(
                f"{entry!r} names no place of a workspace.",
                where="--name",
                hint=f"PLACE=NAME or french; the places are {', '.join(ENGLISH)}.",
            )
        elif folder.resolve() not in (folder / name).resolve().parents:
            raise RequestError(f"the name {name!r} leads out of the workspace.", where="--name")
        else:
            chosen[place] = name
    return chosen


def misnamed(models: Path) -> list[str]:
    """Model files of a folder whose names do not follow corpus_type_vN."""
    return sorted(
        path.name
        for path in models.glob("*")
        if path.suffix in (".mlmodel", ".safetensors") and not NAMING.fullmatch(path.stem)
    )
