"""From what the user names to corpora: known names, `all`, files, folders, Hub datasets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from deepsynth.data.corpus import Corpus, choose_columns, split_of
from deepsynth.data.formats import SUFFIXES, FileIndex, index_file
from deepsynth.data.registry import KnownSource, known_sources, unknown_source
from deepsynth.durable import sha256_value
from deepsynth.errors import DataError
from deepsynth.run.progress import Report, silent

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def source_names(given: str | Iterable[str]) -> list[str]:
    """The sources asked for, each once, with `all` spelled out."""
    names = [given] if isinstance(given, str) else list(given)
    full = [known for name in names for known in (known_sources() if name == "all" else (name,))]
    return list(dict.fromkeys(full))


def short_name(source: str) -> str:
    """The folder name of a source's dataset: the known name, or that of the file or repository."""
    if source in known_sources():
        return source
    path = Path(source)
    name = path.stem if path.suffix.lower() in SUFFIXES else path.name
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "dataset"


def open_corpus(
    source: str,
    *,
    text: str | None = None,
    summary: str | None = None,
    licence: str | None = None,
    progress: Report = silent,
) -> Corpus:
    """Open a source for reading; files are indexed, Hub datasets fetched and verified first.

    Args:
        source: A known name, a file, a folder, or OWNER/NAME on the Hub.
        text: Column of the documents; found by its usual names when not given.
        summary: Column of the summaries; likewise.
        licence: Licence of the texts, as dataset cards write it, where we do not know it.
        progress: Told how far a download is.

    Raises:
        RequestError: Nothing is known under that name.
        DataError: The files cannot be used; the message says why.
        DeepSynthError: The Hub does not answer.
    """
    known = known_sources().get(source)
    path = Path(source).expanduser()
    if known is None and not path.exists() and not _HUB_NAME.fullmatch(source):
        raise unknown_source(source)
    if known is None and path.exists():
        return _local(path, text, summary, licence)
    from deepsynth.hub.load import at_revision, is_offline, load

    spec = at_revision(known.repo, known.revision) if known else source
    loaded = load(
        spec, config=known.config if known else None, offline=is_offline(), progress=progress
    )
    files = _files(loaded.folder, digest=False)
    columns = _columns(files, loaded.folder)
    chosen = choose_columns(
        columns,
        text or (known.text if known else None),
        summary or (known.summary if known else None),
        source,
    )
    return _corpus(source, known, loaded.sha, chosen, files, licence)


def _local(path: Path, text: str | None, summary: str | None, licence: str | None) -> Corpus:
    files = _files(path, digest=True)
    chosen = choose_columns(_columns(files, path), text, summary, path)
    revision = sha256_value([file.sha256 for part in files.values() for file in part])
    return _corpus(path.name, None, revision, chosen, files, licence)


def _corpus(
    source: str,
    known: KnownSource | None,
    revision: str,
    columns: tuple[str, str],
    files: dict[str, tuple[FileIndex, ...]],
    licence: str | None,
) -> Corpus:
    if known is None:
        return Corpus(
            name=short_name(source),
            origin=source,
            revision=revision,
            text=columns[0],
            summary=columns[1],
            files=files,
            licence=licence or "unknown",
            private_only=licence is None,
            licence_note="" if licence else "its licence is not known; say it with --licence",
        )
    return Corpus(
        name=known.name,
        origin=known.repo,
        revision=revision,
        text=columns[0],
        summary=columns[1],
        files=files,
        language=known.language,
        licence=known.licence,
        licence_note=known.licence_note,
        private_only=known.private_only,
    )


def _files(path: Path, *, digest: bool) -> dict[str, tuple[FileIndex, ...]]:
    """The data files by split; a file alone, or files whose names say nothing, are `train`."""
    if path.is_file():
        return {"train": (index_file(path, digest=digest),)}
    found = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not found:
        raise DataError(
            "there are no data files in this folder",
            where=path,
            hint=f"Formats: {', '.join(SUFFIXES)}.",
        )
    by_split: dict[str, list[Path]] = {}
    for file in found:
        if split := split_of(file):
            by_split.setdefault(split, []).append(file)
    if not by_split:
        by_split = {"train": found}
    return {
        split: tuple(index_file(file, digest=digest) for file in files)
        for split, files in sorted(by_split.items())
    }


def _columns(files: dict[str, tuple[FileIndex, ...]], where: object) -> list[str]:
    """The columns that all files have, in the order of the first."""
    everything = [file for part in files.values() for file in part]
    first = everything[0].columns
    shared = [c for c in first if all(c in file.columns for file in everything)]
    if not shared:
        raise DataError(
            "its files have no column in common", where=where, hint="Give them one by one."
        )
    return shared
