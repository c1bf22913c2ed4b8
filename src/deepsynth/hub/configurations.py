"""Which data files make which split, in a dataset that DeepSynth did not publish.

Its card may say so, for each of several configurations; else the paths do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from deepsynth.errors import RequestError

DATA = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")
"""Endings of the files that are read."""

_SYNONYMS = {"valid": "validation", "val": "validation", "dev": "validation", "training": "train"}
_SPLIT_WORD = re.compile(r"(?:^|[/_.-])(train|training|validation|valid|val|dev|test)(?=[/_.-])")


def split_of(path: str) -> str:
    """The split a data file belongs to by its path; `train` when it does not say."""
    found = _SPLIT_WORD.findall(path)
    return _known(str(found[-1])) if found else "train"


def files_by_split(
    paths: Sequence[str], metadata: dict[str, Any], config: str | None, where: str
) -> dict[str, list[str]]:
    """The data files of one configuration, by split.

    Args:
        paths: Data files of the repository.
        metadata: The front matter of its card, where `configs` may be described.
        config: The configuration wanted; None: the default or only one, or all files where the
            card describes none.
        where: For messages.

    Raises:
        RequestError: There is no such configuration, or there are several and none was named.
    """
    described = [item for item in metadata.get("configs") or [] if isinstance(item, dict)]
    by_split: dict[str, list[str]] = {}
    if described:
        for split, pattern in _patterns(_choose(described, config, where)):
            for path in _matching(paths, pattern):
                files = by_split.setdefault(split or split_of(path), [])
                if path not in files:
                    files.append(path)
        return by_split
    if config is not None:
        folders = sorted({path.split("/")[0] for path in paths if "/" in path})
        if config not in folders:
            raise _unknown(config, folders, where)
        paths = [path for path in paths if path.startswith(f"{config}/")]
    for path in paths:
        by_split.setdefault(split_of(path), []).append(path)
    return by_split


def _choose(described: list[dict[str, Any]], config: str | None, where: str) -> dict[str, Any]:
    named = {str(item.get("config_name", "default")): item for item in described}
    if config is not None:
        if config not in named:
            raise _unknown(config, list(named), where)
        return named[config]
    preferred = [item for name, item in named.items() if item.get("default") or name == "default"]
    if len(named) > 1 and not preferred:
        raise RequestError(
            f"it has several configurations: {', '.join(named)}.",
            where=where,
            hint="Name one in a job with data.config; for drawing, give a folder with its files.",
        )
    return (preferred or list(named.values()))[0]


def _patterns(item: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Pairs of split (empty: the path says) and glob pattern, in the order of the card."""
    files = item.get("data_files", "**")
    for entry in files if isinstance(files, list) else [files]:
        split, patterns = "", entry
        if isinstance(entry, dict):
            split, patterns = _known(str(entry.get("split", ""))), entry.get("path", [])
        for pattern in patterns if isinstance(patterns, list) else [patterns]:
            folder = str(item.get("data_dir") or "").strip("/")
            yield split, f"{folder}/{pattern}" if folder else str(pattern)


def _matching(paths: Iterable[str], pattern: str) -> list[str]:
    """The paths that a pattern of a card means, in time that grows with both lengths alone."""
    wanted = [part for part in pattern.split("/") if part not in ("", ".")]
    return [path for path in paths if _matches(path.split("/"), wanted)]


def _matches(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether `wanted`, in which `**` stands for any number of folders, means `parts`."""

    def onward(reached: set[int]) -> set[int]:
        for place in range(len(wanted)):
            if place in reached and wanted[place] == "**":
                reached.add(place + 1)
        return reached

    reached = onward({0})
    for part in parts:
        reached = onward(
            {
                place if wanted[place] == "**" else place + 1
                for place in reached
                if place < len(wanted)
                and (wanted[place] == "**" or fnmatchcase(part, wanted[place]))
            }
        )
    return len(wanted) in reached


def _known(split: str) -> str:
    return _SYNONYMS.get(split, split)


def _unknown(config: str, names: list[str], where: str) -> RequestError:
    return RequestError(
        f"there is no configuration {config}.",
        where=where,
        hint=f"It has: {', '.join(names) or 'none by name'}.",
    )
