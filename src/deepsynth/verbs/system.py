"""The verbs that look after the machines: doctor, setup."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import Parameter

from deepsynth import runners
from deepsynth.checks import Severity, worst
from deepsynth.errors import RequestError
from deepsynth.runners import on_help
from deepsynth.terminal.findings import print_findings

On = Annotated[str | None, Parameter(help=f"Another place instead of this machine: {on_help()}.")]


def doctor(
    *,
    on: On = None,
    as_json: Annotated[
        bool, Parameter(name="--json", help="Print the findings as JSON.", negative=())
    ] = False,
) -> int:
    """Find what stands in the way: Hub access, caches, disk space; with --on, at another place.

    Exit code 1 when there is an error finding. Every finding says what to do.

    For example:

    ```
    deepsynth doctor
    deepsynth doctor --on hpc
    ```
    """
    if on is None:
        from deepsynth.hub.doctor import doctor as examine_hub

        findings = [*examine_hub(), *runners.doctor()]
    else:
        findings = list(runners.get_runner(on).doctor())
    if as_json:
        print(json.dumps([finding.as_dict() for finding in findings], ensure_ascii=False, indent=2))
    else:
        print_findings(findings)
    return 1 if worst(findings) is Severity.ERROR else 0


def setup(
    environment: Annotated[
        str | None, Parameter(help="htr: the environment Kraken runs in.")
    ] = None,
    /,
    *,
    on: On = None,
    offline: Annotated[
        bool,
        Parameter(
            help="With --on: download here and send, for sites without network.", negative=()
        ),
    ] = False,
) -> int:
    """Install an environment that a family needs, here or at another place.

    For example:

    ```
    deepsynth setup htr
    deepsynth setup --on hpc --offline
    ```
    """
    if on is not None:
        lock = None
        if environment == "htr":
            from deepsynth.families.htr.kraken.environment import LOCK as lock
        print(runners.get_runner(on).setup(environment, lock, offline=offline))
        return 0
    if environment != "htr":
        raise RequestError(
            "there is nothing to set up by that name.",
            where=environment or "setup",
            hint="deepsynth setup htr, or deepsynth setup --on SITE",
        )
    from deepsynth.families.htr.kraken.environment import setup_htr

    print(f"Kraken is ready: {setup_htr().python}")
    return 0
