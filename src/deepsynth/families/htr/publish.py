"""A trained model as others can find it: card, archive for Zenodo, and what `ketos publish` wants.

The card is Markdown with the HTRMoPo v1 metadata in front, the format of Kraken's model
repository. It is validated against the schema that ships with Kraken's environment, offline.
"""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deepsynth import durable
from deepsynth.errors import RequestError
from deepsynth.families.htr.kraken.environment import MANAGED
from deepsynth.families.htr.prepared import base_model, htr_job, read_manifest
from deepsynth.families.htr.report import headline
from deepsynth.families.htr.workspace import NAMING
from deepsynth.run.environments import get_environment
from deepsynth.run.run import Run

_FIXED_DATE = (2026, 1, 1, 0, 0, 0)
_VALIDATE = """
import json, sys
from jsonschema import Draft7Validator
from htrmopo.util import _v1_schema, format_checker
found = Draft7Validator(_v1_schema, format_checker=format_checker).iter_errors(json.load(sys.stdin))
print(json.dumps([[".".join(map(str, e.path)) or "card", e.message] for e in found]))
"""


@dataclass(frozen=True)
class About:
    """What only people know of a model.

    Attributes:
        name: corpus_type_vN.
        authors: Names.
        license: Licence id such as `CC-BY-4.0` (opendefinition.org).
        languages: ISO 639-3 codes, such as `fra`.
        scripts: ISO 15924 codes, such as `Latn`.
        summary: One line; made from the name and the score when empty.
        datasets: URLs of the ground truth.
        base_model: URL or DOI of the base model, if it is published.
        keywords: Anything that helps to find it.
    """

    name: str
    authors: Sequence[str]
    license: str
    languages: Sequence[str]
    scripts: Sequence[str]
    summary: str = ""
    datasets: Sequence[str] = ()
    base_model: Sequence[str] = ()
    keywords: Sequence[str] = field(default=("handwritten text recognition",))


def write_card(run: Run, about: About, target: Path) -> Path:
    """Write the model card of a run to `target` (Markdown) once it is valid.

    Raises:
        RequestError: The name breaks the convention, the run has no score, or the metadata do not
            fit the schema; every complaint is listed.
    """
    check_name(about.name)
    final = run.final_metrics()
    if final is None:
        raise RequestError(
            "this run has no score yet", where=run.path, hint="Evaluate it first: deepsynth run."
        )
    metadata = card_metadata(run, about, final)
    problems = validate(metadata)
    if problems:
        listed = "; ".join(f"{where}: {what}" for where, what in problems)
        raise RequestError(
            f"the metadata of the card are not valid: {listed}",
            where=target,
            hint="Licences as on opendefinition.org (CC-BY-4.0), languages as ISO 639-3 (fra), "
            "scripts as ISO 15924 (Latn), datasets as URLs.",
        )
    front = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    durable.write_text(target, f"---\n{front}---\n{_body(run, about, final)}")
    return target


def write_archive(run: Run, about: About, folder: Path) -> Path:
    """Write `NAME.zip` for a Zenodo deposit: both model files, the card, the report, the figures.

    The same run gives the same bytes. `ketos publish -i NAME.md NAME/best.safetensors` (version
    7) takes the card and the model of the same folder.

    Raises:
        RequestError: As `write_card`, or the archive exists already.
    """
    archive = folder / f"{about.name}.zip"
    if archive.exists():
        raise RequestError("this exists already", where=archive, hint="Raise the version number.")
    card = write_card(run, about, folder / f"{about.name}.md")
    entries = [(card, "README.md"), (run.path / "report.html", "report.html")]
    entries += [(run.path / "metrics.json", "metrics.json")]
    entries += [
        (path, f"{about.name}{path.suffix}") for path in sorted((run.path / "model").glob("best.*"))
    ]
    with (
        durable.appearing(archive) as draft,
        zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as stream,
    ):
        for path, name in entries:
            stream.writestr(zipfile.ZipInfo(name, _FIXED_DATE), path.read_bytes())
    return archive


def check_name(name: str) -> None:
    """Refuse a model name that does not follow corpus_type_vN.

    Raises:
        RequestError: With an example.
    """
    if not NAMING.fullmatch(name):
        raise RequestError(
            f"the model name {name!r} does not follow corpus_type_vN",
            where="--name",
            hint="Lower case, for example odalricus_transcription_v1.",
        )


def card_metadata(run: Run, about: About, final: dict[str, Any]) -> dict[str, Any]:
    """The HTRMoPo v1 metadata of a run."""
    job = htr_job(run)
    names = {"cer": "cer", "wer": "wer", "baseline_f1": "baseline_f1", "region_iou": "region_iou"}
    rates = {ours: final[key] for key, ours in names.items() if final.get(key) is not None}
    # error rates in percent, as the schema's own example has them
    metrics = {
        k: round(100 * v, 2) if k in ("cer", "wer") else round(v, 4) for k, v in rates.items()
    }
    metadata: dict[str, Any] = {
        "id": about.name,
        "summary": about.summary or f"{about.name}: {headline(final)[0]}",
        "authors": [{"name": name} for name in about.authors],
        "license": about.license,
        "software_name": "kraken",
        "software_hints": ["kind=vgsl", "version>=7 for .safetensors, >=4.3 for .mlmodel"],
        "language": list(about.languages),
        "script": list(about.scripts),
        "keywords": list(about.keywords),
        "model_type": [job.task],
        "metrics": metrics,
    }
    if about.datasets:
        metadata["datasets"] = list(about.datasets)
    if about.base_model:
        metadata["base_model"] = list(about.base_model)
    return metadata


def validate(metadata: dict[str, Any]) -> list[tuple[str, str]]:
    """Where and why metadata do not fit the HTRMoPo v1 schema; empty when they do."""
    environment = get_environment(MANAGED)
    done = subprocess.run(
        environment.command(["{python}", "-c", _VALIDATE]),
        input=json.dumps(metadata),
        capture_output=True,
        text=True,
        check=True,
    )
    return [(where, what) for where, what in json.loads(done.stdout)]


def _body(run: Run, about: About, final: dict[str, Any]) -> str:
    job, manifest = htr_job(run), read_manifest(run)
    base = base_model(run, "train")
    pages = {name: len(part.pages) for name, part in manifest.parts.items()}
    lines = [
        f"# {about.name}",
        "",
        *headline(final),
        "",
        "## Data",
        "",
        f"Whole pages were held back, never single lines: "
        f"{', '.join(f'{count} {name}' for name, count in pages.items())}.",
        f"Text in {manifest.normalization}; {len(manifest.alphabet)} different characters."
        if job.task == "recognition"
        else "",
        "",
        "## Training",
        "",
        f"Fine-tuned from `{base.name}`." if base else "Trained from fresh weights.",
        f"Learning rate {job.train.learning_rate}, batches of {job.train.batch_size}, "
        f"optimiser {job.train.optimizer}, seed {job.seed}.",
        "",
        "## Scores",
        "",
    ]
    if job.task == "recognition":
        lines += ["| compared | CER | WER |", "|---|---|---|"]
        lines += [
            f"| {name} | {100 * each['cer']:.2f} % | {100 * each['wer']:.2f} % |"
            for name, each in final["variants"].items()
        ]
        lines += ["", f"Compared in {final['normalization']}.", ""]
    lines += [
        "## Limits",
        "",
        "The scores hold for pages like those it was measured on. Other hands, scripts and scans "
        "need their own measurement.",
        "",
    ]
    return "\n".join(lines)
