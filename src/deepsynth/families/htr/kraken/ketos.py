"""The command lines of `ketos`: how each version wants to be told the same thing.

A site's Kraken may be 4.3, 5, 6 or 7. `DIALECTS` holds what differs between their command lines;
everything else is the same. Read from the sources of 4.3.13, 5.3.0, 6.0.3 and 7.1.1.

Two traps are the same in all of them: `-w` is weight decay, and with early stopping the number of
epochs (`-N`) is ignored.

With `kraken: {toolchain: site, version: 5}` the training is two steps: `ketos`, a plain command
line that needs bash and Kraken only, for sites that have nothing of ours, and `train`, which reads
what it left (see ketos_training.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepsynth.errors import MissingDependency, RequestError
from deepsynth.families.htr.job import HtrJob, Train
from deepsynth.run.step import Resources, Step

SCRIPT = Path(__file__).with_name("ketos.sh")
"""Runs ketos: goes on from what an earlier start left, ends at `-N` passes, keeps the best model.
"""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a major version of ketos understands.

    Attributes:
        major: 4, 5, 6 or 7.
        root_options: Device, precision, workers and threads stand before the subcommand.
        threads: `--threads` exists.
        no_stop: Value of `--quit` that means a fixed number of epochs.
        adamw: AdamW can be named.
        precisions: Its names for our precisions.
        output_is_folder: `-o` names a folder; a prefix of file names before 7.
        class_options: `-vb`, `-mb`, `-vr` and `-mr` exist.
        weights: Endings of the models it reads and writes.
    """

    major: int
    root_options: bool
    threads: bool
    no_stop: str
    adamw: bool
    precisions: dict[str, str]
    output_is_folder: bool
    class_options: bool
    weights: tuple[str, ...]


