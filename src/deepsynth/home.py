"""What belongs to the user of this machine: folders, settings, and what is remembered of others.

A run folder, a job folder or a working folder may come from somebody else, with everything in it.
What must not be decided by that person is kept here instead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.errors import RequestError
from deepsynth.printing import say


def data_folder() -> Path:
    """Where what is built and fetched lies: `DEEPSYNTH_HOME`, or as XDG says."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(os.environ.get("DEEPSYNTH_HOME") or Path(data) / "deepsynth")


def config_folder() -> Path:
    """Where the user's own settings lie, such as sites.yaml."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "deepsynth"


def state_folder() -> Path:
    """Where what is remembered lies: `DEEPSYNTH_HOME`, or as XDG says."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(os.environ.get("DEEPSYNTH_HOME") or Path(state) / "deepsynth")


def remember(kind: str, key: Any, value: Any = True) -> None:
    """Keep a fact for later commands of this user.

    Args:
        kind: What the fact is about: `sites`.
        key: Plain data by which it is found again.
        value: The fact, plain data.
    """
    place = _place(kind, key)
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if recall(kind, key) != value:
        durable.write_json(place, value)


def recall(kind: str, key: Any) -> Any:
    """What was last remembered, or None."""
    return durable.read_json(_place(kind, key))


def _place(kind: str, key: Any) -> Path:
    return state_folder() / "remembered" / kind / f"{durable.sha256_value(key)}.json"


def settings_files(name: str, *folders: Path) -> Iterator[Path]:
    """The files called `name` that exist: the user's own, which comes first, and those of folders.

    Args:
        name: `sites.yaml`.
        folders: Of the job, and where the command is typed. What lies there may be anybody's:
            `need_confirmed` before it is used.
    """
    places = [config_folder() / name, *(folder.resolve() / name for folder in folders)]
    return (path for path in dict.fromkeys(places) if path.is_file())


def need_confirmed(path: Path) -> None:
    """Let a settings file of a folder be used only if the user once said so; then name it.

    The user's own needs no word. One that changed since it was confirmed must be confirmed again.

    Raises:
        RequestError: It was not confirmed.
    """
    if path.parent == config_folder():
        return
    if not recall("confirmed", _identity(path)):
        raise RequestError(
            "this file can make commands run, and you have not confirmed it.",
            where=path,
            hint=f"Read it. If it is right: deepsynth trust {path}\n"
            f"  Or copy what you need of it to {config_folder() / path.name}",
        )
    _name(path)


def confirm(path: Path) -> None:
    """Remember that the user wants a settings file to be used, as it is now.

    Raises:
        RequestError: There is no such file.
    """
    if not path.is_file():
        raise RequestError("there is no such file.", where=path)
    remember("confirmed", _identity(path.resolve()))


def _identity(path: Path) -> list[str]:
    return [str(path), durable.sha256_file(path)]


@cache
def _name(path: Path) -> None:
    """Once in a process: commands ask for the same settings several times."""
    say(f"Settings of a folder are used: {path}", file=sys.stderr)
