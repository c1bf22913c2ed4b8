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

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from deepsynth.errors import JobError, RequestError
from deepsynth.job.settings import Section
from deepsynth.job.strict_yaml import KeyPath, read_yaml
from deepsynth.run.step import Step

Word = Annotated[str, StringConstraints(pattern=r"^[^\s'\"\\$`-][^\s'\"\\$`]*$")]
"""A value that goes into an `#SBATCH` line or after `ssh` as it is."""

Line = Annotated[str, StringConstraints(pattern=r"^[^\n\r]+$")]
"""One line of shell, or a path."""

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
    cpu: Allocation | None = Field(
        default=None,
        description="Allocation of steps without accelerator; account and qos carry over.",
    )
    environments: dict[str, SiteEnvironment] = Field(default_factory=dict)

    def allocation(self, step: Step) -> Allocation:
        """What `step` asks for here: the site's values, filled up from the step's resources."""
        needs = step.resources
        chosen: Allocation = self
        gres = self.gres or (f"gpu:{needs.gpus}" if needs.gpus else None)
        if needs.gpus == 0:
            chosen = self.cpu or self
            gres = self.cpu.gres if self.cpu else None
        return Allocation(
            partition=chosen.partition,
            time=chosen.time or self.time or needs.minutes,
            nodes=chosen.nodes,
            gres=gres,
            constraint=chosen.constraint,
            account=chosen.account or self.account,
            qos=chosen.qos or self.qos,
            cpus=chosen.cpus or needs.cpus,
            memory=chosen.memory or f"{int(needs.memory_gb * 1e9 / 2**20)}M",
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

    def does(self, step: Step) -> bool:
        """Whether `step` runs at the site: not if it needs DeepSynth where there is none."""
        return self.environment(step).deepsynth or "{python}" not in " ".join(step.argv)


def site_files(beside: Path | None = None) -> list[Path]:
    """Where sites are read from, the first that names a site winning.

    Args:
        beside: Folder of the job.
    """
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    user = Path(config) / "deepsynth" / "sites.yaml"
    folders = [beside, Path.cwd()] if beside else [Path.cwd()]
    return list(dict.fromkeys([*(folder / "sites.yaml" for folder in folders), user]))


def site_names(beside: Path | None = None) -> list[str]:
    """Every site that can be named.

    Raises:
        JobError: A file is no list of sites.
    """
    return list(dict.fromkeys(name for path in site_files(beside) for name in _read(path)[0]))


def load_site(name: str, beside: Path | None = None) -> Site:
    """The site called `name`.

    Args:
        name: As after `--on`.
        beside: Folder of the job; a `sites.yaml` there, or where the command is typed, comes before
            the user's own.

    Raises:
        RequestError: No file has it, or what it says of it is wrong.
    """
    for path in site_files(beside):
        values, lines = _read(path)
        if name in values:
            return _validate(name, values[name], path, lines)
    known = site_names(beside)
    near = get_close_matches(name, known, n=1)
    raise RequestError(
        f"there is no site {name}.",
        where=site_files(beside)[-1],
        hint=f"Did you mean {near[0]}?"
        if near
        else f"Sites there: {', '.join(known)}."
        if known
        else how_to_add(name),
    )


def how_to_add(name: str) -> str:
    """What to write for a site called `name`, and where."""
    return (
        f"A computing centre is written into {site_files()[-1]}:\n"
        f"    {name}:\n      host: NAME_IN_YOUR_SSH_CONFIG\n"
        "      partition: PARTITION\n      time: 8:00:00"
    )


def _read(path: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    if not path.is_file():
        return {}, {}
    return read_yaml(path.read_text(encoding="utf-8-sig"), str(path))


def _validate(name: str, values: Any, path: Path, lines: dict[KeyPath, int]) -> Site:
    try:
        return Site.model_validate(values)
    except ValidationError as error:
        item = error.errors()[0]
    loc: KeyPath = (name, *item["loc"])
    line = next(lines[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in lines)
    where, key = f"{path}:{line}", ".".join(map(str, loc))
    if item["type"] == "extra_forbidden":
        near = get_close_matches(str(loc[-1]), _names(loc), n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Settings: {', '.join(_names(loc))}."
        raise JobError(f"{key} is not a setting of a site.", where=where, hint=hint)
    if item["type"] == "list_type":
        hint = f"Write {loc[-1]}: [{item['input']}]"
        raise JobError(f"{key} is a list.", where=where, hint=hint)
    if item["type"] in ("model_type", "dict_type"):
        hint = f"Below it, indented: {', '.join(_names((*loc, '')))}."
        raise JobError(f"{key} has settings of its own.", where=where, hint=hint)
    reason = item["msg"].removeprefix("Value error, ")
    raise JobError(f"{key} is {item['input']!r}: {reason}.", where=where)


def _names(loc: KeyPath) -> list[str]:
    if len(loc) > 3 and loc[1] == "environments":
        return list(SiteEnvironment.model_fields)
    return list(Allocation.model_fields if len(loc) > 2 else Site.model_fields)
