"""Where the rows of a job come from: a generated dataset, a table of texts, or the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deepsynth import durable
from deepsynth.errors import DataError, RequestError
from deepsynth.families.summarize.job import Data
from deepsynth.storage import local_path

GENERATED = Path("datasets")
"""Where `deepsynth generate` puts datasets unless told otherwise."""


@dataclass(frozen=True)
class Source:
    """One dataset of a job.

    Attributes:
        kind: `pages` (a generated dataset here), `texts` (to be drawn), or `hub`.
        place: Folder, file, or `USER/NAME[@revision]`.
        rows: Training rows, about.
        sha256: Of the manifest of a dataset here, which holds the digests of its shards.
    """

    kind: Literal["pages", "texts", "hub"]
    place: str
    rows: int
    sha256: str = ""


def sources_of(data: Data) -> list[Source]:
    """The datasets a job names, sized.

    A name of `data.datasets` is first looked for among the datasets generated here, then on the
    Hub, under the prefix or one's own name.

    Raises:
        DataError: What is named holds nothing to train on.
        RequestError: A name is neither here nor on the Hub.
    """
    if data.path is not None:
        return [_local(local_path(data.path), data)]
    found: list[Source] = []
    for name in _spelled_out(data.datasets or []):
        here = GENERATED / name
        if data.hf_dataset_prefix is None and (here / "manifest.json").is_file():
            found.append(_local(here.resolve(), data))
        else:
            found.append(_on_hub(name, data.hf_dataset_prefix))
    return found


def is_pages(folder: Path) -> bool:
    """Whether a folder holds shards of pages."""
    if not folder.is_dir():
        return False
    if (folder / "manifest.json").is_file():
        return True
    import pyarrow.parquet as pq

    first = next(iter(sorted(folder.rglob("*.parquet"))), None)
    return first is not None and "images" in pq.read_schema(first).names


def _local(path: Path, data: Data) -> Source:
    from deepsynth.training.vlm_shards import ShardRows, find_shards

    if not path.exists():
        beside = sorted(p.name for p in path.parent.glob("*")) if path.parent.is_dir() else []
        raise DataError(
            "there is no such file or folder.",
            where=path,
            hint=f"Found beside it: {', '.join(beside[:8])}." if beside else None,
        )
    if is_pages(path):
        manifest = path / "manifest.json"
        digest = durable.sha256_file(manifest) if manifest.is_file() else ""
        return Source("pages", str(path), len(ShardRows(find_shards(path)["train"])), digest)
    from deepsynth.dataset.sources.opening import open_corpus

    corpus = open_corpus(str(path), text=data.text, summary=data.summary)
    if "train" not in corpus.splits:
        raise DataError("there is no training split.", where=path)
    return Source("texts", str(path), corpus.rows_in("train"))


def _spelled_out(names: list[str]) -> list[str]:
    from deepsynth.dataset.sources.registry import known_sources

    full = [known for name in names for known in (known_sources() if name == "all" else [name])]
    return list(dict.fromkeys(full))


def _on_hub(name: str, prefix: str | None) -> Source:
    from deepsynth.dataset.sources.registry import known_sources, unknown_source
    from deepsynth.hub.account import Account, dataset_repo_name
    from deepsynth.hub.remote import Remote, whoami

    known = known_sources()
    plain, _, revision = name.partition("@")
    if "/" not in plain:
        if plain not in known:
            raise unknown_source(name)
        account = Account.from_environment()
        owner = prefix or account.username or whoami(account)["name"]
        plain = f"{owner}/{known[plain].publish_as or dataset_repo_name(plain)}"
    remote = Remote(Account.from_environment(), plain)
    state = remote.state(revision or None, may_be_absent=True)
    if not state.exists:
        raise RequestError(
            "there is no such dataset, neither here nor on the Hub.",
            where=plain,
            hint=f"Make it: deepsynth generate {name}",
        )
    manifest = remote.read_json(state, "manifest.json")
    rows = (manifest or {}).get("splits", {}).get("train", 0)
    return Source("hub", f"{plain}@{state.head}", rows or 1000)
