"""The Slurm runner: a run on a computing centre, as plain batch scripts a person can read.

`site` says where, `script` writes what is submitted, `connection` and `transfer` reach the site
over the user's own ssh, `states` reads what Slurm and our receipts say of it, `runner` is the
journey from submission to the verified model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepsynth.runners.runner import Runner, RunnerKind
from deepsynth.terminal import groups
from deepsynth.terminal.verb import Verb

if TYPE_CHECKING:
    from deepsynth.checks import Finding
    from deepsynth.run.run import Run


class Slurm(RunnerKind):
    """The sites of sites.yaml; without a name, the Slurm of this machine as it is."""

    name = "slurm"
    on = "a site of sites.yaml"
    verbs = (
        Verb(
            "deepsynth.runners.slurm.clean:clean",
            "List what lies at a site, or delete what is not needed there any more.",
            groups.LOOK_AFTER,
        ),
    )

    def create(self, detail: str, beside: Path | None = None) -> Runner:
        """The runner of a site: `--on hpc`.

        Raises:
            RequestError: There is no such site.
        """
        from deepsynth.runners.slurm.runner import create

        return create(detail, beside)

    def attach(self, run: Run, detail: str) -> Runner:
        """The runner of a run that was submitted, from its folder alone.

        Raises:
            RunError: It was not submitted to a Slurm site.
        """
        from deepsynth.runners.slurm.runner import attach

        return attach(run)

    def places(self, beside: Path | None = None) -> list[str]:
        """The sites a user may name.

        Raises:
            JobError: A sites.yaml cannot be read.
        """
        from deepsynth.runners.slurm.site import site_names

        return site_names(beside)

    def advice(self, name: str) -> str | None:
        """What to write into sites.yaml."""
        from deepsynth.runners.slurm.site import how_to_add

        return how_to_add(name)

    def doctor(self) -> Sequence[Finding]:
        """The sites there are, and whether this machine has what reaching them takes."""
        from deepsynth.runners.slurm.doctor import examine_here

        return examine_here()


RUNNER = Slurm()
