"""The process that moves bytes: `python -m deepsynth.hub.worker`, one task on stdin, events out.

Transfers run in a process of their own because the client decides on its transport when it is
imported, and because its Rust part can hang or abort: a process can be watched and ended, a thread
cannot. (A test shows that the client, told our patience, still waits for a storage that never
answers.) The task is one JSON line; the token comes in the environment; the parent keeps stdin
open, and its end ends this process, so that no transfer outlives the command that wanted it.

Events are JSON lines: `moved` (something moved; `bytes` more), `uploaded`, `downloaded`,
`waiting` (before another try), and at last `done` with a result or `failed` with a `Failure`.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deepsynth.hub.failure import Corrupt, Failure, classify
from deepsynth.hub.retry import Retry
from deepsynth.run.child import Parent

PARALLEL_DOWNLOADS = 4
EVENT_SECONDS = 0.5


def _content(file: dict[str, Any]) -> str | bytes:
    """What is sent of a file: its place here, or the text that was written for publishing."""
    return file["source"] if file["text"] is None else file["text"].encode()


class Events:
    """Writes events to the parent, one line each, from any thread."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._moved, self._moved_at = 0, 0.0

    def write(self, event: str, **fields: Any) -> None:
        """One event."""
        self._parent.answer({"event": event, **fields})

    def moved(self, amount: float) -> None:
        """Something moved: a sign of life, at most two a second."""
        self._moved += max(0, int(amount))
        if time.monotonic() - self._moved_at >= EVENT_SECONDS:
            self._moved_at = time.monotonic()
            self.write("moved", bytes=self._moved)
            self._moved = 0


