"""A real Slurm on loopback, for tests: slurmctld, two slurmd, munge, and slurmdbd when asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import reserved_ports

HERE = Path(__file__).parent
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")


def why_not(*more: str) -> str | None:
    """Why these servers cannot run here, or None when they can."""
    if os.geteuid() != 0:
        return "needs root, to start Slurm's daemons"
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    absent = [name for name in (*PROGRAMS, *more) if not shutil.which(name, path=path)]
    return f"not installed: {', '.join(absent)}" if absent else None


def server_environment(**settings: str) -> dict[str, str]:
    """The environment the server scripts are started with."""
    return os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"} | settings


@contextmanager
def running_slurm(folder: Path, **settings: str) -> Iterator[Path]:
    """Run Slurm with its state in `folder`; yields its slurm.conf."""
    log = folder.with_suffix(".log")
    with reserved_ports() as first:
        environment = server_environment(**({"SLURM_BASE_PORT": str(first)} | settings))
        try:
            with log.open("w") as output:
                done = subprocess.run(
                    ["bash", HERE / "start.sh", folder],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    check=False,
                )
            assert done.returncode == 0, log.read_text()
            yield folder / "slurm.conf"
        finally:
            subprocess.run(["bash", HERE / "stop.sh", folder], env=environment, check=False)
