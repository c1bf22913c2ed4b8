"""`deepsynth doctor --on SITE`: whether a site can do all that a run will need, in a minute.

One script tells what the site is and has a job of one second run; a few bytes go there and back by
each way that files take. Each answer becomes a finding with what to do about it.
"""

from __future__ import annotations

import re
import shlex
import shutil
import time
from collections.abc import Iterator, Sequence

from deepsynth.checks import Finding, Severity
from deepsynth.duration import duration
from deepsynth.errors import DeepSynthError
from deepsynth.run.step import Step
from deepsynth.runners.slurm import trial
from deepsynth.runners.slurm.connection import Connection, ConnectionLost, last_lines
from deepsynth.runners.slurm.script import shell_path
from deepsynth.runners.slurm.site import Site, SiteEnvironment, is_time, seconds, site_names
from deepsynth.runners.slurm.transfer import try_ways
from deepsynth.runners.slurm.words import explain

LITTLE_SPACE = 2e9
"""Bytes; less free space than this is a warning."""

NEARLY_USED = 95
"""Percent of a quota; more in use is a warning."""

_FAILED = "doctor-failed"

_QUESTION = r"""
section() {{ printf '\ndoctor-section %s\n' "$1"; }}
section login; printf '%s\n' "$(id -un)@$(hostname)"
section workspace; mkdir -p {workspace} && cd {workspace} && pwd -P && touch .doctor && rm .doctor
section free; df -PB1 . | awk 'NR == 2 {{ print $4 }}'
section quota; for tool in diskquota 'quota -s' 'lfs quota -h .'; do
  $tool 2>/dev/null && break; done
section slurm; sbatch --version
section partitions; sinfo -h -o '%R|%a|%l|%D|%c|%m|%G|%f'
section account; sacctmgr -n -P show assoc user="$(id -un)" format=account,qos 2>/dev/null
section accounting; sacct -n -X --starttime now >/dev/null 2>&1 && echo yes
section clock; date +%s
section rsync; rsync --version 2>/dev/null | head -n 1
section python; python3 --version
{environments}
{trial}
rm -f .doctor.sh
"""


def examine_here() -> list[Finding]:
    """The sites a user may name, and whether this machine can reach one; contacts nobody."""
    try:
        names = site_names()
    except DeepSynthError as error:
        where = error.where or "sites.yaml"
        return [Finding(Severity.ERROR, "sites-unreadable", where, error.what, error.hint or "")]
    if not names:
        return []
    told = f"Computing centres: {', '.join(names)}."
    findings = [
        Finding(Severity.INFO, "sites", "sites.yaml", told, "See one: deepsynth doctor --on SITE")
    ]
    if shutil.which("ssh") is None:
        fix = "Install openssh-client (Linux)."
        findings.append(
            Finding(Severity.WARNING, "sites-ssh", "ssh", "ssh is not installed here.", fix)
        )
    return findings


def examine(name: str, site: Site) -> list[Finding]:
    """Everything there is to say about a site, in the order it matters."""
    connection = Connection(site.host)
    ways: dict[str, str] = {}
    try:
        asked = time.time()
        answer = connection.run(_question(site), timeout=180)
        parts = (part.partition("\n") for part in answer.stdout.split("\ndoctor-section ")[1:])
        told = {name: _shown(text) for name, _, text in parts}
        if site.host is not None and told.get("workspace", "").startswith("/"):
            ways = try_ways(connection, told["workspace"])
    except ConnectionLost as error:
        return [Finding(Severity.ERROR, "site-login", name, error.what, error.hint or "")]
    except DeepSynthError as error:
        return [Finding(Severity.ERROR, "site-ssh", name, error.what, error.hint or "")]
    return [*_findings(site, told), *_ways(ways, told), *_clock(told.get("clock", ""), asked)]


def gpu_demands(name: str, site: Site, steps: Sequence[Step]) -> list[Finding]:
    """Whether the steps of a plan that can use a GPU ask for one at a site; contacts nobody."""
    said = site.gpus_in_words(steps)
    if not said:
        return []
    none = any(site.allocation(s).gres is None for s in steps if s.resources.gpus and site.does(s))
    return [
        Finding(
            Severity.WARNING if none else Severity.INFO,
            "site-gpus",
            name,
            f"{said}.",
            "Where the centre has GPUs, write gres: gpu:1 into sites.yaml." if none else "",
        )
    ]