class Transfer:
    """One task: the client, the patience, and the channel to the parent."""

    def __init__(self, task: dict[str, Any], events: Events) -> None:
        from huggingface_hub import HfApi

        self.task, self.events = task, events
        self.retry = Retry(**task["retry"])
        self.api = HfApi(endpoint=task["endpoint"], token=os.environ["HF_TOKEN"] or False)
        self.xet = os.environ["HF_HUB_DISABLE_XET"] == "0"
        self.repo = {"repo_id": task["repo"], "repo_type": task["repo_type"]}

    def _patiently(self, what: str, function: Callable[[], Any]) -> Any:
        """`function()` with our retries, each announced."""
        attempt = 1
        while True:
            try:
                return function()
            except Exception as error:
                failure = classify(error)
                wait = self.retry.delay(failure, attempt)
                # the Xet part has tried again by itself before it gives up with a RuntimeError
                if wait is None or (self.xet and type(error) is RuntimeError):
                    raise
            self._wait(what, failure, wait)
            attempt += 1

    def _wait(self, what: str, failure: Failure, seconds: float) -> None:
        detail = failure.status or failure.kind
        self.events.write("waiting", what=what, why=f"{detail}", seconds=seconds)
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 5.0))
            self.events.moved(0)

    def upload(self) -> dict[str, Any]:
        """Send what is missing, then make one commit of everything."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        additions: list[CommitOperationAdd] = []
        known = set(self.task["uploaded"])
        for file in self.task["files"]:
            addition = CommitOperationAdd(file["path"], _content(file))
            self._patiently(
                file["path"],
                lambda a=addition, sure=file["sha256"] in known: self._send(a, classic=sure),
            )
            self.events.write("uploaded", **{k: file[k] for k in ("path", "sha256", "bytes")})
            additions.append(addition)
        deletions = [CommitOperationDelete(path) for path in self.task["deletes"]]
        return self._commit([*additions, *deletions])

    def _send(self, addition: Any, *, classic: bool) -> None:
        """Upload one file; with `classic`, ask the LFS server first and send only if it lacks it.

        Xet would cut and hash a file again to find out that it is there; the LFS batch call
        answers by its sha256 alone.
        """
        from huggingface_hub import constants

        before = constants.HF_HUB_DISABLE_XET
        constants.HF_HUB_DISABLE_XET = before or classic
        try:
            # an empty .gitignore: one in the repository must not drop our files silently
            self.api.preupload_lfs_files(
                additions=[addition], free_memory=False, gitignore_content="", **self.repo
            )
        finally:
            constants.HF_HUB_DISABLE_XET = before

    def _commit(self, operations: list[Any]) -> dict[str, Any]:
        """One commit, looked for before it is ever sent again.

        Returns:
            `{"sha": ...}`, or `{"moved": head}` when someone else's commit came between.
        """
        attempt = 1
        while True:
            try:
                commit = self.api.create_commit(
                    operations=operations,
                    commit_message=self.task["message"],
                    commit_description=f"publication: {self.task['publication']}",
                    parent_commit=self.task["parent"],
                    **self.repo,
                )
            except Exception as error:
                failure = classify(error)
                if failure.kind != "conflict" and not failure.transient:
                    raise
                found = self._patiently("looking for the commit", self._look)
                if found["sha"]:
                    return {"sha": found["sha"], "attempts": attempt}
                if failure.kind == "conflict":
                    if found["head"] != self.task["parent"]:
                        return {"moved": found["head"]}
                    # refused although nothing changed: the Hub's own contention, which passes
                    failure = Failure("server", failure.detail, failure.status)
                wait = self.retry.delay(failure, attempt)
                if wait is None:
                    raise
            else:
                return {"sha": commit.oid, "attempts": attempt}
            self._wait("commit", failure, wait)
            attempt += 1

    def _look(self) -> dict[str, Any]:
        """The commit of this publication, if it landed, and the head of the branch."""
        commits = self.api.list_repo_commits(**self.repo)
        mark = f"publication: {self.task['publication']}"
        landed = next((c.commit_id for c in commits if mark in (c.message or "")), None)
        return {"sha": landed, "head": commits[0].commit_id}

    def download(self) -> dict[str, Any]:
        """Fetch files of one commit into the cache, each verified."""
        with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
            paths = list(pool.map(self._fetch, self.task["files"]))
        return {"paths": paths}

    def _fetch(self, file: dict[str, Any]) -> str:
        def get(force: bool = False) -> Path:
            return Path(
                self.api.hf_hub_download(
                    filename=file["path"],
                    revision=self.task["sha"],
                    force_download=force,
                    **self.repo,
                )
            )

        path = self._patiently(file["path"], get)
        if not self._intact(path, file):
            # the classic transport does not check what it received: fetch that file again, once
            self.events.write("waiting", what=file["path"], why="damaged on the way", seconds=0)
            path = self._patiently(file["path"], lambda: get(force=True))
            if not self._intact(path, file):
                path.resolve().unlink(missing_ok=True)
                raise Corrupt(f"{file['path']}: sha256 differs from the one published")
        self.events.write("downloaded", path=file["path"], bytes=path.stat().st_size)
        return str(path)

    def _intact(self, path: Path, file: dict[str, Any]) -> bool:
        if file.get("bytes") not in (None, path.stat().st_size):
            return False
        if file.get("sha256"):
            return self._digest(path, hashlib.sha256()) == file["sha256"]
        if file.get("blob"):
            head = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
            return self._digest(path, head) == file["blob"]
        return True

    def _digest(self, path: Path, state: Any) -> str:
        with path.open("rb") as stream:
            while block := stream.read(1 << 22):
                state.update(block)
                self.events.moved(0)
        return state.hexdigest()


def _watch_progress(events: Events) -> None:
    """Turn every step of the client's progress bars into a sign of life.

    The client offers no callback for uploads; its bars, drawn or not, are told of every piece by
    both transports and in every version.
    """
    from tqdm.std import tqdm

    update = tqdm.update

    def counted(bar: Any, n: float | None = 1) -> Any:
        if n and n > 0:  # the Xet part redraws its bars also while nothing moves
            events.moved(n)
        return update(bar, n)

    tqdm.update = counted  # pyright: ignore[reportAttributeAccessIssue]


def main() -> None:
    """Do one task and leave; a hanging thread of the client must not keep us."""
    parent = Parent()
    events = Events(parent)
    task = next(parent.requests())
    parent.end_with_it()
    code = 0
    try:
        _watch_progress(events)
        events.moved(0)  # here we are: what comes before is the interpreter's own start
        transfer = Transfer(task, events)
        events.write("done", result=getattr(transfer, task["operation"])())
    except Exception as error:
        events.write("failed", failure=classify(error).as_dict())
        code = 1
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
