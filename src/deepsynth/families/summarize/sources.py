"""Where the rows of a job come from: a generated dataset, a table of texts, or the Hub."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deepsynth import durable, parquet
from deepsynth.errors import DataError, RequestError
from deepsynth.families.summarize.job import Data
from deepsynth.hub.load import at_revision
from deepsynth.job.job import Recommendation
from deepsynth.storage import local_path

GENERATED = Path("datasets")
"""Where `deepsynth generate` puts datasets unless told otherwise."""
HELD_OUT = 200
"""Held-out rows fetched at least, where only the number of training rows is limited."""


@dataclass(frozen=True)
class Source:
    """One dataset of a job.

    Attributes:
        kind: `pages` (a generated dataset here), `texts` (to be drawn), or `hub`.
        place: Folder, file, or `USER/NAME@commit`.
        rows: Training rows, about.
    """

    kind: Literal["pages", "texts", "hub"]
    place: str
    rows: int


def find_sources(data: Data) -> list[Source]:
    """The datasets a job names, found and sized; this is what may ask the Hub.

    A name of `data.datasets` is first looked for among the datasets generated here, then on the
    Hub, under the prefix or one's own name; `all` is every one found in either place.

    Raises:
        DataError: What is named holds nothing to train on, or is not on the Hub.
        RequestError: A name cannot be looked for: no token, or no such revision.
    """
    if data.path is not None:
        return [_local(local_path(data.path), data)]
    if data.hub is not None:
        return [_on_hub(at_revision(data.hub, data.revision), data)]
    found: list[Source] = []
    for name in _spelled_out(data):
        here = GENERATED / name
        if data.hf_dataset_prefix is None and (here / "manifest.json").is_file():
            found.append(_local(here.resolve(), data))
        else:
            found += [_on_hub(spec, data) for spec in _repositories(name, data)]
    return list({source.place: source for source in found}.values())


def pinned(data: Data, sources: list[Source]) -> list[Recommendation]:
    """What a run records of where its datasets were found, so that nobody looks again."""
    if data.hub is not None:
        commit = sources[0].place.rpartition("@")[2]
        why = "the commit of the dataset when the run was made"
        return [Recommendation("data.revision", commit, why, pins=True)]
    if data.datasets is not None:
        places = [source.place for source in sources]
        if data.weights is not None and len(places) != len(data.weights):
            raise RequestError(
                f"these names mean {len(places)} datasets, and there are {len(data.weights)} "
                "weights.",
                where="data.weights",
                hint=f"Found: {', '.join(places)}.",
            )
        why = "where each dataset was when the run was made"
        return [Recommendation("data.datasets", places, why, pins=True)]
    return []


def pinned_places(data: Data) -> list[tuple[str, str]]:
    """Place and sha256 of the manifest, if it is here, of each dataset of a job that is pinned."""
    if data.hub is not None:
        return [(at_revision(data.hub, data.revision), "")]
    return [(name, _digest(Path(name))) for name in data.datasets or []]


def fetched_rows(data: Data) -> dict[str, int]:
    """How many rows of each split are fetched from the Hub; splits without a limit are not named.

    A tenth more than is trained on, and what may be held out of it: rows that repeat held-out
    ones are left out afterwards.
    """
    limits: dict[str, int] = {}
    if data.max_train_samples is not None:
        kept = 1 - data.validation_share - data.test_share
        limits = dict.fromkeys(("validation", "test"), max(data.max_train_samples, HELD_OUT))
        limits["train"] = math.ceil(1.1 * data.max_train_samples / kept)
    if data.max_val_samples is not None:
        limits["validation"] = data.max_val_samples
    return limits


def is_pages(folder: Path) -> bool:
    """Whether a folder holds shards of pages."""
    if not folder.is_dir():
        return False
    if (folder / "manifest.json").is_file():
        return True
    first = next(iter(sorted(folder.rglob("*.parquet"))), None)
    return first is not None and "images" in parquet.open_parquet(first).schema_arrow.names


def _local(path: Path, data: Data) -> Source:
    from deepsynth.families.summarize.samples import ShardRows, find_shards

    if not path.exists():
        beside = sorted(p.name for p in path.parent.glob("*")) if path.parent.is_dir() else []
        raise DataError(
            "there is no such file or folder.",
            where=path,
            hint=f"Found beside it: {', '.join(beside[:8])}." if beside else None,
        )
    if is_pages(path):
        return Source("pages", str(path), len(ShardRows(find_shards(path)["train"])))
    from deepsynth.data.opening import open_corpus

    corpus = open_corpus(str(path), text=data.text, summary=data.summary)
    if "train" not in corpus.splits:
        raise DataError("there is no training split.", where=path)
    return Source("texts", str(path), corpus.rows_in("train"))


def _digest(folder: Path) -> str:
    """sha256 of the manifest of a dataset here, which holds the digests of its shards."""
    manifest = folder / "manifest.json"
    return durable.sha256_file(manifest) if folder.is_absolute() and manifest.is_file() else ""


def _spelled_out(data: Data) -> list[str]:
    """The names asked for; `all` followed by those generated here, where it means one's own."""
    names: list[str] = []
    for name in data.datasets or []:
        if name == "all" and data.hf_dataset_prefix is None:
            here = sorted(path.parent.name for path in GENERATED.glob("*/manifest.json"))
            names += here
            if here and _nobody(data):
                continue
        names.append(name)
    return list(dict.fromkeys(names))


