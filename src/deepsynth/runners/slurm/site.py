"""Sites: the computing centres a user can name with `--on`, read from `sites.yaml`.

```yaml
hpc:
  host: hpc                       # as in ~/.ssh/config; leave it out where Slurm is on this machine
  workspace: ~/deepsynth          # runs, sources and environments are kept below it
  partition: publicgpu
  time: 8:00:00                   # longest allocation; a longer step chains itself on
  gres: gpu:1
  constraint: gputc
  mail: me@example.org
kraken:                           # the centre's own ketos, and nothing of ours there
  host: hpc
  environments:
    this: {setup: [module load kraken], deepsynth: false, signal: USR1}
```
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from deepsynth.errors import JobError, RequestError
from deepsynth.home import config_folder, need_confirmed, settings_files
from deepsynth.job.settings import Section, Setting, validate
from deepsynth.job.strict_yaml import read_yaml_file
from deepsynth.run.step import Step
from deepsynth.runners.slurm.connection import Connection

FILE = "sites.yaml"

Word = Annotated[
    str, StringConstraints(pattern=r"^[^\s'\"\\$`\x00-\x1f\x7f-][^\s'\"\\$`\x00-\x1f\x7f]*$")
]
"""A value that goes into an `#SBATCH` line or after `ssh` as it is."""

Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$")]
"""One line of shell, or a path."""

EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$")]
"""What steps call an environment; the name of a folder."""


_TIME = re.compile(r"^(?:(?P<d>\d+)-)?(?P<a>\d+)(?::(?P<b>\d\d?))?(?::(?P<c>\d\d?))?$")


def _checked(time: int | str) -> int | str:
    seconds(time)
    return time


def seconds(time: str | int) -> int:
    """Seconds of a time limit as sbatch reads it: minutes, m:s, h:m:s, d-h, d-h:m, d-h:m:s.

    Raises:
        ValueError: It is not written in one of these ways, or is zero.
    """
    match = _TIME.match(str(time))
    if not match:
        raise ValueError(f"{time!r} is not a time limit such as 8:00:00 or 2-12:00:00")
    a, b, c = (int(match[name]) if match[name] else None for name in "abc")
    if match["d"] is not None:
        total = int(match["d"]) * 86400 + (a or 0) * 3600 + (b or 0) * 60 + (c or 0)
    elif c is not None:
        total = (a or 0) * 3600 + (b or 0) * 60 + c
    else:
        total = (a or 0) * 60 + (b or 0)
    if total == 0:
        raise ValueError("a time limit of zero lets nothing run")
    return total


def is_time(text: str) -> bool:
    """Whether a partition's limit is a time, and not `infinite`."""
    return _TIME.match(text) is not None and text.strip("0:-") != ""


TimeLimit = Annotated[int | str, AfterValidator(_checked)]
"""A time limit, as sbatch reads it."""


class Allocation(Section):
    """What is asked of Slurm for one step; the names are sbatch's."""

    partition: Word | None = None
    time: TimeLimit | None = Field(
        default=None,
        description="Longest allocation, as sbatch reads it: 8:00:00, 2-12, or minutes.",
    )
    nodes: int = Field(default=1, ge=1)
    gres: Word | None = Field(
        default=None, description="Accelerators of a step that needs one: gpu:1."
    )
    constraint: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    cpus: int | None = Field(
        default=None, ge=1, description="Cores, where the job's own number is wrong."
    )
    memory: Word | None = Field(default=None, description="Memory, as sbatch reads it: 16G.")


class SiteEnvironment(Section):
    """How a step's environment is entered at a site."""

    setup: list[Line] = Field(
        default_factory=list, description="Lines of shell that come first: `module load kraken`."
    )
    venv: Line | None = Field(default=None, description="Folder of a virtual environment.")
    image: Line | None = Field(default=None, description="Container image, run by apptainer.")
    deepsynth: bool = Field(
        default=True,
        description="Whether DeepSynth is installed in it; else its own programs are called.",
    )
    signal: Literal["TERM", "USR1"] = Field(
        default="TERM",
        description="Signal on which the site's own program saves; kraken wants USR1.",
    )


