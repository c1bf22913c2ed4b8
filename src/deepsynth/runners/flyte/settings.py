"""What Flyte is asked for: images, the store, and what a step needs beyond what the job says.

```yaml
# flyte.yaml in ~/.config/deepsynth, or in the working folder
image: ghcr.io/my-team/deepsynth:cpu
images: {htr: ghcr.io/my-team/deepsynth-htr:cpu}
store: s3://my-bucket/deepsynth
gpu: T4                                # kind of accelerator of the steps that can use one
retries: 2
steps:
  train: {cpu: 4, memory: 16Gi, gpu: "T4:1", disk: 50Gi, minutes: 480, retries: 1}
```

Where the cluster is, and how one signs in, stays in Flyte's own configuration.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from deepsynth.errors import JobError
from deepsynth.home import config_folder, data_folder, need_confirmed, settings_files
from deepsynth.job.settings import Section, Setting, validate
from deepsynth.job.strict_yaml import read_yaml_file
from deepsynth.run.step import Step

Quantity = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)?([KMGT]i?)?$")]
"""A size as Kubernetes writes it: 16Gi, 500M."""

Name = Annotated[str, StringConstraints(pattern=r"^[\w][\w./:@-]*$")]
"""A name that goes into the generated workflow as it is."""

Device = Annotated[str, StringConstraints(pattern=r"^[\w ]+:[1-8]$")]
"""Kind and number of accelerators: T4:1."""


FILE = "flyte.yaml"
CLUSTER_CONCURRENCY = 8


class StepNeeds(Section):
    """What one step gets, where the job's own request is wrong for this cluster."""

    cpu: int | None = Field(None, ge=1, description="Cores.")
    memory: Quantity | None = None
    gpu: Device | None = Field(None, description="Kind and number of accelerators: T4:1.")
    disk: Quantity | None = Field(None, description="Ephemeral storage.")
    minutes: int | None = Field(None, ge=1, description="Time limit of one attempt.")
    retries: int | None = Field(None, ge=0, description="Attempts after the first.")


class FlyteSettings(Section):
    """Where and with what the tasks run."""

    image: Name = "deepsynth:cpu"
    images: dict[Name, Name] = Field(
        default_factory=dict, description="Images of other environments than `this`, by name."
    )
    store: str | None = Field(
        None, description="Folder in storage that keeps what steps make: s3://BUCKET/NAME."
    )
    project: Name | None = Field(None, description="Flyte project; else as Flyte is configured.")
    domain: Name | None = Field(None, description="Flyte domain; else as Flyte is configured.")
    gpu: Annotated[str, StringConstraints(pattern=r"^[\w ]+$")] | None = Field(
        None, description="Kind of accelerator of steps that train or evaluate: T4."
    )
    disk: Quantity = "20Gi"
    retries: int = Field(2, ge=0)
    concurrency: int | None = Field(
        None,
        ge=1,
        description="Elements of a sharded step done at once; 8 on a cluster, else one by one.",
    )
    checkpoint_minutes: float = Field(
        10.0, gt=0, description="Time between two copies of a training's checkpoints to the store."
    )
    steps: dict[str, StepNeeds] = Field(default_factory=dict)

    def needs(self, step: Step) -> StepNeeds:
        """Everything `step` gets, in Flyte's terms."""
        own = self.steps.get(step.name) or StepNeeds.model_validate({})
        asked = step.resources
        gpu = own.gpu
        if gpu is None and asked.gpus:
            # Without a kind, any accelerator the cluster has will do, if one has to be.
            count = (1 if self.gpu else 0) if asked.gpus == "auto" else asked.gpus
            gpu = f"{self.gpu}:{count}" if self.gpu else str(count or "") or None
        return StepNeeds.model_construct(
            cpu=own.cpu or asked.cpus,
            memory=own.memory or f"{round(asked.memory_gb * 1000)}M",
            gpu=gpu,
            disk=own.disk or self.disk,
            minutes=own.minutes or asked.minutes,
            retries=self.retries if own.retries is None else own.retries,
        )

    def image_of(self, environment: str) -> str:
        """The image of an environment.

        Raises:
            JobError: None is named.
        """
        if environment == "this":
            return self.image
        if environment not in self.images:
            raise JobError(
                f"no image is named for the environment {environment}.",
                where=config_folder() / FILE,
                hint=f"Write there: images: {{{environment}: REGISTRY/NAME:TAG}}",
            )
        return self.images[environment]


def at_once(settings: FlyteSettings, *, here: bool) -> int:
    """How many elements of a sharded step are done at once, here or on a cluster."""
    return settings.concurrency or (1 if here else CLUSTER_CONCURRENCY)


def local_store() -> str:
    """Where steps of `flyte:local` keep what they make; outlives a cleaned /tmp."""
    return (data_folder() / "flyte" / "store").resolve().as_uri()


def load_settings() -> FlyteSettings:
    """The user's own settings, else those of the working folder if confirmed, else the defaults.

    Raises:
        JobError: The file says something that is not known, with its line.
        RequestError: The file was not confirmed.
    """
    for path in settings_files(FILE, Path.cwd()):
        need_confirmed(path)
        values, lines = read_yaml_file(path)
        origins = {key: Setting(None, "file", f":{line}") for key, line in lines.items()}
        return validate(FlyteSettings, values, "Flyte", path, origins)
    return FlyteSettings.model_validate({})
