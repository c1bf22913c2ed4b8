"""The workspace of a transcription project: one place for each kind of file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deepsynth.errors import RequestError

ENGLISH = {
    "ground_truth": "ground_truth",
    "compiled": "compiled",
    "base_models": "base_models",
    "scripts": "scripts",
    "models": "fine_tuned_models",
}
FRENCH = {
    "ground_truth": "Ground_Truth",
    "compiled": "Donnees_compilees",
    "base_models": "Model_de_base",
    "scripts": "Scripts",
    "models": "Model_fine_tune",
}
"""Folder names as French guides have them."""

_PURPOSE = {
    "ground_truth": "One folder for each corpus: ALTO or PAGE files with their images.",
    "compiled": "Compiled lines to share between runs; runs keep their own in `runs/`.",
    "base_models": "Models to start from: .mlmodel or .safetensors.",
    "scripts": "Jobs, one YAML file for each training.",
    "models": "Models to keep, named corpus_type_vN, for example odalricus_transcription_v1.",
}


def make_workspace(folder: Path, names: Mapping[str, str] | None = None) -> dict[str, Path]:
    """Make the folders of a workspace with a job to start from; nothing existing is changed.

    Args:
        folder: Made if needed.
        names: Other names for some of the places of `ENGLISH`, for example `FRENCH`.

    Returns:
        The folder of each place.

    Raises:
        RequestError: An unknown place, or a name that leads out of the workspace.
    """
    chosen = ENGLISH | dict(names or {})
    unknown = set(chosen) - set(ENGLISH)
    if unknown:
        raise RequestError(
            f"{', '.join(sorted(unknown))} is no place of a workspace",
            where=folder,
            hint=f"Places: {', '.join(ENGLISH)}.",
        )
    places = {place: folder / name for place, name in chosen.items()}
    for place, path in places.items():
        if not path.resolve().is_relative_to(folder.resolve()) or path == folder:
            raise RequestError(
                f"the name {chosen[place]!r} leads out of the workspace", where=folder
            )
    for place, path in places.items():
        path.mkdir(parents=True, exist_ok=True)
        _write_new(path / "README.md", f"# {path.name}\n\n{_PURPOSE[place]}\n")
    template = Path(__file__).parent / "template" / "job.yaml"
    truth = Path("..") / chosen["ground_truth"] / "corpus"
    job = template.read_text(encoding="utf-8").replace(
        "ground_truth: ground_truth", f"ground_truth: {truth.as_posix()}"
    )
    _write_new(places["scripts"] / "job.yaml", job)
    return places


def _write_new(path: Path, text: str) -> None:
    if not path.exists():
        path.write_text(text, encoding="utf-8")
