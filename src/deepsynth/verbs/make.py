"""The verbs that begin and that use: init, predict."""

from __future__ import annotations

import json
import shutil
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from deepsynth.errors import RequestError
from deepsynth.families import FAMILIES, family_of, get_family
from deepsynth.printing import say
from deepsynth.run.run import Run


def init(
    family: Annotated[str, Parameter(help=f"What to train: {', '.join(FAMILIES)}.")],
    folder: Annotated[Path, Parameter(help="Where to write; made if it is not there.")],
    /,
    *,
    name: Annotated[
        list[str] | None,
        Parameter(
            help="PLACE=NAME names a folder, where the family has several; `french` takes the "
            "names of French guides.",
            negative=(),
        ),
    ] = None,
) -> int:
    """Write a commented job file to start from, and the folders it needs.

    For example:

    ```
    deepsynth init classify tickets
    deepsynth init htr projet --name french --name models=Modeles
    ```
    """
    if family not in FAMILIES:
        near = get_close_matches(family, FAMILIES, n=1)
        raise RequestError(
            f"there is no family {family!r}.",
            hint=f"Did you mean {near[0]}?" if near else f"One of: {', '.join(FAMILIES)}.",
        )
    chosen = get_family(family)
    if name and chosen.workspace is None:
        raise RequestError(f"{family} has no folders to name.", where="--name")
    if folder.exists() and not folder.is_dir():
        raise RequestError("this is a file, not a folder.", where=folder)
    copy = chosen.workspace or (lambda folder, _: _copy(chosen.template, folder))
    for path in copy(folder, name or []):
        say(f"Wrote {path}")
    say(f"Next: edit {folder / 'job.yaml'}, then deepsynth check {folder / 'job.yaml'}")
    return 0


def _copy(template: Path, folder: Path) -> list[Path]:
    files = [path for path in sorted(template.rglob("*")) if path.is_file()]
    for source in files:
        target = folder / source.relative_to(template)
        if target.exists():
            raise RequestError(
                "this exists already and is left as it is.",
                where=target,
                hint="Choose another folder, or move the file away.",
            )
    for source in files:
        target = folder / source.relative_to(template)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        except OSError as error:
            raise RequestError(f"cannot be written: {error.strerror}.", where=target) from error
    return [folder / source.relative_to(template) for source in files]


def predict(
    run: Annotated[Path, Parameter(help="A run whose training is done.")],
    /,
    *files: Annotated[Path, Parameter(help="Pages or texts: images, a table, one text a line.")],
    text: Annotated[
        list[str] | None, Parameter(help="A text; may be given several times.", negative=())
    ] = None,
    file: Annotated[Path | None, Parameter(help="The same as one of FILES.")] = None,
    as_json: Annotated[
        bool, Parameter(name="--json", help="Print one JSON object a line.", negative=())
    ] = False,
) -> int:
    """Use the trained model of a run.

    For example:

    ```
    deepsynth predict runs/tickets --text "Where is my parcel?"
    deepsynth predict runs/tickets new.csv --json
    deepsynth predict runs/hand page.jpg
    ```
    """
    opened = Run.open(run)
    asked = [*([file] if file else []), *files]
    if not text and not asked:
        raise RequestError("there is nothing to predict.", hint='Give --text "..." or a file.')
    family = family_of(opened)
    for answer in family.predict(opened, text or [], asked):
        line = json.dumps(answer, ensure_ascii=False) if as_json else family.show(answer)
        say(line)
    return 0
