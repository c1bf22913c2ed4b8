"""Asking for no more time than a partition gives: a job that does would wait for ever."""

from __future__ import annotations

from collections.abc import Sequence

from deepsynth.errors import RequestError
from deepsynth.run.step import Step
from deepsynth.runners.slurm.connection import Connection
from deepsynth.runners.slurm.site import Site, seconds


def fit_partitions(name: str, site: Site, connection: Connection, steps: Sequence[Step]) -> Site:
    """The site with the partition's limit as `time`, where steps need longer and none is set.

    Such a step then takes several allocations, one after the other.

    Raises:
        RequestError: `time` is set, and is more than the partition gives.
    """
    text = connection.check("sinfo -h -o '%P|%l'", "Slurm does not answer")
    limits: dict[str | None, str] = {}
    for line in text.splitlines():
        partition, _, limit = line.partition("|")
        limits[partition.rstrip("*")] = limit
        if partition.endswith("*"):
            limits[None] = limit
    for step in steps:
        asked = site.allocation(step)
        limit = limits.get(asked.partition, "infinite")
        if not limit[0].isdigit() or seconds(asked.time or 1) <= seconds(limit):
            continue
        for_cpu = site.cpu is not None and step.resources.gpus == 0
        given = (site.cpu.time if for_cpu and site.cpu else None) or site.time
        if given is not None:
            raise RequestError(
                f"{given} is more than the {limit} that the partition gives.",
                where=f"{name}.time",
                hint="Lower `time` in sites.yaml; a longer step chains itself on.",
            )
        if for_cpu and site.cpu:
            site = site.model_copy(update={"cpu": site.cpu.model_copy(update={"time": limit})})
        else:
            site = site.model_copy(update={"time": limit})
    return site
