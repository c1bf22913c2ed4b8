"""`htr`: Kraken models read handwriting (recognition) or find its lines (segmentation)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from deepsynth.families.family import Family, ManagedEnvironment
from deepsynth.families.htr.job import HtrJob
from deepsynth.hub.model_card import ModelCard
from deepsynth.job.job import Recommendation, ResolvedJob
from deepsynth.job.presets import recommend
from deepsynth.run.step import Plan, Resources, Step

if TYPE_CHECKING:
    from deepsynth.checks.finding import Finding
    from deepsynth.run.environments import Environment
    from deepsynth.run.run import Run

HERE = Path(__file__).parent
MANAGED = "htr"
"""Name of the environment in which Kraken runs."""


def _measure(job: HtrJob) -> int:
    """Lines, or pages for segmentation, that train; finds data and models that cannot work."""
    from deepsynth.families.htr.ground_truth.model import NotGroundTruth
    from deepsynth.families.htr.ground_truth.pages import read_page, scan_folder
    from deepsynth.families.htr.kraken.model_file import read_model

    if job.model:
        read_model(Path(job.model), job.task)
    lines, by_line = 0, job.task == "recognition"
    for path in scan_folder(Path(job.data.ground_truth)).documents:
        try:
            page = read_page(path)
            lines += sum(1 for line in page.lines if line.text.strip()) if by_line else 1
        except NotGroundTruth:
            continue  # the check names it, with everything else
    held_out = 2 / job.split.folds if job.split.folds else job.split.validation + job.split.test
    return round(lines * (1 - held_out))


def _recommend(job: HtrJob, lines: int) -> list[Recommendation]:
    found = recommend(HERE / "presets.yaml", lines, task=job.task, scratch=job.model is None)
    if job.model and job.task == "recognition":
        from deepsynth.families.htr.kraken.model_file import read_model

        form = read_model(Path(job.model)).normal_form
        why = f"the characters of the base model are in {form}"
    else:
        form, why = "NFC", "the form of nearly all text"
    return [*found, _warmup(job, lines, found), Recommendation("data.normalization", form, why)]


def _warmup(job: HtrJob, lines: int, found: list[Recommendation]) -> Recommendation:
    """The warm-up in updates, as Kraken counts it."""
    by_size = {advice.key.removeprefix("train."): advice.value for advice in found}
    epochs = job.train.epochs or by_size["epochs"]
    batch_size = job.train.batch_size or by_size["batch_size"]
    updates = epochs * math.ceil(lines / batch_size)
    share = job.train.warmup_ratio
    why = f"{share:.0%} of about {updates} updates" if share else "no warm-up is asked for"
    return Recommendation("train.warmup", math.ceil(share * updates), why)


def _plan(resolved: ResolvedJob) -> Plan:
    job = cast(HtrJob, resolved.job)
    values = job.model_dump()
    truth = {"ground_truth": job.data.ground_truth}
    model = {"model": job.model} if job.model else {}
    data = {k: v for k, v in values["data"].items() if k != "ground_truth"}
    cut = {"seed": job.seed, "task": job.task, "data": data, "split": values["split"]}
    lists = {
        name: path
        for name in ("train_list", "validation_list", "test_list")
        if (path := values["split"][name])
    }
    gpus = 1 if job.train.device.startswith("cuda") else 0
    training = Resources(cpus=max(2, job.train.workers + 1), memory_gb=8, minutes=600, gpus=gpus)
    pages = truth if job.task == "segmentation" else {}
    folds = job.split.folds
    trained = ["folds/{index}"] if folds else ["model", "training"]
    return Plan(
        steps=[
            Step(
                name="check",
                title="Checking the ground truth",
                argv=_argv("check"),
                sources={**truth, **model, **lists},
                outputs=["checks"],
                settings=cut,
            ),
            Step(
                name="prepare",
                title="Compiling the lines" if job.task == "recognition" else "Sharing out pages",
                argv=_argv("prepare"),
                after=["check"],
                sources={**truth, **model, **lists},
                outputs=["data"],
                settings={**cut, "spec": job.train.spec},
                resources=Resources(cpus=2, memory_gb=4, minutes=120),
            ),
            *_training(job, {**pages, **model}, trained, training),
            Step(
                name="evaluate",
                title="Evaluating",
                argv=_argv("evaluate" if job.task == "recognition" else "evaluate_segmentation"),
                environment=MANAGED,
                after=["train"],
                sources={**pages, **model},
                inputs=["data", "checks", "folds" if folds else "model"],
                outputs=[
                    "evaluation",
                    "metrics.json",
                    "report.html",
                    *(["model"] if folds else []),
                ],
                settings={"seed": job.seed, "evaluation": values["evaluation"]},
                resources=Resources(cpus=2, memory_gb=8, minutes=120),
            ),
        ]
    )


def _training(
    job: HtrJob, sources: dict[str, str], outputs: list[str], resources: Resources
) -> list[Step]:
    values = job.model_dump()
    settings = {
        "seed": job.seed,
        "task": job.task,
        "train": values["train"],
        "segmentation": values["segmentation"],
        "kraken": values["kraken"],
    }
    if job.kraken.version:
        from deepsynth.families.htr.kraken.plain import training_steps

        return training_steps(job, sources, settings, resources)
    return [
        Step(
            name="train",
            title="Training",
            argv=_argv(_trainer(job)),
            environment="this" if job.kraken.toolchain == "site" else MANAGED,
            after=["prepare"],
            sources=sources,
            inputs=["data"],
            outputs=outputs,
            array=job.split.folds or 1,
            settings=settings,
            resources=resources,
        )
    ]


def _trainer(job: HtrJob) -> str:
    if job.kraken.toolchain == "site":
        return "site"
    return "train" if job.task == "recognition" else "train_segmentation"


def _argv(module: str) -> list[str]:
    return ["{python}", "-m", f"deepsynth.families.htr.{module}", "{run}"]


def _headline(final: dict[str, Any]) -> list[str]:
    from deepsynth.families.htr.report import headline

    return headline(final)


def _predict(run: Run, texts: Sequence[str], file: Path | None) -> Iterator[dict[str, Any]]:
    from deepsynth.families.htr.transcribe import predict

    return predict(run, texts, file)


def _show(answer: dict[str, Any]) -> str:
    return str(answer["text"])


def _workspace(folder: Path, names: Sequence[str]) -> list[Path]:
    from deepsynth.families.htr.workspace import workspace

    return workspace(folder, names)


def _setup() -> Environment:
    from deepsynth.families.htr.kraken.environment import setup_htr

    return setup_htr()


def _probe() -> list[Finding]:
    from deepsynth.families.htr.kraken.environment import probe

    return probe()


def _preview(source: Path, output: Path, count: int | None) -> Path | None:
    from deepsynth.families.htr.lines.gallery import preview_lines

    return preview_lines(source, output, count)


CARD = ModelCard(
    task="image-to-text",
    library="kraken",
    purpose="transcribes (or segments) pages like those it was trained on",
    loading="""from huggingface_hub import snapshot_download

folder = snapshot_download("{repo}")
# then: kraken -i page.png page.txt segment -bl ocr -m FOLDER/MODEL""",
)

FAMILY = Family(
    name="htr",
    summary="read handwriting with Kraken: recognition and segmentation",
    job_type=HtrJob,
    measure=_measure,
    recommend=_recommend,
    plan=_plan,
    headline=_headline,
    predict=_predict,
    show=_show,
    template=HERE / "template",
    workspace=_workspace,
    card=lambda run: CARD,
    environment=ManagedEnvironment(
        name=MANAGED,
        title="Kraken",
        lock=HERE / "kraken" / "htr.lock",
        setup=_setup,
        probe=_probe,
    ),
    preview=_preview,
)
