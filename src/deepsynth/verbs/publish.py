"""The verb `publish`: a dataset, or the model of a run, goes to the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from deepsynth.families import family_of
from deepsynth.run.run import Run

if TYPE_CHECKING:
    from deepsynth.hub.transfer import Progress


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

    show = ProgressLines()
    family = family_of(Run(path)) if (path / "resolved.yaml").exists() else None
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
    console = Console(highlight=False, soft_wrap=True)
    size = f"{done.sent_files} files, {done.sent_bytes / 1e6:.1f} MB"
    if done.dry_run:
        console.print(f"would send {size} to {done.url}; nothing was changed", markup=False)
        return
    if done.new_commit:
        console.print(f"published {size} over {done.transport}, verified", markup=False)
    else:
        console.print("already published, verified", markup=False)
    tagged = f" (tag {done.tag})" if done.tag else ""
    console.print(f"{done.url}\ncommit {done.sha}{tagged}", markup=False)


class ProgressLines:
    """Shows a transfer: a bar that redraws itself on a terminal, lines elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._percent = -10

    def __call__(self, progress: Progress) -> None:
        """Show one `Progress`."""
        if not progress.total_bytes:
            self._console.print(f"{progress.stage}: {progress.text}", markup=False)
            return
        percent = 100 * progress.done_bytes // progress.total_bytes
        step = 1 if self._console.is_terminal else 10
        if percent >= self._percent + step or percent == 100 != self._percent:
            self._percent = percent
            done, total = progress.done_bytes / 1e6, progress.total_bytes / 1e6
            self._console.print(
                f"{progress.stage}: {percent:3d} % of {total:.1f} MB ({done:.1f} MB)",
                markup=False,
                end="\r" if self._console.is_terminal and percent < 100 else "\n",
            )
