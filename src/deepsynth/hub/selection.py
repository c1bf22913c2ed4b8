"""Which files of a published dataset are needed, for the splits and the samples asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from deepsynth.errors import DataError
from deepsynth.hub.configurations import DATA, files_by_split, split_of
from deepsynth.hub.content import CARD, MANIFEST
from deepsynth.hub.manifest import checked
from deepsynth.hub.remote import RemoteFile, RemoteState

Limits = int | Mapping[str, int] | None
"""Rows wanted of each split, from its beginning: one number for all, or by split; None: all."""


@dataclass(frozen=True)
class Wanted:
    """One file to fetch.

    Attributes:
        file: The file as the repository has it.
        split: Its split.
        rows: Rows in it; None when only downloading would tell.
        take: Rows needed of it; None: all.
    """

    file: RemoteFile
    split: str
    rows: int | None
    take: int | None = None


def select(
    state: RemoteState,
    manifest: dict[str, Any] | None,
    splits: Iterable[str] | None,
    max_samples: Limits,
    count_rows: Callable[[RemoteFile], int | None],
    where: str,
    *,
    config: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> list[Wanted]:
    """The data files to fetch, in order.

    Args:
        state: The repository at its commit.
        manifest: Its manifest; None for a dataset that DeepSynth did not publish.
        splits: Splits wanted; None: all.
        max_samples: Rows wanted of each split, from its beginning; None: all.
        count_rows: Rows of a file no manifest describes; asked only of splits with a limit.
        where: For messages.
        config: Configuration wanted, where there is no manifest.
        metadata: Front matter of the card, where there is no manifest.

    Raises:
        RequestError: There is no such configuration, or none was named of several.
        DataError: No data, an unknown split, or a manifest that names files that are not there.
    """
    files = checked(manifest, where)["files"] if manifest else []
    listed: dict[str, dict[str, Any]] = {entry["path"]: entry for entry in files}
    for path in state.files:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise DataError(f"it names a file outside of itself: {path}", where=where)
    if lost := sorted(path for path in listed if path not in state.files):
        raise DataError(f"the manifest lists {lost[0]}, which is not there.", where=where)
    # a manifest also lists what is not data: the rows left out, an example page
    by_split: dict[str, list[str]] = {}
    for path, entry in listed.items():
        if "rows" in entry:
            by_split.setdefault(entry.get("split") or split_of(path), []).append(path)
    if not by_split:
        data = sorted(p for p in state.files if p.endswith(DATA) and p not in (CARD, MANIFEST))
        by_split = files_by_split(data, metadata or {}, config, where)
    if not by_split:
        raise DataError(
            "it holds no data files.",
            where=where,
            hint=f"Files ending in {', '.join(DATA)} are read.",
        )
    names = list(splits) if splits is not None else list(by_split)
    for name in names:
        if name not in by_split:
            raise DataError(
                f"there is no split {name}.", where=where, hint=f"It has: {', '.join(by_split)}."
            )
    wanted: list[Wanted] = []
    for name in names:
        left = max_samples.get(name) if isinstance(max_samples, Mapping) else max_samples
        for path in by_split[name]:
            if left is not None and left <= 0:
                break
            file = state.files[path]
            rows = listed.get(path, {}).get("rows")
            if rows is None and left is not None:
                rows = count_rows(file)
            take = left if left is not None and rows is not None and left < rows else None
            wanted.append(Wanted(file, name, rows, take))
            if left is not None and rows is not None:
                left -= rows
    return wanted
