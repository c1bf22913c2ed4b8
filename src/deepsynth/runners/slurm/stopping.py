"""Stopping what waits or runs at a site: a run, or all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from deepsynth.runners.slurm.connection import Connection
from deepsynth.runners.slurm.script import shell_path
from deepsynth.runners.slurm.site import Site

STOP_SECONDS = 150
"""How long stopped steps may take to save before they are ended."""

_STOP_ALL = r"""
cd {workspace}/runs 2>/dev/null || exit 0
for folder in */; do
  ids=$(cut -f 2 "$folder/slurm/jobs.tsv" 2>/dev/null | grep -E '^[0-9]+$' | sort -u)
  [ -n "$ids" ] || continue
  active=$(squeue -h -u "$(id -un)" -j "$(paste -sd , <<<"$ids")" -o %F 2>/dev/null | sort -u)
  [ -n "$active" ] || continue
  scancel --state=PENDING $active
  scancel --batch --signal=TERM $active
  printf '%s\n' "${{folder%/}}"
done
"""


def stop_all(site: Site, connection: Connection) -> list[str]:
    """Stop every run in a site's workspace; the names of those that waited or ran."""
    script = _STOP_ALL.format(workspace=shell_path(site.workspace))
    return connection.check(script, "the jobs cannot be stopped").splitlines()


def ask_to_stop(connection: Connection, jobs: Iterable[str]) -> None:
    """Take what waits of these jobs out of the queue, and ask what runs to save and end."""
    ids = " ".join(jobs)
    connection.check(
        f"scancel --state=PENDING {ids}; scancel --batch --signal=TERM {ids}; true",
        "the jobs cannot be stopped",
    )


def wait_until_stopped(
    connection: Connection, jobs: Iterable[str], is_active: Callable[[], object]
) -> None:
    """Wait until jobs that were asked to stop have; those that do not in time are ended."""
    end = time.monotonic() + STOP_SECONDS
    while is_active():
        if time.monotonic() > end:
            connection.check(f"scancel {' '.join(jobs)}", "the jobs cannot be stopped")
            end += STOP_SECONDS
        time.sleep(0.5)
