"""Runs kept in object storage: worked on in a folder here, put there whole when the work ends.

`--runs s3://BUCKET/RUNS` and `--resume s3://BUCKET/RUNS/NAME` work in `runs/NAME` of the current
folder. Which publication that folder stands on is remembered outside of it, so that work done
elsewhere meanwhile is never overwritten, and no folder says itself where its results are sent.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from deepsynth import durable, home, storage
from deepsynth.errors import RunError
from deepsynth.printing import say
from deepsynth.run.run import Run, is_run
from deepsynth.storage.stores import last_name

HERE = Path("runs")
"""Where runs that are kept in storage are worked on."""
FORMER_MARK = "location.json"
"""Where earlier versions noted, in the run folder itself, where it is kept: believed no more."""
_OWN = (FORMER_MARK, "run.lock")


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
        known = _known(Run(folder))
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
        _mark(Run(folder), location, published.generation)
    return folder


def remember(run: Run, location: str) -> Run:
    """Note that a run is kept at `location`, unless that is known; returns the run."""
    if _known(run) is None:
        _mark(run, location, None)
    return run


def keep(run: Run) -> None:
    """Put a run where it is kept, whole; does nothing for one that is only here.

    Raises:
        RunError: It went on elsewhere meanwhile; what is here stays here.
        StorageError: The storage failed.
    """
    known = _known(run)
    if known is None:
        if (run.path / FORMER_MARK).exists():
            say(
                f"{run.path / FORMER_MARK} says where this run is kept. A folder is not believed "
                "about that; to put it there, go on with --resume LOCATION.",
                file=sys.stderr,
            )
        return
    published = storage.read_publication(known["url"])
    if published and published.generation != known["generation"]:
        raise _went_on(run.path, known["url"])
    kept = storage.publish(run.path, known["url"], replace=True, only=lambda name: name not in _OWN)
    _mark(run, kept.url, kept.generation)
    if published and published.generation != kept.generation:
        storage.remove(published)


def _known(run: Run) -> dict[str, Any] | None:
    """Where the run in this folder is kept, and as what it was last seen there."""
    known = home.recall("locations", str(run.path.resolve()))
    return known if known and known["run"] == _identity(run) else None


def _mark(run: Run, location: str, generation: str | None) -> None:
    known = {"url": location, "generation": generation, "run": _identity(run)}
    home.remember("locations", str(run.path.resolve()), known)


def _identity(run: Run) -> str:
    """What tells a run from another one that is put in its place: what it is, and its beginning."""
    files = [durable.sha256_file(run.path / name) for name in ("resolved.yaml", "plan.json")]
    return durable.sha256_value([*files, run.events()[:1]])


def _went_on(folder: Path, location: str) -> RunError:
    return RunError(
        "this run went on elsewhere since it was last here.",
        where=location,
        hint=f"Move {folder} away; the same command then fetches what is there.",
    )
