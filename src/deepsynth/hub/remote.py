"""What is on the Hub: one repository at a commit, and the list of a user's datasets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar

from deepsynth.errors import DataError, DeepSynthError
from deepsynth.hub.account import Account
from deepsynth.hub.failure import classify, explain
from deepsynth.hub.retry import PATIENT, Retry

T = TypeVar("T")


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository: size, and sha256 (LFS) or git blob id (small files)."""

    path: str
    bytes: int
    sha256: str | None
    blob: str

    def same_as(self, size: int, sha256: str, read: Callable[[], bytes]) -> bool:
        """Whether a local file has these bytes; `read` is called only for small files."""
        if size != self.bytes:
            return False
        if self.sha256:
            return sha256 == self.sha256
        data = read()
        head = f"blob {len(data)}\0".encode()
        return hashlib.sha1(head + data, usedforsecurity=False).hexdigest() == self.blob


@dataclass(frozen=True)
class RemoteState:
    """A repository at one commit.

    Attributes:
        repo: `USER/NAME`.
        exists: Whether it is there and visible to the token.
        private: Its visibility.
        head: The commit.
        files: Its files by path.
    """

    repo: str
    exists: bool
    private: bool = True
    head: str = ""
    files: dict[str, RemoteFile] = field(default_factory=dict[str, RemoteFile])


@dataclass(frozen=True)
class Remote:
    """One repository of one account, every call patient and every failure explained."""

    account: Account
    repo: str
    repo_type: str = "dataset"
    retry: Retry = PATIENT

    @property
    def url(self) -> str:
        """Where people look at it."""
        prefix = "" if self.repo_type == "model" else f"{self.repo_type}s/"
        return f"{self.account.endpoint}/{prefix}{self.repo}"

    def api(self) -> Any:
        """The client, with this account's endpoint and token, or without one where it has none."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.account.endpoint, token=self.account.token or False)

    def call(self, doing: str, function: Callable[[], T]) -> T:
        """`function()` with retries.

        Raises:
            DeepSynthError: It failed for good; with what was being done and what to do.
        """
        try:
            return self.retry.call(function)
        except DeepSynthError:
            raise
        except Exception as error:
            raise explain(
                classify(error), doing=doing, where=self.url, account=self.account
            ) from None

    def state(self, revision: str | None = None, *, may_be_absent: bool = False) -> RemoteState:
        """The repository at `revision` (default: its main branch).

        Args:
            revision: Branch, tag or commit.
            may_be_absent: Return a state that says so, instead of raising, when it is not there.
        """
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        api = self.api()

        def look() -> RemoteState:
            try:
                info = api.repo_info(self.repo, repo_type=self.repo_type, revision=revision)
            except RepositoryNotFoundError as error:
                absent = classify(error).status == 404 and not isinstance(error, GatedRepoError)
                if may_be_absent and absent:
                    return RemoteState(self.repo, exists=False)
                raise
            tree = api.list_repo_tree(
                self.repo, repo_type=self.repo_type, revision=info.sha, recursive=True
            )
            files: dict[str, RemoteFile] = {}
            for entry in tree:
                if hasattr(entry, "size"):  # folders have none
                    sha256 = entry.lfs.sha256 if entry.lfs else None
                    files[entry.path] = RemoteFile(entry.path, entry.size, sha256, entry.blob_id)
            return RemoteState(self.repo, True, bool(info.private), info.sha, files)

        return self.call("looking at the repository", look)

    def read_text(self, state: RemoteState, path: str) -> str | None:
        """The text of a small file at `state`'s commit; None when it is not there."""
        if path not in state.files:
            return None
        api = self.api()

        def fetch() -> bytes:
            from huggingface_hub import hf_hub_url
            from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

            url = hf_hub_url(
                self.repo,
                path,
                repo_type=self.repo_type,
                revision=state.head,
                endpoint=self.account.endpoint,
            )
            answer = get_session().get(url, headers=build_hf_headers(token=api.token))
            hf_raise_for_status(answer)
            return answer.content

        data = self.call(f"reading {path}", fetch)
        entry = state.files[path]
        digest = hashlib.sha256(data).hexdigest()
        if not entry.same_as(len(data), digest, lambda: data):
            data = self.call(f"reading {path} again", fetch)
            if not entry.same_as(len(data), hashlib.sha256(data).hexdigest(), lambda: data):
                raise DataError("it arrived damaged twice.", where=f"{self.url}: {path}")
        return data.decode("utf-8", "replace")

    def errors_of_card(self, text: str) -> list[str]:
        """What the Hub would refuse in a card; it reads it and keeps nothing."""
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        def ask() -> list[str]:
            answer = get_session().post(
                f"{self.account.endpoint}/api/validate-yaml",
                json={"repoType": self.repo_type, "content": text},
                headers=build_hf_headers(token=self.api().token),
            )
            if answer.status_code == HTTPStatus.BAD_REQUEST:
                return [str(error["message"]) for error in answer.json()["errors"]]
            hf_raise_for_status(answer)
            return []

        return self.call("having the card read", ask)

    def read_json(self, state: RemoteState, path: str) -> dict[str, Any] | None:
        """The JSON object in a small file; None when it is absent or is not one."""
        text = self.read_text(state, path)
        try:
            value = json.loads(text) if text is not None else None
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None


@dataclass(frozen=True)
class Listed:
    """A dataset repository as `--list` shows it."""

    repo: str
    private: bool
    modified: str


def list_remote(
    namespace: str | None = None, *, account: Account | None = None, retry: Retry = PATIENT
) -> list[Listed]:
    """The datasets made by DeepSynth under a user or an organisation (default: the caller).

    Raises:
        DeepSynthError: The Hub does not answer, or refuses the token.
    """
    account = account or Account.from_environment()
    owner = namespace or account.username or whoami(account, retry)["name"]
    remote = Remote(account, f"{owner}/*", retry=retry)
    found = remote.call(
        "listing datasets",
        lambda: list(remote.api().list_datasets(author=owner, search="deepsynth-")),
    )
    return [
        Listed(info.id, bool(info.private), str(info.last_modified or "")[:10])
        for info in sorted(found, key=lambda info: info.id)
    ]


def whoami(account: Account, retry: Retry = PATIENT) -> dict[str, Any]:
    """Whom the token belongs to: `name`, `orgs`, `auth`.

    Raises:
        DeepSynthError: The Hub does not answer, or refuses the token.
    """
    account.require_token()
    remote = Remote(account, "api/whoami-v2", "model", retry)
    return remote.call("asking whose token it is", lambda: remote.api().whoami())
