"""Datasets by their short names: which repository is meant, and several of them as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from deepsynth.errors import DataError, RequestError
from deepsynth.hub import features
from deepsynth.hub.account import Account, dataset_repo_name
from deepsynth.hub.remote import list_remote, whoami
from deepsynth.hub.retry import PATIENT, Retry
from deepsynth.hub.selection import split_of


def resolve_datasets(
    names: Iterable[str],
    prefix: str | None = None,
    *,
    account: Account | None = None,
    retry: Retry = PATIENT,
) -> list[str]:
    """The repositories that short names mean: `mlsum_fr` -> `USER/deepsynth-...`.

    Args:
        names: Short names, `all` for every published one, or `USER/NAME`; each may carry
            `@revision`.
        prefix: Whose repositories; the caller's by default.
        account: Credentials; from the environment or `.env` by default.
        retry: Patience with failures that may pass.

    Returns:
        `USER/NAME[@revision]`, in the order asked for, each once.

    Raises:
        DataError: One is not published; with those that are, and the command that makes it.
    """
    account = account or Account.from_environment()
    owner = prefix or account.username or str(whoami(account, retry)["name"])
    published = [item.repo for item in list_remote(owner, account=account, retry=retry)]
    found: list[str] = []
    for asked in names:
        name, at, revision = asked.partition("@")
        if name == "all":
            if not published:
                raise _missing("all", owner, published)
            found += published
        elif "/" in name:
            found.append(asked)
        else:
            repo = next((r for r in candidates(name, owner) if r in published), None)
            if repo is None:
                raise _missing(name, owner, published)
            found.append(f"{repo}{at}{revision}")
    return list(dict.fromkeys(found))


def candidates(name: str, owner: str) -> list[str]:
    """The repositories a short name may stand for, most likely first."""
    from deepsynth.dataset.sources.registry import known_sources

    known = known_sources().get(name)
    names = [known.publish_as] if known and known.publish_as else []
    names += [dataset_repo_name(name), name]
    return [f"{owner}/{repo}" for repo in dict.fromkeys(names)]


def _missing(name: str, owner: str, published: list[str]) -> DataError:
    there = ", ".join(published) or "nothing yet"
    made = "deepsynth generate mlsum_fr --publish" if name == "all" else None
    return DataError(
        f"{owner} has published no dataset {name}." if name != "all" else "there is none.",
        where="--datasets",
        hint=f"Published by {owner}: {there}. To make it: "
        + (made or f"deepsynth generate {name} --publish"),
    )


def mix(
    folders: Sequence[Path],
    *,
    split: str = "train",
    weights: Sequence[float] | None = None,
    seed: int = 0,
) -> Any:
    """One `datasets.Dataset` of several dataset folders with the same columns.

    Args:
        folders: Dataset folders, as `load` returns them.
        split: Split to read of each.
        weights: None: one after the other. Else the share of each dataset in the mixture; rows
            are drawn in random order until the first dataset is used up, none twice, so that the
            shares hold.
        seed: Of that order.

    Raises:
        DataError: A folder lacks the split, or columns differ.
        RequestError: The weights do not fit.
    """
    files = [_files(folder, split) for folder in folders]
    features.same_columns(file for group in files for file in group)
    if weights is not None and (len(weights) != len(folders) or min(weights, default=0) <= 0):
        raise RequestError(
            f"{len(folders)} datasets need {len(folders)} weights above 0.", where="weights"
        )
    from datasets import Dataset, concatenate_datasets, interleave_datasets

    parts = [Dataset.from_parquet([str(file) for file in group]) for group in files]
    if weights is None:
        return concatenate_datasets(parts)
    total = sum(weights)
    return interleave_datasets(
        parts,
        probabilities=[weight / total for weight in weights],
        seed=seed,
        stopping_strategy="first_exhausted",
    )


def _files(folder: Path, split: str) -> list[Path]:
    found = [
        file
        for file in sorted((folder / "data").glob("**/*.parquet"))
        if split_of(file.relative_to(folder).as_posix()) == split
    ]
    if not found:
        raise DataError(f"there is no split {split}.", where=folder)
    return found