def _shown(text: str) -> str:
    """What the site said, without what would steer a terminal."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t").strip()


def _question(site: Site) -> str:
    own = _environments(site).get("this", SiteEnvironment(deepsynth=False))
    enter = _enter(own)
    if own.deepsynth:
        enter += f" && {trial.torch_of(_python(own))}"
    return _QUESTION.format(
        workspace=shell_path(site.workspace),
        trial=trial.question(site, enter),
        environments="\n".join(
            f"section environment-{name}; ( {_enter(environment, name)} ) 2>&1 || echo {_FAILED}"
            for name, environment in _environments(site).items()
        ),
    )


def _environments(site: Site) -> dict[str, SiteEnvironment]:
    if site.environments or site.host is None:
        return site.environments
    return {"this": SiteEnvironment(venv=f"{site.workspace}/environments/this")}


def _python(environment: SiteEnvironment) -> str:
    if environment.image:
        return f"apptainer exec {shell_path(environment.image)} python3"
    return f"{shell_path(environment.venv)}/bin/python" if environment.venv else "python3"


_LACKS = (
    "from importlib.util import find_spec; from deepsynth.families import environments; "
    "own = environments().get({name!r}); "
    "print('lacks', own.module) if own and find_spec(own.module) is None else None"
)
"""What an environment lacks of what steps need that name it, told by the DeepSynth in it."""


def _enter(environment: SiteEnvironment, name: str = "this") -> str:
    lines = ["true", *environment.setup]
    if environment.deepsynth:
        version = "import deepsynth; print('deepsynth', deepsynth.__version__)"
        lines.append(f"{_python(environment)} -c {shlex.quote(version)}")
        if name != "this":
            lines.append(f"{_python(environment)} -c {shlex.quote(_LACKS.format(name=name))}")
    else:
        lines.append("{ command -v ketos >/dev/null && ketos --version || echo 'no ketos'; }")
    return " && ".join(lines)


def _findings(site: Site, told: dict[str, str]) -> Iterator[Finding]:
    yield Finding(Severity.INFO, "site-login", "login", f"Logged in as {told.get('login', '?')}.")
    yield from _space(site, told)
    if not told.get("slurm"):
        yield Finding(
            Severity.ERROR,
            "site-slurm",
            "slurm",
            "sbatch is not there.",
            "Is `host` a login node of the centre? Must a module be loaded in ~/.bash_profile?",
        )
        return
    yield Finding(Severity.INFO, "site-slurm", "slurm", f"Slurm is {told['slurm']}.")
    yield from _partitions(site, told.get("partitions", ""))
    if account := told.get("account"):
        pairs = (line.split("|") for line in account.splitlines() if "|" in line)
        names = sorted({f"{a} (qos {q})" for a, q, *_ in pairs})
        yield Finding(Severity.INFO, "site-account", "account", f"Accounts: {', '.join(names)}.")
    yield from trial.findings(site, told)
    if not told.get("accounting"):
        yield Finding(
            Severity.INFO,
            "site-accounting",
            "sacct",
            "There is no accounting; states come from squeue and from our receipts.",
        )
    if site.host is not None:
        yield from _programs(told)
    for name, environment in _environments(site).items():
        yield from _environment(name, environment, told.get(f"environment-{name}", ""))


def _space(site: Site, told: dict[str, str]) -> Iterator[Finding]:
    workspace = told.get("workspace", "")
    if not workspace.startswith("/"):
        yield Finding(
            Severity.ERROR,
            "site-workspace",
            "workspace",
            f"{site.workspace} cannot be written there.",
            "Choose another `workspace` in sites.yaml.",
        )
        return
    free = int(told["free"]) if told.get("free", "").isdigit() else 0
    low = free < LITTLE_SPACE
    yield Finding(
        Severity.WARNING if low else Severity.INFO,
        "site-space",
        workspace,
        f"{free / 1e9:.1f} GB are free on its disk.",
        "See what can go: deepsynth clean --on SITE" if low else "",
    )
    if quota := told.get("quota"):
        lines = tuple(quota.splitlines()[:5])
        used = max((int(share) for share in re.findall(r"(\d+) ?%", quota)), default=0)
        yield Finding(
            Severity.WARNING if used >= NEARLY_USED else Severity.INFO,
            "site-quota",
            "quota",
            "The quota there:",
            "See what can go: deepsynth clean --on SITE" if used >= NEARLY_USED else "",
            lines,
        )


def _partitions(site: Site, text: str) -> Iterator[Finding]:
    rows = [line.split("|") for line in text.splitlines() if line.count("|") == 7]
    names = sorted({row[0] for row in rows})
    shown = tuple(
        f"{row[0]}: {row[1]}, at most {row[2]}, {row[3]} nodes of {row[4]} cores, "
        f"{row[5]} MB, {row[6]}"
        for row in rows
    )
    yield Finding(
        Severity.INFO,
        "site-partitions",
        "partitions",
        f"Partitions: {', '.join(names)}.",
        examples=shown[:8],
    )
    for allocation in filter(None, (site, site.cpu)):
        name = allocation.partition
        if name is None:
            continue
        own = [row for row in rows if row[0] == name]
        if not own:
            yield Finding(
                Severity.ERROR,
                "site-partition",
                "partition",
                f"There is no partition {name}.",
                f"One of: {', '.join(names)}.",
            )
        elif (
            allocation.time is not None
            and is_time(own[0][2])
            and seconds(allocation.time) > seconds(own[0][2])
        ):
            yield Finding(
                Severity.ERROR,
                "site-time",
                "time",
                f"{allocation.time} is more than the {own[0][2]} that {name} gives.",
                "Lower `time`; a longer step chains itself on.",
            )


def _ways(ways: dict[str, str], told: dict[str, str]) -> Iterator[Finding]:
    """Whether files get there and back; sftp counts where there is no rsync."""
    if said := ways.get("shell"):
        yield Finding(
            Severity.ERROR,
            "site-shell",
            "shell",
            f"A login there that nobody sees prints: {last_lines(said)}",
            str(explain("is your shell clean")),
        )
        return  # neither way can bear it
    needs_sftp = not (shutil.which("rsync") and told.get("rsync"))
    for way in [way for way in ("rsync", "sftp") if way in ways]:
        said = ways[way]
        if way == "rsync" and needs_sftp:
            continue
        if not said:
            what = f"Files get there and back by {way}."
            yield Finding(Severity.INFO, "site-files", way, what)
        else:
            severity = Severity.ERROR if way == "rsync" or needs_sftp else Severity.INFO
            fix = explain(said) or "Ask the centre how files are copied to it."
            what = f"Files do not get there by {way}: {said}"
            yield Finding(severity, "site-files", way, what, fix)


def _clock(told: str, asked: float) -> Iterator[Finding]:
    skew = int(told) - asked if told.isdigit() else 0.0
    if abs(skew) > 120:
        yield Finding(
            Severity.INFO,
            "site-clock",
            "clock",
            f"Its clock is {duration(abs(skew))} {'ahead' if skew > 0 else 'behind'}.",
            "It does no harm: times are told by the clock here.",
        )


def _programs(told: dict[str, str]) -> Iterator[Finding]:
    here, there = shutil.which("rsync"), told.get("rsync")
    if not (here and there):
        side = "here" if not here else "there"
        yield Finding(
            Severity.WARNING,
            "site-rsync",
            "rsync",
            f"rsync is not installed {side}; files go by sftp, which starts a cut file again.",
            "Install rsync." if not here else "Ask the centre for rsync, or load its module.",
        )
    else:
        yield Finding(Severity.INFO, "site-rsync", "rsync", there)
    found = re.search(r"3\.(\d+)", told.get("python", ""))
    if not found or int(found[1]) < 11:
        yield Finding(
            Severity.INFO,
            "site-python",
            "python3",
            f"The python3 there is {told.get('python') or 'absent'}; 3.11 or later is needed.",
            "Load a module with it in `setup`, or use a container image.",
        )


def _environment(name: str, environment: SiteEnvironment, said: str) -> Iterator[Finding]:
    where = f"environments.{name}"
    good = re.search(r"^deepsynth \S+$", said, re.MULTILINE)
    if environment.deepsynth and not good:
        yield Finding(
            Severity.ERROR,
            "site-environment",
            where,
            f"DeepSynth does not start in it: {' | '.join(said.splitlines()[-2:]) or 'silence'}",
            f"Install it there: deepsynth setup {'' if name == 'this' else f'{name} '}--on SITE",
        )
    elif lacks := re.search(r"^lacks (\S+)$", said, re.MULTILINE):
        yield Finding(
            Severity.ERROR,
            "site-environment",
            where,
            f"It has {good[0] if good else 'DeepSynth'}, but lacks {lacks[1]}.",
            f"Install it there, or without `venv` here: deepsynth setup {name} --on SITE",
        )
    elif _FAILED in said:
        last = " | ".join(said.splitlines()[-3:-1]) or "silence"
        yield Finding(
            Severity.ERROR,
            "site-environment",
            where,
            f"Its setup fails: {last}",
            "Correct `setup` in sites.yaml; there, `module avail` lists what can be loaded.",
        )
    elif "no ketos" in said:
        yield Finding(
            Severity.INFO,
            "site-environment",
            where,
            "It has no ketos; other programs may be there.",
        )
    else:
        line = good[0] if good else (said.splitlines() or ["it starts"])[-1]
        yield Finding(Severity.INFO, "site-environment", where, f"It has {line}.")
