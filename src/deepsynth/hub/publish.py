"""Publishing a dataset or a model: everything checked first, one commit, verified afterwards."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepsynth.hub import cards, features, preflight
from deepsynth.hub.account import Account, check_date, check_repo_id
from deepsynth.hub.content import CARD, MANIFEST, Content, Item, read_content, text_item
from deepsynth.hub.failure import HubError, explain
from deepsynth.hub.journal import Journal
from deepsynth.hub.manifest import checked
from deepsynth.hub.model_card import ModelCard
from deepsynth.hub.remote import Remote, RemoteState
from deepsynth.hub.retry import PATIENT, Retry
from deepsynth.hub.transfer import (
    STALL_SECONDS,
    Mover,
    TransferFailed,
    Transport,
)
from deepsynth.run.progress import Progress, Report, silent

REBASES = 5
"""How often somebody else's unrelated commit may come between before we give up."""


@dataclass(frozen=True)
class Published:
    """What publishing did.

    Attributes:
        repo: `USER/NAME`.
        url: The repository's page.
        sha: The commit that holds exactly this content; empty after a dry run of something new.
        tag: The tag that names the commit; None when none was asked for.
        transport: xet or lfs; empty when nothing had to be sent.
        files: Files in the repository that are ours.
        sent_files: Files that differed from what was there.
        sent_bytes: Their size; storage may have known some of them already.
        new_commit: False when the repository already held exactly this.
        dry_run: Nothing was changed, only checked.
    """

    repo: str
    url: str
    sha: str
    tag: str | None
    transport: str
    files: int
    sent_files: int
    sent_bytes: int
    new_commit: bool
    dry_run: bool = False


def publish(
    path: Path,
    *,
    repo: str,
    private: bool = True,
    transport: Transport = "auto",
    tag: str | None = None,
    revision_date: str | None = None,
    licence: str | None = None,
    said: ModelCard | None = None,
    dry_run: bool = False,
    progress: Report = silent,
    account: Account | None = None,
    retry: Retry = PATIENT,
    stall_seconds: float = STALL_SECONDS,
) -> Published:
    """Put a dataset folder or a run's model on the Hub, as one verified commit.

    Running it again after it was interrupted sends only what is missing; running it again after
    it succeeded changes nothing and gives the same commit.

    Args:
        path: A dataset folder (`manifest.json`, `data/`, `README.md`) or a run folder.
        repo: `NAME` (of the caller) or `USER/NAME`.
        private: Visibility of a new repository; an existing one must agree.
        transport: auto takes Xet where it can work and goes on over LFS where it fails.
        tag: A tag for the commit; one that names another commit is never moved.
        revision_date: `2026-11`: publish under `NAME-2026-11`.
        licence: Of a model, as the Hub writes it: `apache-2.0`; a dataset's stands in its card.
        said: What the family of a model says of it, for its card.
        dry_run: Check everything and say what would be sent.
        progress: Told of each step.
        account: Credentials; from the environment or `.env` by default.
        retry: Patience with failures that may pass.
        stall_seconds: Silence after which a transfer is taken for hung.

    Raises:
        RequestError: What was asked for is wrong; nothing was changed.
        HubError: The Hub, the network or a disk failed; run it again to go on.
    """
    account = account or Account.from_environment()
    check_repo_id(repo)
    if revision_date is not None:
        repo = f"{repo.removesuffix(f'-{revision_date}')}-{check_date(revision_date)}"
    progress(Progress("preflight", "asking the Hub who this token is"))
    name = preflight.repository(repo, account, retry)
    progress(Progress("preflight", f"reading {path}"))
    content = read_content(path, name, licence, said)
    if content.notice:
        progress(Progress("notice", content.notice))
    remote = Remote(account, name, content.kind, retry)
    mover = Mover(account, transport, retry, stall_seconds, progress)
    return _Publication(content, remote, mover).run(private, tag, dry_run)


