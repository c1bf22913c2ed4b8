"""The corpora known by name, read from `registry.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from deepsynth.errors import RequestError


@dataclass(frozen=True)
class KnownSource:
    """A corpus on the Hub that can be asked for by name.

    Attributes:
        name: What `deepsynth generate` takes.
        repo: Dataset repository on the Hub.
        revision: Branch or ref that holds parquet files.
        config: Its configuration, where it has several.
        text: Column of the documents.
        summary: Column of the summaries.
        language: ISO 639-1 code.
        licence: Identifier as dataset cards write it.
        licence_note: What the licence means for who publishes.
        private_only: Whether derived datasets may be published in private repositories only.
        rows: Rows by split, as the corpus' card states them.
    """

    name: str
    repo: str
    revision: str
    config: str | None
    text: str
    summary: str
    language: str
    licence: str
    licence_note: str
    private_only: bool
    rows: dict[str, int]


@cache
def known_sources() -> dict[str, KnownSource]:
    """All known corpora by name, in the order of the file."""
    content = files("deepsynth.data").joinpath("registry.yaml")
    entries: dict[str, dict[str, Any]] = yaml.safe_load(content.read_text(encoding="utf-8"))
    return {name: KnownSource(name=name, **entry) for name, entry in entries.items()}


def unknown_source(name: str) -> RequestError:
    """The error for a name that is neither a known corpus, a path, nor a Hub dataset."""
    close = get_close_matches(name, [*known_sources(), "all"], n=1)
    meant = f"Did you mean {close[0]}? " if close else ""
    return RequestError(
        "is not a known source, nor a file or folder here",
        where=name,
        hint=f"{meant}Known: {', '.join(known_sources())}, all. Or give a CSV, JSONL or Parquet"
        " path, or OWNER/NAME of a dataset on the Hub.",
    )
