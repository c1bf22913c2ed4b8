"""`deepsynth generate --list`: every known dataset, published, local, or missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.data.registry import known_sources
from deepsynth.hub.account import dataset_repo_name
from deepsynth.hub.manifest import checked
from deepsynth.pages.generate import OUTPUT
from deepsynth.pages.identity import SETTINGS
from deepsynth.pages.manifest import MANIFEST
from deepsynth.pages.shards import receipts_in


@dataclass(frozen=True)
class ListedDataset:
    """One line of the list.

    Attributes:
        name: Known source, or folder name of a dataset made from a file.
        local: `complete`, `begun`, or empty when there is nothing here.
        documents: Documents here.
        source_documents: Rows the source has, where known.
        languages: Its language code, or empty.
        licence: Licence of the texts.
        private_only: Whether it may be published privately only.
        published: Repository on the Hub, empty when there is none, None when not asked.
    """

    name: str
    local: str
    documents: int
    source_documents: int | None
    languages: str
    licence: str
    private_only: bool
    published: str | None


def list_datasets(
    *,
    output_dir: Path = OUTPUT,
    published: Callable[[], Iterable[str]] | None = None,
) -> list[ListedDataset]:
    """Every known dataset and every other one in `output_dir`.

    Args:
        output_dir: Where datasets are looked for.
        published: Gives the repositories (OWNER/NAME) that exist on the Hub; without it,
            nothing is said about publication.

    Raises:
        DeepSynthError: What `published` raises.
    """
    repositories = None if published is None else sorted(published())
    found: list[ListedDataset] = []
    for name, known in known_sources().items():
        local, documents = _local(output_dir, name)
        found.append(
            ListedDataset(
                name,
                local,
                documents,
                sum(known.rows.values()),
                known.language,
                known.licence,
                known.private_only,
                _repository(repositories, dataset_repo_name(name)),
            )
        )
    for folder in sorted(path.parent for path in output_dir.glob(f"*/{SETTINGS}")):
        if folder.name in known_sources():
            continue
        local, documents = _local(output_dir, folder.name)
        source = _source_of(folder)
        found.append(
            ListedDataset(
                folder.name,
                local,
                documents,
                None,
                str(source.get("language", "?")),
                str(source.get("licence", "?")),
                source.get("private_only") is not False,
                _repository(repositories, dataset_repo_name(folder.name)),
            )
        )
    return found


def _repository(repositories: list[str] | None, *names: str) -> str | None:
    if repositories is None:
        return None
    return next((repo for repo in repositories if repo.split("/")[-1] in names), "")


def _source_of(folder: Path) -> dict[str, Any]:
    settings = durable.read_json(folder / SETTINGS)
    source = settings.get("source") if isinstance(settings, dict) else None
    return source if isinstance(source, dict) else {}


def _local(output_dir: Path, name: str) -> tuple[str, int]:
    manifest = durable.read_json(output_dir / name / MANIFEST)
    if manifest is not None:
        splits = checked(manifest, output_dir / name / MANIFEST)["splits"]
        return "complete", sum(rows for rows in splits.values() if isinstance(rows, int))
    folders = [output_dir / name, *sorted((output_dir / f"{name}-chunks").glob("*"))]
    begun = any((folder / SETTINGS).is_file() for folder in folders)
    rows = sum(receipt.rows for folder in folders for receipt in receipts_in(folder))
    return ("begun" if begun else ""), rows
