"""The files a site is given: one plain batch script a step, and the one that submits them.

They are meant to be read, changed and submitted by hand; nothing in them needs the laptop.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from deepsynth.report.page import templates
from deepsynth.run.step import Plan, Step
from deepsynth.runners.slurm.site import Site, SiteEnvironment, seconds

WARN_SECONDS = 180
"""How long before the end of an allocation Slurm warns; a step has 120 s to save itself."""


def job_name(run_id: str, step: str) -> str:
    """The name of a step's job in the queue, in characters every Slurm takes."""
    return f"{run_id}.{step}"


def safe_name(name: str) -> str:
    """`name` in the characters a folder and a job name may have anywhere."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.-") or "run"


def shell_path(path: str) -> str:
    """`path` as a word of shell; a leading `~/` or `$NAME/` is left for the shell there."""
    match = re.match(r"^(~|\$\w+)(?:/(.*))?$", path, re.DOTALL)
    if not match:
        return shlex.quote(path)
    head = '"$HOME"' if match[1] == "~" else f'"${{{match[1][1:]}:?}}"'
    return f"{head}/{shlex.quote(match[2])}" if match[2] else head


def batch_script(step: Step, site: Site, run_id: str) -> str:
    """The sbatch text of a step at a site."""
    ask = site.allocation(step)
    limit = seconds(ask.time or step.resources.minutes)
    warn = min(WARN_SECONDS, limit // 4)
    environment = site.environment(step)
    python = "python3"
    if site.host is None and not site.environments:
        environment, python = SiteEnvironment(), shlex.quote(sys.executable)
    return (
        templates(Path(__file__).parent, html=False)
        .get_template("step.sbatch.j2")
        .render(
            step=step,
            ask=ask,
            mail=site.mail,
            mail_type=site.mail_type,
            environment=environment,
            venv=shell_path(environment.venv or ""),
            home=shell_path(site.workspace),
            entered=step.environment if environment.venv or environment.image else "",
            job_name=job_name(run_id, step.name),
            time=_clock(limit),
            warn=warn,
            # Slurm may warn up to 60 s early.
            near_limit=max(limit // 4, limit - warn - 75),
            allocations=site.allocations(step),
            save_on=environment.signal,
            command=_command(step, environment, python, accelerator=bool(ask.gres)),
            outputs=[_words(output, step) for output in step.outputs],
            folders=" ".join(_folders(step)),
        )
    )


def submit_script(plan: Plan, steps: Mapping[str, Sequence[int] | None], run_id: str) -> str:
    """The text of `slurm/submit.sh`.

    Args:
        plan: The plan of the run.
        steps: What to submit: the elements of an array that are missing, or None for the step as
            a whole.
        run_id: Name of the run at the site.
    """
    lines: list[str] = []
    for step in plan.steps:
        if step.name in steps:
            missing = steps[step.name]
            after = [name for name in step.after if name in steps]
            array = ranges(missing) if missing is not None else ""
            lines.append(shlex.join(["submit", step.name, array, *after]))
    return (
        templates(Path(__file__).parent, html=False)
        .get_template("submit.sh.j2")
        .render(run_id=run_id, lines=lines, job_prefix=job_name(run_id, ""))
    )


def ranges(indices: Iterable[int]) -> str:
    """Indices as sbatch's `--array` reads them: `0-3,7`."""
    parts: list[list[int]] = []
    for index in sorted(indices):
        if parts and index == parts[-1][1] + 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def _clock(total: int) -> str:
    days, rest = divmod(total, 86400)
    text = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{text}" if days else text


def _command(step: Step, environment: SiteEnvironment, python: str, *, accelerator: bool) -> str:
    if environment.deepsynth:
        command = f'{python} -m deepsynth.run.step "$run" {step.name} "$index"'
    else:
        command = " ".join(_words(part.replace("{python}", python), step) for part in step.argv)
    if environment.image:
        nv = " --nv" if accelerator else ""
        image = shell_path(environment.image)
        command = f'apptainer exec{nv} --bind "$run" {image} {command}'
    return command


def _folders(step: Step) -> list[str]:
    parents = {str(PurePosixPath(output).parent) for output in step.outputs} - {"."}
    return ["logs", '"$work"', *(_words(parent, step) for parent in sorted(parents))]


class _Index:
    """Stands for the index of an array while `str.format` fills in a command line."""

    def __format__(self, spec: str) -> str:
        return f'\0"$(printf %{spec} "$index")"\0' if spec else '\0"$index"\0'


def _words(text: str, step: Step) -> str:
    """Quote `text` for the shell, with the placeholders of a step left to it."""
    sources = {
        name: f'\0"$run"\0/sources/{name}/{PurePosixPath(path).name}'
        for name, path in step.sources.items()
    }
    filled = text.format(
        run='\0"$run"\0', index=_Index(), cpus='\0"$SLURM_CPUS_PER_TASK"\0', sources=sources
    )
    parts = enumerate(filled.split("\0"))
    return (
        "".join(part if n % 2 else shlex.quote(part) if part else "" for n, part in parts) or "''"
    )
