"""The verb that only a site has: `clean --on`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from deepsynth.errors import RequestError

On = Annotated[str, Parameter(help="A site of sites.yaml.")]


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
    from deepsynth.run.run import Run
    from deepsynth.runners.slurm.clean import clean_run, delete_sources, list_site
    from deepsynth.runners.slurm.record import need_record
    from deepsynth.runners.slurm.site import load_site

    site = load_site(on)
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
