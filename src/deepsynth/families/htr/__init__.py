"""`htr`: Kraken models read handwriting (recognition) or find its lines (segmentation)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth.families.family import Family, ManagedEnvironment, Metric
from deepsynth.terminal import groups
from deepsynth.terminal.verb import Verb

if TYPE_CHECKING:
    from deepsynth.checks.finding import Finding
    from deepsynth.families.htr.job import HtrJob
    from deepsynth.hub.model_card import ModelCard
    from deepsynth.job.job import Recommendation, ResolvedJob
    from deepsynth.run.environments import Environment
    from deepsynth.run.run import Run
    from deepsynth.run.step import Plan

HERE = Path(__file__).parent


def _measure(job: HtrJob) -> int:
    from deepsynth.families.htr.plan import measure

    return measure(job)


def _recommend(job: HtrJob, samples: int) -> list[Recommendation]:
    from deepsynth.families.htr.plan import recommend

    return recommend(job, samples)


def _plan(resolved: ResolvedJob) -> Plan:
    from deepsynth.families.htr.plan import plan

    return plan(resolved)


def _headline(final: dict[str, Any]) -> list[str]:
    from deepsynth.families.htr.report import headline

    return headline(final)


def _predict(run: Run, texts: Sequence[str], files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    from deepsynth.families.htr.predict import predict

    return predict(run, texts, files)


def _show(answer: dict[str, Any]) -> str:
    return str(answer["text"])


def _workspace(folder: Path, names: Sequence[str]) -> list[Path]:
    from deepsynth.families.htr.workspace import workspace

    return workspace(folder, names)


def _keep(run: Run) -> list[Path]:
    from deepsynth.families.htr.keep import keep

    return keep(run)


def _setup() -> Environment:
    from deepsynth.families.htr.kraken.environment import setup_htr

    return setup_htr()


def _probe() -> list[Finding]:
    from deepsynth.families.htr.kraken.environment import probe

    return probe()


def _preview(source: Path, output: Path, count: int | None) -> Path | None:
    from deepsynth.families.htr.lines.gallery import preview_lines

    return preview_lines(source, output, count)


_LOADING = """from huggingface_hub import snapshot_download

folder = snapshot_download("{repo}")
# then: kraken -i page.png page.txt segment -bl ocr -m FOLDER/MODEL"""


def _card(run: Run) -> ModelCard:
    from deepsynth.hub.model_card import ModelCard

    return ModelCard(
        task="image-to-text",
        library="kraken",
        purpose="transcribes (or segments) pages like those it was trained on",
        loading=_LOADING,
    )


FAMILY = Family(
    name="htr",
    summary="read handwriting with Kraken: recognition and segmentation",
    job="deepsynth.families.htr.job:HtrJob",
    measure=_measure,
    recommend=_recommend,
    plan=_plan,
    headline=_headline,
    predict=_predict,
    show=_show,
    template=HERE / "template",
    workspace=_workspace,
    metrics=(
        Metric("cer", "CER", "lower"),
        Metric("baseline_f1", "F1 of baselines", "higher"),
    ),
    keep=_keep,
    card=_card,
    environment=ManagedEnvironment(
        name="htr",
        title="Kraken",
        module="kraken",
        lock=HERE / "kraken" / "htr.lock",
        setup=_setup,
        probe=_probe,
    ),
    preview=_preview,
    verbs=tuple(
        Verb(f"deepsynth.families.htr.cli:{name}", summary, groups.MANUSCRIPTS)
        for name, summary in {
            "repair": "Write a corrected copy of a ground truth, and say every change.",
            "transcribe": "Find and read the lines of page images, one result file for each.",
            "card": "Write a validated HTRMoPo model card and an archive for Zenodo.",
        }.items()
    ),
)
