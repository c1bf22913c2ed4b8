"""The verb `publish`: a dataset, or the model of a run, goes to the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from deepsynth.families import family_of
from deepsynth.run.run import Run
from deepsynth.terminal.console import Console
from deepsynth.terminal.progress import progress_shown


def publish(
    path: Path,
    /,
    *,
    repo: str,
    private: Annotated[bool, Parameter(negative="--public")] = True,
    transport: Literal["auto", "xet", "lfs"] = "auto",
    tag: str | None = None,
    revision_date: str | None = None,
    licence: str | None = None,
    dry_run: bool = False,
) -> None:
    """Put a dataset or the model of a run on the Hugging Face Hub, as one verified commit.

    The token is read from HF_TOKEN, in the environment or in `.env`. Run it again after an
    interruption: only what is missing is sent.

    Args:
        path: A dataset folder or a run folder.
        repo: NAME (yours) or USER/NAME.
        private: Visibility of a new repository; an existing one must agree.
        transport: auto uses Xet where it can work and goes on over LFS where it fails.
        tag: Tag the commit, such as 2026-11; a tag that exists is never moved.
        revision_date: Publish under NAME-DATE, such as 2026-11.
        licence: Of a model, such as apache-2.0; that of a dataset stands in its card.
        dry_run: Check everything, say what would be sent, change nothing.
    """
    from deepsynth.hub.publish import publish as put

    family = family_of(Run(path)) if (path / "resolved.yaml").exists() else None
    with progress_shown() as show:
        done = put(
            path,
            repo=repo,
            private=private,
            transport=transport,
            tag=tag,
            revision_date=revision_date,
            licence=licence,
            said=family.card(Run(path)) if family and family.card else None,
            dry_run=dry_run,
            progress=show,
        )
    console = Console(soft_wrap=True)
    size = f"{done.sent_files} files, {done.sent_bytes / 1e6:.1f} MB"
    if done.dry_run:
        console.print(f"would send {size} to {done.url}; nothing was changed")
        return
    if done.new_commit:
        console.print(f"published {size} over {done.transport}, verified")
    else:
        console.print("already published, verified")
    tagged = f" (tag {done.tag})" if done.tag else ""
    console.print(f"{done.url}\ncommit {done.sha}{tagged}")
