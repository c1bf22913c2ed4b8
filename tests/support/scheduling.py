"""Which tests are given to the same process when several run them: `make test`."""

from __future__ import annotations

import re

GROUPS = {
    # Flyte keeps what it did below /tmp/flyte; its pods and the storage share one S3.
    r"tests/(runners/flyte|storage)/|tests/contract/test_runners\.py.*\[flyte": "store",
    r"tests/families/htr/test_(training|loader|compile)\.py": "kraken",
    r"tests/runners/slurm/test_(connection|families|faults|journey|remote|site_verbs)\.": "remote",
    r"tests/runners/slurm/": "slurm",
}
"""Tests whose servers are slow to start, or that share something outside their folders."""

SINGLE = re.compile(
    r"tests/(contract/|verbs/|test_docs|families/classify/test_resume|hub/test_(faults|kill|publish))"
)
"""Tests that share nothing, in files that would take one process long."""


def group_of(nodeid: str) -> str:
    """The tests of one group run in one process, in their order; most files are a group."""
    for pattern, group in GROUPS.items():
        if re.match(pattern, nodeid):
            return group
    return nodeid if SINGLE.match(nodeid) else nodeid.partition("::")[0]


def turn_of(nodeid: str, slow: bool) -> int:
    """Named groups begin, then what is slow: all processes end at about the same time."""
    return 0 if group_of(nodeid) in GROUPS.values() else 1 if slow else 2
