"""The verbs that only a site has: `doctor --on`, `clean --on`, `setup --on`.

`register` adds them to the command line; everything else a site does goes through the runner.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from deepsynth.errors import RequestError

On = Annotated[str, Parameter(help="A site of sites.yaml.")]
AsJson = Annotated[bool, Parameter(name="--json", help="Print JSON.", negative=())]


def register(app: App) -> None:
    """Add `clean`; `doctor` and `setup` here are what the verbs of that name do with `--on`."""
    app.command(clean)


def doctor(on: str, *, as_json: bool = False) -> int:
    """Test a site: login, space, Slurm, partitions, environments. Exit code 1 on an error.

    Args:
        on: The site.
        as_json: Print the findings as JSON.
    """
    from deepsynth.checks import Severity, worst
    from deepsynth.runners.slurm.doctor import examine
    from deepsynth.runners.slurm.site import load_site

    findings = examine(on, load_site(on, Path.cwd()))
    if as_json:
        print(json.dumps([f.as_dict() for f in findings], ensure_ascii=False, indent=2))
    for finding in [] if as_json else findings:
        print(f"{finding.severity.name.lower():8}{finding.where}: {finding.what}")
        for detail in (*finding.examples, finding.fix):
            if detail:
                print(f"          {detail}")
    return 1 if worst(findings) is Severity.ERROR else 0


def setup(on: str, *, name: str = "this", lock: Path | None = None, offline: bool = False) -> int:
    """Install an environment at a site, with the versions that are installed here.

    Args:
        on: The site.
        name: The environment: `this`, or one a family keeps apart.
        lock: Pinned requirements of an environment that is kept apart.
        offline: Download the packages here and send them.
    """
    from deepsynth.runners.slurm.install import install
    from deepsynth.runners.slurm.site import load_site

    print(install(load_site(on, Path.cwd()), name=name, lock=lock, offline=offline))
    return 0


def clean(
    *run: Annotated[Path, Parameter(help="Runs whose compiled data and logs go there.")],
    on: On,
    runs: Annotated[Path, Parameter(help="Folder of the runs here.")] = Path("runs"),
    sources: Annotated[
        bool, Parameter(help="Delete the copies of sources there.", negative=())
    ] = False,
) -> int:
    """List what lies at a site, or delete what is not needed there any more.

    A run's compiled data and logs are deleted only after what it made was fetched and verified.

    For example:

    ```
    deepsynth clean --on hpc
    deepsynth clean runs/letters --on hpc
    ```
    """
    from deepsynth.run import Run
    from deepsynth.runners.slurm.clean import clean_run, delete_sources, list_site
    from deepsynth.runners.slurm.record import need_record
    from deepsynth.runners.slurm.site import load_site

    site = load_site(on, Path.cwd())
    for path in run:
        opened = Run.open(path)
        record = need_record(opened)
        if record.site.host != site.host:
            raise RequestError(f"this run is at {record.site_name}, not at {on}.", where=path)
        print(f"{path}: fetched and verified; {clean_run(opened) / 1e6:.1f} MB freed there.")
    kept = list_site(site, sorted(runs.glob("*")))
    if sources:
        delete_sources(site, kept)
        kept = [one for one in kept if not one.name.startswith("sources/")]
    for one in kept:
        belongs = f"  {one.run}" if one.run else f"  {one.holds}" * one.name.startswith("sources/")
        print(f"{one.bytes / 1e6:10.1f} MB  {one.age / 86400:5.1f} days  {one.name}{belongs}")
    total = sum(one.bytes for one in kept)
    print(f"{total / 1e6:10.1f} MB in all, in {site.workspace}")
    return 0
