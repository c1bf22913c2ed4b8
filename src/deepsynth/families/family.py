"""Family: everything the house knows about a kind of model. Outside its folder nobody names one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from deepsynth.checks.finding import Finding
    from deepsynth.hub.model_card import ModelCard
    from deepsynth.job.job import Job, Recommendation, ResolvedJob
    from deepsynth.run.environments import Environment
    from deepsynth.run.run import Run
    from deepsynth.run.step import Plan
    from deepsynth.terminal.verb import Verb


@dataclass(frozen=True)
class Metric:
    """A figure that says how good a model is.

    Attributes:
        key: Its place in `metrics.json`, with dots between levels: `macro_f1`, `test.cer`.
        title: As people write it: `macro-F1`.
        better: Whether more of it is better, or less.
    """

    key: str
    title: str
    better: Literal["higher", "lower"]


@dataclass(frozen=True)
class ManagedEnvironment:
    """An environment of its own, for a family whose dependencies clash with those of others.

    Attributes:
        name: As its steps name it; `deepsynth setup NAME` installs it.
        title: What becomes ready with it: `Kraken`.
        module: What must be importable in it: `kraken`.
        lock: Pinned requirements, also installed at computing centres.
        setup: Builds it here, or brings it up to date; safe to call again.
        probe: What `deepsynth doctor` says of it on this machine; takes a moment at most.
    """

    name: str
    title: str
    module: str
    lock: Path
    setup: Callable[[], Environment]
    probe: Callable[[], list[Finding]]


@dataclass(frozen=True)
class Comparison:
    """What is shown of several runs side by side, before the settings in which they differ.

    Attributes:
        said: Lines that come first, such as whether a difference is shown.
        figures: By title, the figure of each run; None where a run has none.
    """

    said: Sequence[str]
    figures: Mapping[str, Sequence[float | None]]


class JobFlags(ABC):
    """Flags of `deepsynth train` by which a family takes data without a job file.

    A frozen dataclass marked `@cyclopts.Parameter(name="*")`; each field is a flag and has a
    default. It names no flag that `deepsynth train` has already.

    Attributes:
        hint: How to use them, for one who gave nothing to train on.
    """

    hint: ClassVar[str]

    @abstractmethod
    def write_job(self, folder: Path, words: Sequence[str]) -> tuple[Path, list[str]] | None:
        """Write the job that the flags amount to; None where they name no data.

        Args:
            folder: A temporary one; paths in the job are absolute.
            words: What else stands on the command line: a job, overrides.

        Returns:
            The job file, whose folder names the run, and the overrides among the words.

        Raises:
            RequestError: The flags do not go with the words.
        """

    @abstractmethod
    def overrides(self) -> list[str]:
        """The other flags that are given, as `key=value` settings of a job."""


@dataclass(frozen=True)
class Family:
    """What the house needs to know of a family; what has a default may be filled later.

    All families are loaded whenever `deepsynth` starts: their folder's own module imports nothing
    that takes time, and each function imports what it needs.

    Attributes:
        name: As written in a job's `family:`.
        summary: One line for help texts.
        job: Where the pydantic model of its job is, a `Job`: `package.module:Class`.
        measure: Looks at the data just enough to size it (rows, pages); raises `DataError` for
            data that cannot be used at all. The result feeds `recommend`.
        recommend: Proposes values, with reasons, for settings the job leaves open.
        plan: The steps, as command lines, of a resolved job. Steps that pipelines know by other
            names say so (`Step.task`), and what they are together (`Plan.group`).
        headline: The final figures in a line or a few, for the end of a run.
        predict: Uses the model of a run on texts and on files, the model loaded once; yields one
            plain dictionary for each answer.
        show: One answer of `predict` as a line for people.
        template: Folder with what `deepsynth init` writes.
        workspace: Writes more than the template can: gets the folder and the names asked for with
            `--name`, returns the files written. None: `init` copies the template.
        metrics: Figures by which two of its runs are compared; the first one that `metrics.json`
            has is the headline.
        keep: Puts what a finished run made where its job says besides; returns what is new.
        compare: What is shown of several finished runs of it. None: all their figures.
        card: What the card of the model of a finished run says. None: it cannot be published.
        environment: Where its steps run; None when that is where DeepSynth itself is.
        verbs: Its own verbs of the command line.
        flags: Where its flags of `deepsynth train` are, loaded when they are used:
            `package.module:Class`, a `JobFlags`. Empty: it needs a job file.
        preview: Writes a gallery of a source (a job, a folder) as its model sees it into a folder,
            with so many examples (None: as many as suit it), and returns the page; None when the
            source is nothing of this family.
        example: Writes a tiny job with its data, to be trained in seconds on a CPU, into a folder
            and returns the job file. The contract tests do everything with it.
    """

    name: str
    summary: str
    job: str
    measure: Callable[[Any], Any]
    recommend: Callable[[Any, Any], list[Recommendation]]
    plan: Callable[[ResolvedJob], Plan]
    headline: Callable[[dict[str, Any]], list[str]]
    predict: Callable[[Run, Sequence[str], Sequence[Path]], Iterator[dict[str, Any]]]
    show: Callable[[dict[str, Any]], str]
    template: Path
    workspace: Callable[[Path, Sequence[str]], list[Path]] | None = None
    metrics: tuple[Metric, ...] = ()
    keep: Callable[[Run], list[Path]] | None = None
    compare: Callable[[Sequence[Run]], Comparison] | None = None
    card: Callable[[Run], ModelCard] | None = None
    environment: ManagedEnvironment | None = None
    verbs: tuple[Verb, ...] = ()
    flags: str = ""
    preview: Callable[[Path, Path, int | None], Path | None] | None = None
    example: Callable[[Path], Path] | None = None

    @property
    def job_type(self) -> type[Job]:
        """The pydantic model of its job."""
        return _load(self.job)

    def resolve(self, loaded: ResolvedJob) -> ResolvedJob:
        """Size the data and let the presets fill what the job leaves open."""
        from deepsynth.job.job import with_local_copies

        here = with_local_copies(loaded.job)
        return loaded.with_recommendations(self.recommend(here, self.measure(here)))

    def load_flags(self) -> type[JobFlags] | None:
        """Its flags of `deepsynth train`."""
        return _load(self.flags) if self.flags else None


def _load(path: str) -> Any:
    """What is at `package.module:name`."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