class Site(Allocation):
    """A computing centre, or the Slurm of this machine."""

    host: Word | None = Field(
        default=None, description="Host alias for ssh; absent: Slurm is here."
    )
    workspace: Line = Field(
        default="~/deepsynth", description="Folder there for runs and environments."
    )
    max_time: TimeLimit | None = Field(
        default=None, description="Most time a step may take over all its allocations."
    )
    mail: Word | None = Field(default=None, description="Address told when a job ends or fails.")
    mail_type: Word = Field(
        default="END,FAIL", description="When that is told, as sbatch reads it: BEGIN,END,FAIL."
    )
    cpu: Allocation | None = Field(
        default=None,
        description="Allocation of steps without accelerator; account and qos carry over.",
    )
    environments: dict[EnvironmentName, SiteEnvironment] = Field(default_factory=dict)

    def allocation(self, step: Step) -> Allocation:
        """What `step` asks for here: the site's values, filled up from the step's resources."""
        needs = step.resources
        chosen: Allocation = self
        gres = self.gres or (f"gpu:{needs.gpus}" if needs.gpus not in (0, "auto") else None)
        if needs.gpus == 0:
            chosen = self.cpu or self
            gres = self.cpu.gres if self.cpu else None
        cpus = chosen.cpus or needs.cpus
        memory_gb = needs.memory_gb + needs.core_gb * max(0, cpus - needs.cpus)
        return Allocation(
            partition=chosen.partition,
            time=chosen.time or self.time or needs.minutes,
            nodes=chosen.nodes,
            gres=gres,
            constraint=chosen.constraint,
            account=chosen.account or self.account,
            qos=chosen.qos or self.qos,
            cpus=cpus,
            memory=chosen.memory or f"{int(memory_gb * 1e9 / 2**20)}M",
        )

    def allocations(self, step: Step) -> int:
        """How many allocations, one after the other, `step` may use up to its time budget."""
        one = seconds(self.allocation(step).time or step.resources.minutes)
        budget = seconds(self.max_time or max(one // 60, step.resources.minutes))
        return max(1, -(-budget // one))

    def environment(self, step: Step) -> SiteEnvironment:
        """The environment `step` runs in here; by default the one `deepsynth setup` builds."""
        name, this = step.environment, self.environments.get("this")
        if own := self.environments.get(name):
            return own
        if this and (name == "this" or this.image or not this.deepsynth):
            return this
        setup = this.setup if this else []
        return SiteEnvironment(setup=setup, venv=f"{self.workspace}/environments/{name}")

    def gpus_in_words(self, steps: Sequence[Step]) -> str:
        """What steps that can use a GPU ask for here: `train, evaluate: one GPU each (gpu:1)`."""
        can = [step for step in steps if step.resources.gpus and self.does(step)]
        asked: dict[str | None, list[str]] = {}
        for step in can:
            asked.setdefault(self.allocation(step).gres, []).append(step.name)
        said = (
            f"{', '.join(names)}: "
            + (
                f"one GPU each ({gres})"
                if gres and gres.endswith(":1")
                else f"{gres}"
                if gres
                else "no GPU, since the site has no `gres`"
            )
            for gres, names in asked.items()
        )
        return "; ".join(said)

    def does(self, step: Step) -> bool:
        """Whether `step` runs at the site: not if it needs DeepSynth where there is none."""
        return self.environment(step).deepsynth or "{python}" not in " ".join(step.argv)


def load_site(name: str, beside: Path | None = None) -> Site:
    """The site called `name`: the user's own, else that of a folder, if the user confirmed it.

    Args:
        name: As after `--on`.
        beside: Folder of the job, where a `sites.yaml` may lie, as where the command is typed.

    Raises:
        RequestError: No file has it, what it says of it is wrong, or it was not confirmed.
    """
    for path in _files(beside):
        values, lines = read_yaml_file(path)
        if name not in values:
            continue
        need_confirmed(path)
        if not isinstance(values[name], dict):
            raise JobError(
                f"{name} has settings of its own.",
                where=f"{path}:{lines[name,]}",
                hint=f"Below it, indented: {', '.join(Site.model_fields)}.",
            )
        origins = {
            key[1:]: Setting(None, "file", f":{line}")
            for key, line in lines.items()
            if key[0] == name
        }
        return validate(Site, values[name], f"the site {name}", path, origins)
    known = site_names(beside)
    near = get_close_matches(name, known, n=1)
    listed = f"Sites there: {', '.join(known)}." if known else how_to_add(name)
    raise RequestError(
        f"there is no site {name}.", hint=f"Did you mean {near[0]}?" if near else listed
    )


def site_names(beside: Path | None = None) -> list[str]:
    """Every site that can be named.

    Raises:
        JobError: A file is no list of sites.
    """
    read = (read_yaml_file(path) for path in _files(beside))
    return list(dict.fromkeys(name for values, _ in read for name in values))


def how_to_add(name: str) -> str:
    """What to write for a site called `name`, and where."""
    return (
        f"Sites are looked for in {config_folder() / FILE}, in a {FILE} beside the job and in "
        f"{Path.cwd() / FILE}. A computing centre is written there so:\n"
        f"    {name}:\n      host: NAME_IN_YOUR_SSH_CONFIG\n"
        "      partition: PARTITION\n      time: 8:00:00"
    )


def _files(beside: Path | None) -> Iterator[Path]:
    return settings_files(FILE, *([beside] if beside else []), Path.cwd())


def fit_partitions(
    name: str,
    site: Site,
    connection: Connection,
    steps: Sequence[Step],
    say: Callable[[str], None] = lambda line: None,
) -> Site:
    """The site with the partition's limit as `time`, where steps need longer and none is set.

    A job that asked for more would wait for ever. Such a step takes several allocations instead,
    one after the other. GPUs of a partition that nobody asks for are told.

    Raises:
        RequestError: `time` is set, and is more than the partition gives.
    """
    text = connection.check("sinfo -h -o '%P|%l|%G'", "Slurm does not answer")
    limits: dict[str | None, str] = {}
    offered: dict[str | None, str] = {}
    for line in text.splitlines():
        partition, limit, gres = (*line.split("|"), "", "")[:3]
        for known in (partition.rstrip("*"), *([None] if partition.endswith("*") else [])):
            if is_time(limit):
                limits[known] = limit
            if "gpu" in gres:
                offered[known] = gres.partition("(")[0]
    for step in steps:
        asked = site.allocation(step)
        if step.resources.gpus and not asked.gres and asked.partition in offered:
            say(
                f"{step.title or step.name}: no GPU is asked for, though its partition "
                f"has {offered[asked.partition]}: write gres: gpu:1 into sites.yaml."
            )
        limit = limits.get(asked.partition)
        if limit is None or seconds(asked.time or 1) <= seconds(limit):
            continue
        cpu = site.cpu if step.resources.gpus == 0 else None
        given = (cpu and cpu.time) or site.time
        if given is not None:
            raise RequestError(
                f"{given} is more than the {limit} that the partition gives.",
                where=f"{name}.time",
                hint="Lower `time` in sites.yaml; a longer step chains itself on.",
            )
        fitted = {"cpu": cpu.model_copy(update={"time": limit})} if cpu else {"time": limit}
        site = site.model_copy(update=fitted)
    return site
