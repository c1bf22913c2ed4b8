"""Runs kept in object storage: worked on in a folder here, put there whole when the work ends.

`--runs s3://BUCKET/RUNS` and `--resume s3://BUCKET/RUNS/NAME` work in `runs/NAME` of the current
folder. Which publication that folder stands on is remembered in it, so that work done elsewhere
meanwhile is never overwritten.
"""

from __future__ import annotations

from pathlib import Path

from deepsynth import durable, storage
from deepsynth.errors import RunError
from deepsynth.run.run import Run, is_run
from deepsynth.storage.stores import last_name

HERE = Path("runs")
"""Where runs that are kept in storage are worked on."""
MARK = "location.json"
"""In such a run folder: where it is kept, and as what it was last seen there."""
_OWN = (MARK, "run.lock")


def bring(location: str) -> Path:
    """The folder here of the run kept at `location`, fetched from there unless it is here.

    Nothing is there yet, here or in storage, for a run that is still to be made.

    Raises:
        RunError: The folder holds another run, or the run went on elsewhere meanwhile.
        LocationError: The location is wrong.
        StorageError: The storage failed.
    """
    folder = HERE / last_name(location)
    published = storage.read_publication(location)
    if is_run(folder):
        known = durable.read_json(folder / MARK)
        if known is None or known["url"] != location:
            raise RunError(
                "another run is in the folder this one would be worked on in.",
                where=folder,
                hint="Work in another folder, or choose another --name.",
            )
        if published and known["generation"] != published.generation:
            raise _went_on(folder, location)
    elif published:
        storage.fetch(location, folder)
        _mark(folder, location, published.generation)
    return folder


def remember(run: Run, location: str) -> Run:
    """Note that a run is kept at `location`, unless that is known; returns the run."""
    if not (run.path / MARK).exists():
        _mark(run.path, location, None)
    return run


def keep(run: Run) -> None:
    """Put a run where it is kept, whole; does nothing for one that is only here.

    Raises:
        RunError: It went on elsewhere meanwhile; what is here stays here.
        StorageError: The storage failed.
    """
    known = durable.read_json(run.path / MARK)
    if known is None:
        return
    published = storage.read_publication(known["url"])
    if published and published.generation != known["generation"]:
        raise _went_on(run.path, known["url"])
    kept = storage.publish(run.path, known["url"], replace=True, only=lambda name: name not in _OWN)
    _mark(run.path, kept.url, kept.generation)
    if published and published.generation != kept.generation:
        storage.remove(published)


def _mark(folder: Path, location: str, generation: str | None) -> None:
    durable.write_json(folder / MARK, {"url": location, "generation": generation})


def _went_on(folder: Path, location: str) -> RunError:
    return RunError(
        "this run went on elsewhere since it was last here.",
        where=location,
        hint=f"Move {folder} away; the same command then fetches what is there.",
    )
