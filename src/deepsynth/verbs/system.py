"""The verbs that look after the machines: doctor, setup."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from deepsynth import families, runners
from deepsynth.checks import Severity, worst
from deepsynth.errors import RequestError
from deepsynth.home import confirm
from deepsynth.printing import say
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

        findings = [*examine_hub(), *families.doctor(), *runners.doctor()]
    else:
        findings = list(runners.get_runner(on).doctor())
    if as_json:
        say(json.dumps([finding.as_dict() for finding in findings], ensure_ascii=False, indent=2))
    else:
        print_findings(findings)
    return 1 if worst(findings) is Severity.ERROR else 0


def setup(
    environment: Annotated[
        str | None,
        Parameter(help=f"Of a family with one of its own: {', '.join(families.environments())}."),
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
    known = families.environments()
    if on is not None:
        lock = known[environment].lock if environment in known else None
        say(runners.get_runner(on).setup(environment, lock, offline=offline))
        return 0
    if environment not in known:
        raise RequestError(
            "there is nothing to set up by that name.",
            where=environment or "setup",
            hint=f"deepsynth setup {' or '.join(known)}, or deepsynth setup --on SITE",
        )
    kept = known[environment]
    say(f"{kept.title} is ready: {kept.setup().python}")
    return 0


def trust(file: Annotated[Path, Parameter(help="A settings file, such as sites.yaml.")], /) -> int:
    """Let the settings file of a folder be used, as it is now; the user's own needs no word.

    Such a file can make commands run, here or at a computing centre: read it first. When it
    changes, it is asked about again.

    For example:

    ```
    deepsynth trust letters/sites.yaml
    ```
    """
    confirm(file)
    say(f"{file} is used from now on, as it is now.")
    return 0
