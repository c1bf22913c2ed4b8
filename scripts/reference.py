"""Write docs/reference from the code: the command line, the settings of each family, run folders.

python scripts/reference.py            # writes
python scripts/reference.py --check    # exit 1 if what is there is out of date
"""

from __future__ import annotations

import argparse
import contextlib
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

import deepsynth.errors
import deepsynth.run.run
from deepsynth.cli import build_app
from deepsynth.errors import DataError
from deepsynth.families import Family, family_names, get_family, load_job
from deepsynth.families.summarize.recommend import suited
from deepsynth.job.strict_yaml import read_yaml
from deepsynth.report.curve import Series, draw_curve

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
EXAMPLES = ROOT / "examples"


def command_line() -> str:
    """The page of the verbs."""
    text = build_app().generate_docs(output_format="markdown", recursive=True)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def settings_of(name: str) -> str:
    """The page of a family's job."""
    family = get_family(name)
    lines = [
        f"# Job settings of `{name}`",
        "",
        f"What a job with `family: {name}` may say ({family.summary}). A setting whose default is",
        "*by size* is chosen by the presets when the job leaves it open; the run's `resolved.yaml`",
        "tells the value and the reason.",
        "",
        "| Setting | Type | Default | Meaning |",
        "|---|---|---|---|",
    ]
    return "\n".join([*lines, *_rows(family.job_type, "", _by_size(family))]) + "\n"


def _by_size(family: Family) -> set[str]:
    """Settings that presets choose: those its table names, and those it proposes for an example."""
    import yaml

    presets = Path(sys.modules[family.job_type.__module__].__file__ or "").parent / "presets.yaml"
    entries = yaml.safe_load(presets.read_text()) if presets.exists() else []
    chosen = {key for entry in entries for key in entry.get("set", {})}
    for path in sorted(EXAMPLES.glob("*/job.yaml")):
        if read_yaml(path.read_text(), str(path))[0]["family"] != family.name:
            continue
        said = load_job(path).job.model_dump()
        fields = family.job_type.model_fields.items()
        required = {name: said[name] for name, field in fields if field.is_required()}
        open_job = family.job_type.model_validate(required)
        with contextlib.suppress(DataError):  # its data are made by a script of the example
            chosen |= {one.key for one in family.recommend(open_job, family.measure(open_job))}
    return chosen


def _rows(model: type[BaseModel], prefix: str, by_size: set[str]) -> Iterator[str]:
    for field, info in model.model_fields.items():
        annotation = info.annotation
        section = next(
            (
                a
                for a in (annotation, *get_args(annotation))
                if isinstance(a, type) and issubclass(a, BaseModel)
            ),
            None,
        )
        if section:
            yield from _rows(section, f"{prefix}{field}.", by_size)
            continue
        key = f"{prefix}{field}"
        kind = _type(annotation)
        usual = info.get_default(call_default_factory=True)
        default = "*required*" if info.is_required() else f"`{_value(usual)}`"
        if not info.is_required() and usual in (None, [], {}):
            default = "*by size*" if key in by_size else "–"
        yield f"| `{key}` | {kind} | {default} | {info.description or ''} |"


def _type(annotation: Any) -> str:
    arguments = [a for a in get_args(annotation) if a is not type(None)]
    if arguments and all(isinstance(a, str) for a in arguments):
        return " or ".join(f"`{a}`" for a in arguments)
    if arguments and get_args(annotation) and type(None) in get_args(annotation):
        return " or ".join(_type(a) for a in arguments)
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return names.get(annotation, str(annotation).replace("typing.", "").replace("|", "or"))


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def doc_page(title: str, module: Any) -> str:
    """A page that is a module's docstring."""
    return f"# {title}\n\n{(module.__doc__ or '').strip()}\n"


def recommendation_curve() -> str:
    """The picture of what `summarize` recommends by the number of samples."""
    sizes = [round(10 ** (step / 20)) for step in range(8, 107)]
    found = [suited(samples) for samples in sizes]
    places = [math.log10(samples) for samples in sizes]
    drawn = draw_curve(
        [
            Series("updates", [(x, one.updates) for x, one in zip(places, found, strict=True)]),
            Series("10 x rank", [(x, 10 * one.rank) for x, one in zip(places, found, strict=True)]),
            Series(
                "10 x samples in an update",
                [(x, 10 * one.effective) for x, one in zip(places, found, strict=True)],
            ),
        ],
        x="samples, as a power of ten",
        y="recommended",
    )
    return drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


def pages() -> dict[str, str]:
    """All generated pages by file name."""
    return {
        "../images/recommended.svg": recommendation_curve(),
        "command-line.md": command_line(),
        "run-folder.md": doc_page("The run folder", deepsynth.run.run),
        "errors.md": doc_page("Errors and exit codes", deepsynth.errors),
        **{f"job-{name}.md": settings_of(name) for name in family_names()},
    }


def main() -> int:
    """Write the pages, or say which are out of date."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    FOLDER.mkdir(parents=True, exist_ok=True)
    stale = [
        name
        for name, text in pages().items()
        if not (FOLDER / name).exists() or (FOLDER / name).read_text() != text
    ]
    if check:
        print("\n".join(f"docs/reference/{name} is out of date: make reference" for name in stale))
        return 1 if stale else 0
    for name in stale:
        (FOLDER / name).write_text(pages()[name])
        print(f"wrote docs/reference/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
