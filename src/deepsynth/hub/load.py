"""Loading a dataset from the Hub: one commit, only the files needed, every one verified."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepsynth import durable, parquet
from deepsynth.errors import DataError, RequestError
from deepsynth.home import data_folder
from deepsynth.hub import cards
from deepsynth.hub.account import Account, check_repo_id
from deepsynth.hub.caches import cache_folders, probe
from deepsynth.hub.content import CARD, MANIFEST
from deepsynth.hub.failure import HubError, explain
from deepsynth.hub.manifest import checked
from deepsynth.hub.remote import Remote, RemoteState, whoami
from deepsynth.hub.retry import PATIENT, Retry
from deepsynth.hub.selection import Limits, Wanted, select
from deepsynth.hub.shards import count_rows, cut, stream
from deepsynth.hub.transfer import (
    STALL_SECONDS,
    Mover,
    TransferFailed,
    Transport,
)
from deepsynth.run.progress import Progress, Report, silent

_ALL = 2**63
STREAM_BELOW = 0.5
"""Share of a shard's rows below which they are read over the network instead of the whole file."""


@dataclass(frozen=True)
class Loaded:
    """A dataset of the Hub as a local folder.

    Attributes:
        folder: `data/`, `manifest.json` and `README.md`, holding exactly what was asked for.
        repo: `USER/NAME`.
        sha: The commit it is from, for the run's record.
        rows: Rows by split.
        fetched_bytes: Bytes that came over the network now; 0 when all were cached.
    """

    folder: Path
    repo: str
    sha: str
    rows: dict[str, int]
    fetched_bytes: int

    def files(self) -> list[tuple[str, Path]]:
        """Split and file of each part, in order."""
        manifest = checked(durable.read_json(self.folder / MANIFEST), self.folder / MANIFEST)
        return [(entry["split"], self.folder / entry["path"]) for entry in manifest["files"]]


