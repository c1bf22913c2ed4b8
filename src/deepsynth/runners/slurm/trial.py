"""A job of one second at a site: the proof that what `sites.yaml` asks for is given.

It is submitted with the partition, gres and constraint that a training would have, writes into the
workspace, and enters the environment on the node: what a login node can do, a node may not.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from deepsynth.checks import Finding, Severity
from deepsynth.runners.slurm.site import Allocation, Site
from deepsynth.runners.slurm.words import explain, reason_in_words

PATIENCE = 40
"""Seconds in which the job should have run; it is cancelled then, and why it waits is told."""

_TORCH = (
    "import importlib.util as i; t = i.find_spec('torch'); v = {}; "
    "t and exec(open(t.origin.replace('__init__', 'version')).read(), v); "
    "print('torch', v.get('__version__', 'absent'), bool(v.get('cuda') or v.get('hip')))"
)
"""Which torch there is, and whether it was built for GPUs, without the time it takes to import."""

_SCRIPT = """#!/bin/bash -l
echo "node $(hostname)"
echo "visible ${CUDA_VISIBLE_DEVICES:-}"
( %s ) 2>&1 || echo entering-failed
echo doctor-end
"""

_TRY = r"""
printf '%s' {script} >.doctor.sh
submitted=()
try() {{ # NAME OPTION...
  local name=$1 id
  shift
  if id=$(sbatch --parsable --job-name=deepsynth-doctor --time=2 --ntasks=1 \
    --output="$PWD/.doctor-%j.out" "$@" .doctor.sh 2>&1); then
    submitted+=("$name ${{id%%;*}}")
  else
    section "job-$name"
    printf 'refused %s\n' "$id"
  fi
}}
{tries}
end=$((SECONDS + {patience}))
for one in "${{submitted[@]}}"; do
  name=${{one% *}} id=${{one##* }}
  while ! grep -qs doctor-end ".doctor-$id.out" && [ "$SECONDS" -lt "$end" ]; do
    sleep 0.3
    # One that has ended needs a moment until its node's file is seen here.
    case $(squeue -h -j "$id" -o %T 2>/dev/null) in
      '' | COMPLETED | FAILED) [ "$end" -le $((SECONDS + 5)) ] || end=$((SECONDS + 5)) ;;
    esac
  done
  section "job-$name"
  cat ".doctor-$id.out" 2>/dev/null
  squeue -h -j "$id" -o 'state %T|%r' 2>/dev/null
  scancel "$id" 2>/dev/null
  rm -f ".doctor-$id.out"
done
rm -f .doctor.sh
"""


def asked_for(site: Site) -> dict[str, Allocation]:
    """The kinds of allocation a run may ask a site for, by the name of the step they are of."""
    kinds: dict[str, Allocation] = {"train": site}
    if site.cpu:
        carried = {"account": site.cpu.account or site.account, "qos": site.cpu.qos or site.qos}
        kinds["cpu"] = site.cpu.model_copy(update=carried)
    return kinds


def question(site: Site, enter: str) -> str:
    """Lines of bash that submit the jobs and tell what became of them.

    Args:
        site: The site.
        enter: Shell that enters the environment of steps and tells what is in it.
    """
    tries: list[str] = []
    for name, ask in asked_for(site).items():
        options = [
            f"--{option}={value}"
            for option in ("partition", "account", "qos", "constraint", "gres")
            if (value := getattr(ask, option))
        ]
        tries.append(shlex.join(["try", name, *options]))
    script = shlex.quote(_SCRIPT % enter)
    return _TRY.format(script=script, tries="\n".join(tries), patience=PATIENCE)


def torch_of(python: str) -> str:
    """Shell that tells which torch a python has."""
    return f"{python} -c {shlex.quote(_TORCH)}"


def findings(site: Site, told: dict[str, str]) -> Iterator[Finding]:
    """What the jobs of one second prove; `told` holds a section `job-NAME` for each."""
    for name, ask in asked_for(site).items():
        said = told.get(f"job-{name}", "")
        where = "sbatch" if name == "train" else f"sbatch ({name})"
        if said.startswith("refused ") or not said:
            last = (said.removeprefix("refused ").splitlines() or ["it said nothing"])[-1]
            fix = explain(last) or "Correct partition, account, qos, gres or constraint."
            what = f"Slurm refuses a job: {last}"
            yield Finding(Severity.ERROR, "site-refused", where, what, fix)
            continue
        state = re.search(r"^state (\w+)\|(.*)$", said, re.MULTILINE)
        if "doctor-end" in said:
            yield from _ran(ask, said, where)
        elif state and state[1] in ("PENDING", "CONFIGURING", "RUNNING"):
            reason = reason_in_words(state[2]) if state[1] == "PENDING" else "it runs very slowly"
            what = f"A job of one second did not run in {PATIENCE} s: {reason}."
            yield Finding(Severity.WARNING, "site-waits", where, what, "It was cancelled again.")
        else:
            what = "A job of one second ended, and what it wrote is not seen in the workspace."
            fix = "Choose a `workspace` that the nodes share with the login node."
            yield Finding(Severity.ERROR, "site-job", where, what, fix)


def _ran(ask: Allocation, said: str, where: str) -> Iterator[Finding]:
    node = re.search(r"^node (.*)$", said, re.MULTILINE)
    what = f"A job of one second ran on {node[1] if node else 'a node'}."
    yield Finding(Severity.INFO, "site-job", where, what)
    if "entering-failed" in said:
        lines = said.partition("visible ")[2].splitlines()[1:]
        shown = " | ".join(line for line in lines if not line.startswith(("entering", "doctor")))
        yield Finding(
            Severity.ERROR,
            "site-node",
            where,
            f"On the node, the environment does not start: {shown or 'silence'}",
            "What is loaded or installed must be there on the nodes, too; correct `setup`.",
        )
    torch = re.search(r"^torch (\S+) (True|False)$", said, re.MULTILINE)
    if ask.gres and torch and torch[1] != "absent" and torch[2] == "False":
        yield Finding(
            Severity.WARNING,
            "site-gpu",
            where,
            f"{ask.gres} is given, but torch {torch[1]} there is built for CPUs only.",
            "Install one for GPUs there, or ask for no gres.",
        )