@dataclass(frozen=True)
class _Publication:
    """One content on its way to one repository."""

    content: Content
    remote: Remote
    mover: Mover

    def run(self, private: bool, tag: str | None, dry_run: bool) -> Published:
        remote, report = self.remote, self.mover.report
        state = remote.state(may_be_absent=True)
        preflight.visibility(self.content, state, private, remote.url)
        preflight.card(self._card_item(state).read().decode(), remote)
        preflight.room(self.mover.transport)
        for note in features.compare(self.content, remote, state):
            report(Progress("notice", note))
        if tag is not None:
            self._check_tag(state, tag)
        if dry_run:
            return self._dry_run(state, tag)
        if not state.exists:
            report(Progress("preflight", f"creating {remote.url}"))
            self._create(private)
            state = remote.state()
        sha, sent, transport = self._bring(state)
        report(Progress("verify", f"verifying {remote.url} at {sha[:12]}"))
        self._verify(sha)
        if tag is not None:
            self._tag(sha, tag)
        self._journal().close()
        return Published(
            remote.repo,
            remote.url,
            sha,
            tag,
            transport,
            len(self.content.items) + 1,
            len(sent),
            sum(item.bytes for item in sent),
            new_commit=bool(transport),
        )

    def _bring(self, state: RemoteState) -> tuple[str, list[Item], str]:
        """Make the main branch hold our content: `(commit, files sent, transport)`."""
        seen = state
        for _ in range(REBASES):
            items = [*self.content.items, self._card_item(state)]
            changed = [item for item in items if not _holds(state, item)]
            deletes = self._obsolete(state)
            if not changed and not deletes:
                return state.head, [], ""
            result, transport = self._transfer(state, changed, deletes)
            if "sha" in result:
                return result["sha"], changed, transport
            state = self.remote.state()
            self._refuse_overlap(seen, state)
            self.mover.report(Progress("notice", "someone else committed meanwhile; going on"))
            seen = state
        raise HubError(
            f"other commits came between {REBASES} times.",
            where=self.remote.url,
            hint="Nothing was committed, what was uploaded is kept: run the same command again.",
        )

    def _transfer(
        self, state: RemoteState, changed: list[Item], deletes: list[str]
    ) -> tuple[dict[str, Any], str]:
        journal, report = self._journal(), self.mover.report
        total, done, moving = sum(item.bytes for item in changed), 0, 0
        task: dict[str, Any] = {
            "operation": "upload",
            "repo": self.remote.repo,
            "repo_type": self.remote.repo_type,
            "files": [{**asdict(item), "source": str(item.source)} for item in changed],
            "deletes": deletes,
            "parent": state.head,
            "message": f"Publish {self.content.kind} with DeepSynth",
            "publication": uuid.uuid4().hex,
            "uploaded": sorted(journal.uploaded()),
        }
        if task["uploaded"]:
            report(Progress("upload", "going on where an earlier upload ended"))
        arrived: set[str] = set()

        def on_event(event: dict[str, Any]) -> None:
            nonlocal done, moving
            if event["event"] == "moved":
                moving += event["bytes"]
                report(Progress("upload", "uploading", min(total, done + moving), total, "bytes"))
            elif event["path"] not in arrived:
                moving = 0
                arrived.add(event["path"])
                done += event["bytes"]
                task["uploaded"].append(event["sha256"])
                try:
                    journal.add(event["path"], event["sha256"], event["bytes"])
                except OSError as error:
                    report(Progress("notice", f"no journal is kept: {error.strerror}"))
                report(Progress("upload", event["path"], done, total, "bytes"))

        try:
            return self.mover.run(task, on_event)
        except TransferFailed as error:
            raise explain(
                error.failure,
                doing="publishing",
                where=self.remote.url,
                account=self.remote.account,
            ) from None

    def _card_item(self, state: RemoteState) -> Item:
        """The card as it will be: ours, merged into the one that is there."""
        text = cards.merge(self.content.card, self.remote.read_text(state, CARD))
        return text_item(CARD, self.content.folder / CARD, text)

    def _obsolete(self, state: RemoteState) -> list[str]:
        """Published shards that our manifest replaces: those the published manifest lists.

        Raises:
            HubError: There is data that no manifest of ours describes; it is not ours to remove.
        """
        if self.content.kind != "dataset":
            return []
        ours = {item.path for item in self.content.items}
        published = self.remote.read_json(state, MANIFEST)
        files = checked(published, f"{self.remote.url}: {MANIFEST}")["files"] if published else []
        listed = {entry["path"] for entry in files}
        strangers = sorted(
            path
            for path in state.files
            if path.endswith((".parquet", ".arrow", ".csv", ".jsonl")) and path not in listed | ours
        )
        if strangers:
            raise HubError(
                f"the repository holds data that DeepSynth did not publish: {strangers[0]}"
                + (f" and {len(strangers) - 1} more." if len(strangers) > 1 else "."),
                where=self.remote.url,
                hint="Publish under another name; nothing there was touched.",
            )
        return sorted((listed - ours) & set(state.files))

    def _refuse_overlap(self, before: RemoteState, after: RemoteState) -> None:
        """Go on only if what changed meanwhile is not what we are about to write.

        Raises:
            HubError: Someone else published other data here at the same time.
        """
        if all(_holds(after, item) for item in self.content.items):
            return  # the same content, published by someone else: nothing is left to do
        touched = {
            path
            for path in before.files.keys() | after.files.keys()
            if before.files.get(path) != after.files.get(path)
        } - {CARD, ".gitattributes"}
        ours = {item.path for item in self.content.items}
        if not touched & ours and not any(path.startswith("data/") for path in touched):
            return
        raise HubError(
            f"someone else published here at the same time (commit {after.head[:12]}).",
            where=self.remote.url,
            hint="Theirs is in place and untouched, yours was not committed. Run the same command "
            "again to replace theirs (it stays in the history), or publish under another name.",
        )

    def _create(self, private: bool) -> None:
        api = self.remote.api()
        self.remote.call(
            "creating the repository",
            lambda: api.create_repo(
                self.remote.repo, repo_type=self.remote.repo_type, private=private, exist_ok=True
            ),
        )

    def _verify(self, sha: str) -> None:
        """Compare what the Hub says it holds at `sha` with what we meant to publish."""
        state = self.remote.state(sha)
        wrong = [item.path for item in self.content.items if not _holds(state, item)]
        if CARD not in state.files:
            wrong.append(CARD)
        if wrong:
            raise HubError(
                f"the commit {sha[:12]} does not hold what was sent: {', '.join(wrong[:5])}.",
                where=self.remote.url,
                hint="Run the same command again: it replaces what differs.",
            )

    def _tags(self) -> dict[str, str]:
        api = self.remote.api()
        refs = self.remote.call(
            "reading the tags",
            lambda: api.list_repo_refs(self.remote.repo, repo_type=self.remote.repo_type),
        )
        return {ref.name: ref.target_commit for ref in refs.tags}

    def _check_tag(self, state: RemoteState, tag: str) -> None:
        """Refuse early a tag that already names other content."""
        taken = self._tags().get(tag) if state.exists else None
        if taken is None:
            return
        tagged = self.remote.state(taken)
        if not all(_holds(tagged, item) for item in self.content.items):
            self._refuse_tag(tag, taken)

    def _refuse_tag(self, tag: str, taken: str) -> None:
        raise HubError(
            f"the tag {tag} already names another commit ({taken[:12]}).",
            where=self.remote.url,
            hint="A tag is never moved, since others rely on it: choose another.",
        )

    def _tag(self, sha: str, tag: str) -> None:
        api = self.remote.api()
        self.remote.call(
            f"tagging {tag}",
            lambda: api.create_tag(
                self.remote.repo,
                tag=tag,
                revision=sha,
                repo_type=self.remote.repo_type,
                exist_ok=True,
            ),
        )
        named = self._tags().get(tag)
        if named != sha and named is not None:
            self._refuse_tag(tag, named)

    def _journal(self) -> Journal:
        target = f"{self.remote.account.endpoint}/{self.remote.repo_type}/{self.remote.repo}"
        return Journal(self.content.folder, target)

    def _dry_run(self, state: RemoteState, tag: str | None) -> Published:
        items = [*self.content.items, self._card_item(state)]
        changed = [item for item in items if not _holds(state, item)]
        self._obsolete(state)
        return Published(
            self.remote.repo,
            self.remote.url,
            state.head if not changed else "",
            tag,
            "",
            len(items),
            len(changed),
            sum(item.bytes for item in changed),
            new_commit=False,
            dry_run=True,
        )


def _holds(state: RemoteState, item: Item) -> bool:
    found = state.files.get(item.path)
    return found is not None and found.same_as(item.bytes, item.sha256, item.read)