def is_offline() -> bool:
    """Whether this process was told to ask no server (`--offline` sets HF_HUB_OFFLINE)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def parse_spec(spec: str) -> tuple[str, str | None]:
    """`[hub:]USER/NAME[@revision]` as name and revision.

    Raises:
        RequestError: It is not that.
    """
    name, at, revision = spec.removeprefix("hub:").partition("@")
    if at and not revision:
        raise RequestError(f"{spec!r} names no revision after '@'.", where="data")
    return check_repo_id(name), revision or None


def at_revision(hub: str, revision: str | None) -> str:
    """`USER/NAME[@...]` with `revision`, such as the commit a run is pinned to, if there is one."""
    return hub if revision is None else f"{hub.partition('@')[0]}@{revision}"


@dataclass(frozen=True)
class Found:
    """A dataset of the Hub, looked at but not fetched.

    Attributes:
        repo: `USER/NAME`.
        sha: The commit its revision stands for now.
        rows: Rows by split, of the files that say so: those of a manifest, and parquet.
    """

    repo: str
    sha: str
    rows: dict[str, int]


def find(spec: str, *, account: Account | None = None, retry: Retry = PATIENT) -> Found:
    """Look at a dataset of the Hub with the caller's token; nothing is fetched.

    Args:
        spec: `[hub:]USER/NAME[@branch, tag or commit]`, or NAME for the caller's own.
        account: Credentials; from the environment or `.env` by default.
        retry: Patience with failures that may pass.

    Raises:
        RequestError: Name, revision or token are wrong.
        HubError: The Hub or the network failed.
    """
    account = account or Account.from_environment()
    name, revision = parse_spec(spec)
    remote = Remote(account, _full_name(name, account, retry), "dataset", retry)
    state = remote.state(revision)
    rows: dict[str, int] = {}
    for file in list_wanted(remote, state, remote.read_json(state, MANIFEST), max_samples=_ALL):
        rows[file.split] = rows.get(file.split, 0) + (file.rows or 0)
    durable.write_json(_refs(remote.repo) / _ref_name(revision), {"sha": state.head})
    return Found(remote.repo, state.head, rows)


def load(
    spec: str,
    *,
    config: str | None = None,
    splits: Iterable[str] | None = None,
    max_samples: Limits = None,
    offline: bool = False,
    transport: Transport = "auto",
    progress: Report = silent,
    account: Account | None = None,
    retry: Retry = PATIENT,
    stall_seconds: float = STALL_SECONDS,
) -> Loaded:
    """Bring a dataset of the Hub here, as the caller's token sees it now.

    The revision is resolved first, with the token: one that was revoked, or a repository that is
    gone, is an error even when everything lies in a cache. Only `offline` reads the cache alone.

    Args:
        spec: `[hub:]USER/NAME[@branch, tag or commit]`, or NAME for the caller's own.
        config: Configuration of a dataset that has several.
        splits: Splits wanted; None: all.
        max_samples: Rows wanted of each split, from its beginning, as one number or by split;
            None: all.
        offline: Use what an earlier load of the same selection left here, and ask nobody.
        transport: auto takes Xet where it can work and goes on over LFS where it fails.
        progress: Told of each step.
        account: Credentials; from the environment or `.env` by default.
        retry: Patience with failures that may pass.
        stall_seconds: Silence after which a transfer is taken for hung.

    Raises:
        RequestError: Name, revision, split or token are wrong.
        HubError: The Hub, the network or a disk failed, or damaged bytes arrived twice.
    """
    account = account or Account.from_environment()
    name, revision = parse_spec(spec)
    chosen = None if splits is None else sorted(set(splits))
    limits = dict(max_samples) if isinstance(max_samples, Mapping) else max_samples
    counts = limits.values() if isinstance(limits, dict) else [limits]
    if any(count is not None and count < 1 for count in counts):
        raise RequestError("at least one sample is needed.", where="max_samples")
    selection = durable.sha256_value([config, chosen, limits])[:8]
    if offline:
        return _offline(_named_offline(name, account), revision, selection)
    name = _full_name(name, account, retry)
    remote = Remote(account, name, "dataset", retry)
    progress(Progress("preflight", f"looking at {remote.url}"))
    state = remote.state(revision)
    folder = _store(name) / f"{state.head}-{selection}"
    fetched = 0
    if not _intact(folder):
        manifest = remote.read_json(state, MANIFEST)
        wanted = list_wanted(remote, state, manifest, config, chosen, limits)
        fetched = _Fetch(
            remote, state, Mover(account, transport, retry, stall_seconds, progress), folder
        ).run(wanted, manifest or {})
    durable.write_json(_refs(name) / _ref_name(revision), {"sha": state.head})
    return _loaded(folder, name, state.head, fetched)


def list_wanted(
    remote: Remote,
    state: RemoteState,
    manifest: dict[str, Any] | None,
    config: str | None = None,
    splits: Iterable[str] | None = None,
    max_samples: Limits = None,
) -> list[Wanted]:
    """The files of a selection; the card is asked where there is no manifest of ours."""
    metadata = {} if manifest else cards.front_matter(remote.read_text(state, CARD) or "")
    return select(
        state,
        manifest,
        splits,
        max_samples,
        lambda file: count_rows(remote, state, file),
        remote.url,
        config=config,
        metadata=metadata,
    )


@dataclass(frozen=True)
class _Fetch:
    """One selection on its way from one commit to one folder."""

    remote: Remote
    state: RemoteState
    mover: Mover
    folder: Path

    def run(self, wanted: list[Wanted], manifest: dict[str, Any]) -> int:
        """Fetch, verify and put the folder in place; bytes that came over the network."""
        streamed = [w for w in wanted if w.take and w.rows and w.take <= w.rows * STREAM_BELOW]
        streamed = [w for w in streamed if w.file.path.endswith(".parquet")]
        whole = [w for w in wanted if w not in streamed]
        self._require_room(sum(w.file.bytes for w in whole))
        paths = self._download(whole)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=self.folder.parent) as temporary:
            place = Path(temporary) / "view"
            entries = [self._put(w, paths[w.file.path], place) for w in whole]
            for w in streamed:
                self.mover.report(Progress("download", f"{w.file.path}: {w.take} rows"))
                target = _make_parent(place / w.file.path)
                stream(self.remote, self.state, w, target)
                entries.append(_entry(place, w, w.take))
            order = {w.file.path: number for number, w in enumerate(wanted)}
            entries.sort(key=lambda entry: order[entry["path"]])
            rows: dict[str, int] = {}
            for entry in entries:
                rows[entry["split"]] = rows.get(entry["split"], 0) + entry["rows"]
            hub = {"repo": self.remote.repo, "sha": self.state.head, "url": self.remote.url}
            view = {**manifest, "splits": rows, "files": entries, "hub": hub}
            if card := self.remote.read_text(self.state, CARD):
                (place / CARD).write_text(card, encoding="utf-8")
            durable.write_json(place / MANIFEST, view)
            if self.folder.exists():  # damaged since: it is ours, and made anew
                shutil.rmtree(self.folder)
            place.replace(self.folder)
        return sum(w.file.bytes for w in whole) + sum(
            (self.folder / w.file.path).stat().st_size for w in streamed
        )

    def _require_room(self, needed: int) -> None:
        cache = cache_folders()["HF_HUB_CACHE"]
        found = probe(cache)
        if found.error or found.free_bytes < needed:
            why = found.error or f"{found.free_bytes / 1e6:.0f} MB are free"
            raise HubError(
                f"{needed / 1e6:.0f} MB do not fit under the cache: {why}.",
                where=cache,
                hint="Free some space, point HF_HOME at another disk, or ask for less "
                "(max_samples, splits). `deepsynth doctor` shows every cache.",
            )

    def _download(self, wanted: list[Wanted]) -> dict[str, Path]:
        if not wanted:
            return {}
        total, done = sum(w.file.bytes for w in wanted), 0
        files = [
            {
                "path": w.file.path,
                "bytes": w.file.bytes,
                "sha256": w.file.sha256,
                "blob": w.file.blob if not w.file.sha256 else None,
            }
            for w in wanted
        ]
        task: dict[str, Any] = {
            "operation": "download",
            "repo": self.remote.repo,
            "repo_type": self.remote.repo_type,
            "sha": self.state.head,
            "files": files,
        }

        def on_event(event: dict[str, Any]) -> None:
            nonlocal done
            if event["event"] == "downloaded":
                done += event["bytes"]
                self.mover.report(
                    Progress("download", event["path"], min(done, total), total, "bytes")
                )

        try:
            result, _ = self.mover.run(task, on_event)
        except TransferFailed as error:
            raise explain(
                error.failure,
                doing="downloading",
                where=self.remote.url,
                account=self.remote.account,
            ) from None
        return {w.file.path: Path(p) for w, p in zip(wanted, result["paths"], strict=True)}

    def _put(self, wanted: Wanted, cached: Path, place: Path) -> dict[str, Any]:
        target = _make_parent(place / wanted.file.path)
        if wanted.take is not None and wanted.file.path.endswith(".parquet"):
            cut(cached, wanted.take, target)
        else:
            # One copy on disk, whoever cleans the cache.
            durable.link_or_copy(cached, target)
        return _entry(place, wanted, wanted.take or wanted.rows)


def _entry(place: Path, wanted: Wanted, rows: int | None) -> dict[str, Any]:
    file = place / wanted.file.path
    if rows is None and file.suffix == ".parquet":
        rows = int(parquet.open_parquet(file).metadata.num_rows)
    return {
        "path": wanted.file.path,
        "split": wanted.split,
        "rows": rows or 0,
        "bytes": file.stat().st_size,
        "sha256": durable.sha256_file(file),
    }


def _offline(name: str, revision: str | None, selection: str) -> Loaded:
    known = durable.read_json(_refs(name) / _ref_name(revision)) or {}
    sha = known.get("sha") or revision or ""
    folder = _store(name) / f"{sha}-{selection}"
    if not _intact(folder):
        raise DataError(
            "it was asked for offline, but is not here (this revision, splits and max_samples).",
            where=f"hub:{name}" + (f"@{revision}" if revision else ""),
            hint="Load it once without --offline.",
        )
    return _loaded(folder, name, sha, 0)


def _full_name(name: str, account: Account, retry: Retry) -> str:
    if "/" in name:
        return name
    return f"{account.username or whoami(account, retry)['name']}/{name}"


def _named_offline(name: str, account: Account) -> str:
    if "/" in name:
        return name
    if account.username is None:
        raise RequestError(
            f"whose {name} is meant cannot be asked offline.",
            where="--offline",
            hint="Write USER/NAME, or set HF_USERNAME.",
        )
    return f"{account.username}/{name}"


def _loaded(folder: Path, name: str, sha: str, fetched: int) -> Loaded:
    manifest = checked(durable.read_json(folder / MANIFEST), folder / MANIFEST)
    return Loaded(folder, name, sha, manifest["splits"], fetched)


def _intact(folder: Path) -> bool:
    """Whether a folder of an earlier load still holds what its manifest says."""
    try:
        manifest = checked(durable.read_json(folder / MANIFEST), folder)
    except DataError:
        return False
    for entry in manifest["files"]:
        file = folder / entry["path"]
        if not file.is_file() or durable.sha256_file(file) != entry["sha256"]:
            return False
    return True


def _store(name: str) -> Path:
    """Where the folders of one repository's commits lie."""
    return data_folder() / "hub" / name.replace("/", "--")


def _refs(name: str) -> Path:
    folder = _store(name) / "refs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _ref_name(revision: str | None) -> str:
    return re.sub(r"[^\w.-]", "-", revision or "default-branch") + ".json"


def _make_parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
