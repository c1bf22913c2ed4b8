"""What Slurm's states and reasons mean, in words, and what to do about them."""

from __future__ import annotations

REASONS = {
    "Priority": "other jobs come first; it starts when it is its turn",
    "Resources": "it is next, and waits for a node that is free",
    "None": "Slurm has not looked at it yet",
    "Dependency": "it waits for the step before it",
    "DependencyNeverSatisfied": "the step before it failed, so it will never start",
    "BeginTime": "it goes on in a moment: it was just put back into the queue",
    "Cleaning": "its last allocation is still being cleared away",
    "JobHeldUser": "it is held; let it go with `scontrol release JOB`",
    "JobHeldAdmin": "the centre holds it; ask its support",
    "JobArrayTaskLimit": "other elements of the same array run first",
    "PartitionTimeLimit": "it asks for more time than the partition gives; lower `time`",
    "PartitionNodeLimit": "it asks for more nodes than the partition gives; lower `nodes`",
    "PartitionDown": "the partition takes jobs, but starts none now",
    "PartitionInactive": "the partition is closed; choose another `partition`",
    "PartitionConfig": "the partition cannot give what is asked; see `doctor --on`",
    "BadConstraints": "no node has what is asked; correct `constraint` or `gres`",
    "ReqNodeNotAvail": "nodes it needs are down or reserved, often for maintenance",
    "NodeDown": "a node it needs is down",
    "Nodes_required_for_job_are_DOWN": "the nodes it needs are down or reserved",
    "Reservation": "it waits for a reservation",
    "Licenses": "it waits for a licence",
    "InvalidAccount": "the account is not valid; correct `account`",
    "InvalidQOS": "the QOS is not valid; correct `qos`",
    "AccountNotAllowed": "your account may not use this partition; correct `account`",
    "QOSNotAllowed": "this QOS may not use this partition; correct `qos`",
    "launch_failed_requeued_held": "it could not start there and is held; ask the support",
    "SystemFailure": "the centre has a failure; it will be tried again",
}
"""Reasons of a job that waits, as `squeue %r` gives them."""

_LIMITS = (
    ("MaxJobs", "you have as many jobs running as you may; it starts when one ends"),
    ("MaxSubmit", "you have as many jobs there as you may"),
    ("MaxWall", "it asks for more time than you may; lower `time`"),
    ("GrpWall", "your group has used the time it may"),
    ("GRES", "you have as many accelerators as you may; it starts when one is free"),
    ("Cpu", "you have as many cores as you may; it starts when some are free"),
    ("CPU", "you have as many cores as you may; it starts when some are free"),
    ("Mem", "you have as much memory as you may; it starts when some is free"),
    ("Node", "you have as many nodes as you may; it starts when one is free"),
)

ENDS: dict[str, tuple[str, str]] = {
    "FAILED": ("it failed", "Read its log: deepsynth logs {run} {step}"),
    "TIMEOUT": (
        "it ran into its time limit",
        "Give it longer with `time` or `max_time` in sites.yaml, then go on where it stopped: "
        "deepsynth run --resume {run}",
    ),
    "OUT_OF_MEMORY": (
        "it used more memory than it asked for",
        "Raise `memory` in sites.yaml, or use smaller batches and fewer workers; then "
        "deepsynth run --resume {run}",
    ),
    "NODE_FAIL": ("its node failed", "Go on where it stopped: deepsynth run --resume {run}"),
    "BOOT_FAIL": ("its node did not start", "Submit it again: deepsynth run --resume {run}"),
    "PREEMPTED": ("a job that comes first took its place", "Go on: deepsynth run --resume {run}"),
    "DEADLINE": ("it missed its deadline", "Submit it again: deepsynth run --resume {run}"),
    "CANCELLED": ("it was cancelled", "Go on where it stopped: deepsynth run --resume {run}"),
    "REVOKED": ("another cluster took it over", "Ask the support of the centre."),
    "COMPLETED": (
        "it ended but left no receipt",
        "Read its log (deepsynth logs {run} {step}), then deepsynth run --resume {run}",
    ),
    "LOST": (
        "Slurm knows it no longer and it left no receipt",
        "Go on where it stopped: deepsynth run --resume {run}",
    ),
}
"""How a job can end without its step being done, and what to do next."""

WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD"}
"""States of a job that has not started."""

ACTIVE = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
"""States of a job that has a node."""

AGAIN = {"PREEMPTED", "NODE_FAIL", "BOOT_FAIL"}
"""Ends that are nobody's fault: the step is submitted again."""

_KNOWN: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("no space left", "quota exceeded", "over quota", "exceeds quota"),
        "The space there is used up. See what can go: deepsynth clean --on SITE",
    ),
    (
        ("is your shell clean", "protocol version mismatch", "received message too long"),
        "A file such as ~/.bashrc prints something there at every login, which neither rsync nor "
        "sftp can bear. Let it print for people only; as its first line, put there: "
        "[[ $- == *i* ]] || return",
    ),
    (
        ("invalid partition",),
        "Correct `partition` in sites.yaml; see those there: deepsynth doctor --on SITE",
    ),
    (
        ("invalid account", "account or association", "invalid qos"),
        "Correct `account` and `qos` in sites.yaml; sacctmgr show assoc user=$USER lists yours.",
    ),
    (
        ("requested node configuration is not available", "invalid generic resource"),
        "No node has what is asked: see gres, constraint, cpus and memory in sites.yaml, and "
        "deepsynth doctor --on SITE.",
    ),
    (
        ("time limit", "timelimit"),
        "Lower `time` in sites.yaml below the partition's limit; the step chains itself on.",
    ),
    (
        ("qosmaxsubmit", "assocmaxsubmit", "job violates accounting"),
        "You have as many jobs there as you may. Wait for some, or stop some.",
    ),
    (("invalid job array",), "The site takes smaller arrays (MaxArraySize): use fewer shards."),
    (
        ("unable to contact slurm controller", "connection refused", "socket timed out"),
        "Slurm does not answer now; this often passes in minutes. Give the same command again.",
    ),
    (
        ("sbatch: command not found", "squeue: command not found"),
        "Slurm is not on the path of a login shell there; is `host` a login node?",
    ),
)
"""What programs there say when they fail, and what to do about it."""


def reason_in_words(reason: str) -> str:
    """Why a job waits, in words; a reason not known here is given as Slurm gives it."""
    known = REASONS.get(reason.split(",")[0].replace(" ", "_"))
    if known:
        return known
    if reason.startswith(("QOS", "Assoc")):
        for part, words in _LIMITS:
            if part in reason:
                return f"{words} ({reason})"
        return f"a limit of your account is reached ({reason})"
    return f"Slurm says {reason}"


def explain(said: str) -> str | None:
    """What to do about what a program at a site said, where that is known."""
    text = said.lower()
    for patterns, hint in _KNOWN:
        if any(pattern in text for pattern in patterns):
            return hint
    return None