def _repositories(name: str, data: Data) -> list[str]:
    """`USER/NAME[@revision]` of what is not here; of `all`, what is not here already."""
    from deepsynth.data.published import resolve_datasets
    from deepsynth.data.registry import known_sources, unknown_source
    from deepsynth.hub.account import dataset_repo_name
    from deepsynth.hub.load import is_offline

    plain, at, revision = name.removeprefix("hub:").partition("@")
    if "/" in plain:
        return [plain + at + revision]
    if is_offline():
        if plain == "all":
            raise RequestError("what the Hub holds cannot be asked offline.", where="all")
        owner = f"{data.hf_dataset_prefix}/" if data.hf_dataset_prefix else ""
        return [f"{owner}{dataset_repo_name(plain)}{at}{revision}"]
    if _nobody(data):
        if plain not in known_sources() and plain != "all":
            raise unknown_source(name)
        raise RequestError(
            f"it is not in {GENERATED}/, and without a token it cannot be looked for on the Hub.",
            where=name,
            hint=f"Make it: deepsynth generate {plain}. Or set HF_TOKEN (see .env.example), or say "
            "whose you mean: --hf-dataset-prefix USER.",
        )
    own = plain == "all" and data.hf_dataset_prefix is None
    here = {dataset_repo_name(p.parent.name) for p in GENERATED.glob("*/manifest.json") if own}
    try:
        found = resolve_datasets([name], data.hf_dataset_prefix)
    except DataError:
        if here:
            return []
        raise
    return [repo for repo in found if repo.split("/")[1] not in here]


def _nobody(data: Data) -> bool:
    """Whether nothing says whose datasets on the Hub are meant."""
    from deepsynth.hub.account import Account

    account = Account.from_environment()
    return not (data.hf_dataset_prefix or account.username or account.token)


def _on_hub(spec: str, data: Data) -> Source:
    from deepsynth.hub.load import find, is_offline, load

    if is_offline():
        loaded = load(spec, max_samples=fetched_rows(data) or None, offline=True)
        return Source("hub", f"{loaded.repo}@{loaded.sha}", loaded.rows.get("train", 0))
    found = find(spec)
    if not found.rows.get("train"):
        raise DataError(
            "there is no training split.",
            where=f"hub:{found.repo}",
            hint=f"It has: {', '.join(found.rows) or 'no data'}.",
        )
    return Source("hub", f"{found.repo}@{found.sha}", found.rows["train"])