_OLD = {"no": "32", "bf16": "bf16", "fp16": "16"}
_NEW = {"no": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
_COREML = (".mlmodel",)

DIALECTS: dict[int, Dialect] = {
    4: Dialect(4, False, False, "dumb", False, _OLD, False, True, _COREML),
    5: Dialect(5, False, True, "fixed", False, _OLD, False, True, _COREML),
    6: Dialect(6, True, True, "fixed", False, _NEW, False, True, _COREML),
    7: Dialect(7, True, True, "fixed", True, _NEW, True, False, (".safetensors", ".mlmodel")),
}


def dialect_of(version_output: str) -> Dialect:
    """The dialect of a ketos, from what `ketos --version` prints.

    Raises:
        MissingDependency: A version this table does not know.
    """
    found = re.search(r"(\d+)\.(\d+)", version_output)
    major = int(found.group(1)) if found else 0
    if major not in DIALECTS or (major == 4 and found and int(found.group(2)) < 3):
        raise MissingDependency(
            f"ketos calls itself {version_output.strip() or 'nothing'!r}, which is not a version "
            "known here",
            where="kraken.ketos",
            hint="Versions 4.3, 5, 6 and 7 are known. Load another module, or use "
            "`kraken.toolchain: managed`.",
        )
    return DIALECTS[major]


def train_command(
    dialect: Dialect,
    job: HtrJob,
    *,
    ketos: str,
    training: Path,
    validation: Path,
    base: Path | None,
    output: Path,
    auto: str = "cpu",
) -> list[str]:
    """The `ketos train` or `ketos segtrain` that does what a job says.

    Args:
        dialect: Of the ketos that will run it.
        job: The job.
        ketos: Program name or path.
        training: Text file that lists the training files (Arrow, or XML for segmentation).
        validation: The same for the validation files.
        base: Base model, or None.
        output: Folder for the models.
        auto: The device that `train.device: auto` means.

    Raises:
        RequestError: The job asks for something this version cannot do.
    """
    train = job.train
    _refuse_impossible(dialect, job, base)
    before, after = _machine_options(dialect, train, auto)
    argv = [ketos, "-v", "-s", str(job.seed), *before]
    recognition = job.task == "recognition"
    argv += ["train" if recognition else "segtrain", *after]
    argv += ["-f", "binary" if recognition else "xml"]
    argv += ["-t", str(training), "-e", str(validation)]
    argv += ["-o", str(output if dialect.output_is_folder else output / "model")]
    argv += ["-q", "early" if train.patience else dialect.no_stop]
    argv += ["-N", str(train.epochs), "--min-epochs", str(train.min_epochs)]
    argv += ["--lag", str(train.patience)] if train.patience else []
    argv += ["--min-delta", str(train.min_delta)]
    optimizer = train.optimizer if dialect.adamw or train.optimizer != "AdamW" else "Adam"
    argv += ["--optimizer", optimizer, "-r", str(train.learning_rate)]
    argv += ["-m", str(train.momentum), "-w", str(train.weight_decay)]
    argv += ["--schedule", train.scheduler, "--warmup", str(train.warmup or 0)]
    argv += ["--augment" if train.augment else "--no-augment"]
    if dialect.major == 7:
        argv += ["--weights-format", "coreml"]
    if recognition:
        argv += ["-B", str(train.batch_size), "--pad", str(train.pad)]
        argv += ["-u", str(job.data.normalization)]
    else:
        argv += ["--line-width", str(job.segmentation.line_width)]
        argv += _class_options(job)
    if base:
        argv += ["-i", str(base), "--resize", train.resize]
    elif train.spec:
        argv += ["-s", train.spec]
    return argv


def training_script(job: HtrJob, dialect: Dialect) -> str:
    """The bash that trains with ketos; its arguments are the run, a folder and `train_command`."""
    known = f"major={dialect.major} passes={job.train.epochs}\n"
    return "\n".join(["", *job.kraken.setup, known + SCRIPT.read_text(encoding="utf-8")])


def _machine_options(dialect: Dialect, train: Train, auto: str) -> tuple[list[str], list[str]]:
    """Options of device, precision and processes: before the subcommand from 6 on."""
    device = {"auto": auto, "cuda": "cuda:0"}.get(train.device, train.device)
    options = ["-d", device, "--precision", dialect.precisions[train.mixed_precision]]
    options += ["--workers", str(max(1, train.workers))]
    if dialect.threads:
        options += ["--threads", str(train.threads)]
    return (options, []) if dialect.root_options else ([], options)


def _class_options(job: HtrJob) -> list[str]:
    options: list[str] = []
    for classes, valid, merge in (
        (job.segmentation.line_classes, "-vb", "-mb"),
        (job.segmentation.region_classes, "-vr", "-mr"),
    ):
        for old, new in (classes or {}).items():
            options += [valid, old]
            options += [merge, f"{new}:{old}"] if new != old else []
    if job.segmentation.region_classes == {}:
        options.append("--suppress-regions")
    if job.segmentation.line_classes == {}:
        options.append("--suppress-baselines")
    return options


def _refuse_impossible(dialect: Dialect, job: HtrJob, base: Path | None) -> None:
    train, version = job.train, f"ketos {dialect.major}"
    problems: Sequence[tuple[bool, str, str, str]] = (
        (
            train.freeze != "none",
            "train.freeze",
            "freezes by a count of lines, and version 7 not at all",
            "Use `kraken.toolchain: managed`.",
        ),
        (
            train.optimizer == "AdamW" and train.weight_decay > 0 and not dialect.adamw,
            "train.optimizer",
            "does not know AdamW (without weight decay, Adam is the same)",
            "Set train.optimizer=Adam, or train.weight_decay=0.",
        ),
        (
            bool(job.segmentation.line_classes or job.segmentation.region_classes)
            and not dialect.class_options,
            "segmentation.line_classes",
            "takes types from its own configuration file only",
            "Use `kraken.toolchain: managed`.",
        ),
        (
            base is not None and base.suffix not in dialect.weights,
            "model",
            f"cannot read {base.suffix if base else ''} models",
            "Use the .mlmodel of the same model.",
        ),
    )
    for applies, where, what, hint in problems:
        if applies:
            raise RequestError(f"{version} {what}", where=where, hint=hint)


def training_steps(
    job: HtrJob,
    sources: dict[str, str],
    settings: dict[str, Any],
    resources: Resources,
    collect: list[str],
) -> list[Step]:
    """The steps `ketos` and `train` of a plan.

    Args:
        job: The job; `kraken.version` is set.
        sources: What the training reads outside the run: the base model, for segmentation also
            the ground truth.
        settings: What decides the model.
        resources: Of the training.
        collect: The command line that reads what ketos left.

    Raises:
        RequestError: The job asks for something this version of ketos cannot do.
    """
    dialect = DIALECTS[int(job.kraken.version or 0)]
    base = Path("\0model" + Path(job.model).suffix) if job.model else None
    argv = train_command(
        dialect,
        job,
        ketos=job.kraken.ketos,
        training=Path("train.txt"),
        validation=Path("validation.txt"),
        base=base,
        output=Path("models"),
        auto="AUTO_DEVICE",
    )
    argv = [part.replace("{", "{{").replace("}", "}}") for part in argv]
    argv = ["{sources[model]}" if part == str(base) else part for part in argv]
    if job.train.workers == 0:
        argv[argv.index("--workers") + 1] = "{cpus}"
    folder = "{run}/data" if job.task == "recognition" else "{sources[ground_truth]}"
    script = training_script(job, dialect)
    script = script.replace("{", "{{").replace("}", "}}")
    shell = ["bash", "-lec" if job.kraken.setup else "-ec"]
    return [
        Step(
            name="ketos",
            title="Training with ketos",
            argv=[*shell, script, "{run}", folder, *argv],
            after=["prepare"],
            sources=sources,
            inputs=["data"],
            outputs=["ketos"],
            settings=settings,
            resources=resources,
        ),
        Step(
            name="train",
            title="Reading what ketos left",
            argv=collect,
            after=["ketos"],
            inputs=["data", "ketos"],
            outputs=["model", "training"],
            settings=settings,
            resources=Resources(memory_gb=1, minutes=10),
        ),
    ]
