"""The verb `train`: of a job, of a run, or of data that a family takes straight from flags."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, fields, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from deepsynth.errors import RequestError
from deepsynth.families import every_family
from deepsynth.verbs import work

if TYPE_CHECKING:

    @dataclass(frozen=True)
    class FamilyFlags:
        """The flags of families."""

else:
    # A field for each family that has some: cyclopts takes the flags from the fields of the fields,
    # of classes that name their module.
    FamilyFlags = Parameter(name="*")(
        make_dataclass(
            "FamilyFlags",
            [
                (family.name, flags, flags())
                for family in every_family()
                if (flags := family.load_flags())
            ],
            frozen=True,
            namespace={"__module__": __name__},
        )
    )


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrainFlags:
    """Settings of every job by another name: `--epochs 5` is `train.epochs=5`."""

    batch_size: Annotated[
        int | None,
        Parameter(("--batch-size", "--train-batch-size"), help="Samples a device takes at once."),
    ] = None
    epochs: Annotated[
        float | None, Parameter(("--epochs", "--num-epochs"), help="Passes over the data.")
    ] = None
    patience: Annotated[
        int | None,
        Parameter(
            ("--patience", "--early-stopping-patience"),
            help="Evaluations without a better score after which training ends; 0: never.",
        ),
    ] = None
    evaluations: Annotated[
        int | None, Parameter(help="Evaluations and checkpoints of a training.")
    ] = None
    scheduler: Annotated[
        str | None, Parameter(help="How the learning rate moves after the warm-up.")
    ] = None
    warmup_ratio: Annotated[
        float | None, Parameter(help="Share of the updates in which the learning rate rises.")
    ] = None
    learning_rate: Annotated[float | None, Parameter(help="Peak learning rate.")] = None
    mixed_precision: Annotated[
        Literal["bf16", "fp16", "no"] | None, Parameter(help="fp16 needs a GPU.")
    ] = None
    num_workers: Annotated[int | None, Parameter(help="Processes that prepare batches.")] = None
    gradient_accumulation: Annotated[int | None, Parameter(help="Batches in one update.")] = None
    model_name: Annotated[
        str | None, Parameter(help="Model to start from: Hub name, folder, or an earlier run.")
    ] = None

    def overrides(self) -> list[str]:
        """The settings, as they follow a job on the command line."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        if model := given.pop("model_name"):
            place = Path(model).expanduser()
            given["model"] = str(place.resolve()) if place.exists() else model
        return [
            f"{key}={value}" if key == "model" else f"train.{key}={value}"
            for key, value in given.items()
            if value is not None
        ]


_FLAGS, _FAMILY_FLAGS, _WORK = TrainFlags(), FamilyFlags(), work.Work()


def train(
    target: Annotated[Path | None, Parameter(help="A job file, or a run folder.")] = None,
    /,
    *overrides: work.Overrides,
    flags: TrainFlags = _FLAGS,
    family_flags: FamilyFlags = _FAMILY_FLAGS,
    output_dir: Annotated[
        Path | None, Parameter(help="The run folder; instead of --runs and --name.")
    ] = None,
    options: work.Work = _WORK,
) -> int:
    """Train the model of a job, run or list of datasets, preparing and checking first.

    The flags are settings of the job by another name: `--epochs 5` is `train.epochs=5`. What is
    not given is chosen by the size of the data, with a reason.

    For example:

    ```
    deepsynth train tickets/job.yaml train.epochs=5
    deepsynth train --datasets mlsum_fr mlsum_es --batch-size 4 --mixed-precision bf16
    deepsynth train --datasets all --hf-dataset-prefix other-user --max-train-samples 5000
    deepsynth train --datasets mlsum_de --model-name runs/mlsum_fr-mlsum_es
    ```
    """
    if output_dir is not None:
        options = replace(options, runs=output_dir.parent, name=output_dir.name)
    given = [getattr(family_flags, field.name) for field in fields(family_flags)]
    settings = [*flags.overrides(), *(word for one in given for word in one.overrides())]
    with tempfile.TemporaryDirectory(prefix="deepsynth-job-") as temporary:
        for one in given:
            made = one.write_job(Path(temporary), [*([str(target)] if target else []), *overrides])
            if made is not None:
                job, more = made
                return work.work_until("train", job, [*more, *settings], options)
    if target is None:
        hints = "".join(f", or {one.hint}" for one in given)
        raise RequestError(
            "there is nothing to train on.",
            where="train",
            hint=f"Name a job (deepsynth train JOB){hints}",
        )
    return work.work_until("train", target, [*overrides, *settings], options)
