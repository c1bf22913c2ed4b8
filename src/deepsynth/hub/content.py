"""What of a folder is published: a generated dataset, or the model of a finished run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from deepsynth import durable
from deepsynth.errors import DataError, RequestError, RunError
from deepsynth.hub import cards, model_card
from deepsynth.hub.journal import NAME as JOURNAL
from deepsynth.hub.manifest import NAME as MANIFEST
from deepsynth.hub.manifest import checked

CARD = "README.md"
PRIVATE_ONLY = frozenset({"cc-by-nc-nd-4.0", "unknown", "other", ""})
"""Licences that do not say the data may be given to everyone."""

_NO_LICENCE = (
    "the card names no licence, so nobody else may use the model: --licence ID says one, such as "
    "apache-2.0; it must suit the base model and the data"
)
# what a training run keeps for itself: resume points and optimiser, scheduler and sampler states
_NEVER_FOLDERS = ("checkpoint-", "epoch_")
_NEVER_FILES = (
    "optimizer",
    "scheduler",
    "scaler",
    "rng_state",
    "trainer_state",
    "training_args.bin",
    "events.out.tfevents",
)
# written by us or for us; a tokenizer's vocabulary may well contain something like a path
_SETTINGS = ("config.json", "base.json", "metadata.json")
_CONFIGURATION = (*_SETTINGS, ".yaml", ".md")


@dataclass(frozen=True)
class Item:
    """One file as it will be in the repository.

    Attributes:
        path: Its name there.
        source: The file here.
        bytes: Size of what is published.
        sha256: Of what is published.
        text: What is published where that was written for publishing; None: the file itself.
    """

    path: str
    source: Path
    bytes: int
    sha256: str
    text: str | None = None

    def read(self) -> bytes:
        """The bytes that are published."""
        return self.source.read_bytes() if self.text is None else self.text.encode()


def text_item(path: str, source: Path, text: str) -> Item:
    """A file that is written for publishing, on behalf of `source`."""
    data = text.encode()
    return Item(path, source, len(data), hashlib.sha256(data).hexdigest(), text)


@dataclass(frozen=True)
class Content:
    """A folder, ready to be published.

    Attributes:
        kind: dataset or model.
        folder: The folder it was read from; the journal lies there.
        items: Its files, without the card.
        card: Text of the card.
        manifest: The dataset's manifest; empty for models.
        private_why: Why it may not be public; empty when it may.
        notice: Something to tell whoever publishes it; often empty.
    """

    kind: Literal["dataset", "model"]
    folder: Path
    items: tuple[Item, ...]
    card: str
    manifest: dict[str, Any] = field(default_factory=dict[str, Any])
    private_why: str = ""
    notice: str = ""

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(item.bytes for item in self.items)


def read_content(
    path: Path,
    repo: str,
    licence: str | None = None,
    said: model_card.ModelCard | None = None,
) -> Content:
    """Read a dataset folder or a run folder, and check it against its own manifest.

    Args:
        path: A folder with `manifest.json` and `data/`, or a run folder with `model/`.
        repo: `USER/NAME`, for the lines of a model's card that say how to load it.
        licence: Of a model; that of a dataset stands in its card.
        said: What the family of a model says of it.

    Raises:
        RequestError: A licence is given for a dataset, or a run is of a family that says nothing.
        DataError: It is neither, a link leads out of it, or a file is not the one the manifest
            describes.
        RunError: The run has no model yet.
    """
    if not path.is_dir():
        raise DataError(
            "there is no such folder.", where=path, hint="Name a dataset folder or a run folder."
        )
    if link := durable.link_out_of(path):
        raise DataError(
            "this link leads out of the folder that is published: what is there is not sent.",
            where=link,
            hint="Put the file or folder itself in its place.",
        )
    if (path / "resolved.yaml").exists():
        if said is None:
            raise RequestError("models of its family cannot be published.", where=path)
        return _model(path, repo, licence, said)
    if (path / MANIFEST).exists():
        if licence is not None:
            raise RequestError(
                "the licence of a dataset stands in its card.",
                where="--licence",
                hint="Say it when the dataset is made: deepsynth generate ... --licence ID",
            )
        return _dataset(path)
    raise DataError(
        "this is neither a dataset (no manifest.json) nor a run (no resolved.yaml).",
        where=path,
        hint="`deepsynth generate` makes a dataset, `deepsynth run` a run.",
    )


def _dataset(path: Path) -> Content:
    manifest = checked(durable.read_json(path / MANIFEST), path / MANIFEST)
    if not manifest["files"]:
        raise DataError("the manifest lists no files.", where=path / MANIFEST)
    items: list[Item] = []
    for entry in manifest["files"]:
        items.append(_checked(path / entry["path"], entry))
    items.append(_item(path / MANIFEST, MANIFEST))
    card = path / CARD
    if not card.exists():
        raise DataError(
            "it has no card (README.md).",
            where=path,
            hint="`deepsynth generate` writes one, with the licence between its '---' lines.",
        )
    text = card.read_text(encoding="utf-8")
    cards.refuse_local_paths({CARD: text, MANIFEST: json.dumps(manifest)}, path)
    return Content("dataset", path, tuple(items), text, manifest, _private_why(text, manifest))


def _checked(source: Path, entry: dict[str, Any]) -> Item:
    try:
        item = _item(source, entry["path"])
    except FileNotFoundError:
        raise DataError(
            "the manifest lists this file, but it is not there.", where=source
        ) from None
    if item.bytes != entry["bytes"] or item.sha256 != entry["sha256"]:
        raise DataError(
            "this file is not the one the manifest describes (its sha256 differs).",
            where=source,
            hint="It was changed or cut short after generation: generate the dataset again.",
        )
    return item


def _private_why(card: str, manifest: dict[str, Any]) -> str:
    if manifest.get("private_only"):
        return f"its source allows private repositories only ({manifest.get('licence', 'unknown')})"
    licence = cards.front_matter(card).get("license")
    names = [str(name) for name in (licence if isinstance(licence, list) else [licence or ""])]
    for name in names:
        if name in PRIVATE_ONLY or "-nc" in name:
            said = f"licence {name!r}" if name else "no licence"
            return f"its card says {said}, which does not allow giving it to everyone"
    return ""


def _model(path: Path, repo: str, licence: str | None, said: model_card.ModelCard) -> Content:
    model = path / "model"
    files = [file for file in durable.files_below(model) if file.is_file()]
    kept = [file for file in files if _belongs(file.relative_to(model))]
    if not kept:
        raise RunError(
            "this run has no model yet.",
            where=path,
            hint=f"`deepsynth status {path}` shows how far it is; publish it when it is done.",
        )
    facts = model_card.read_facts(path, licence or "")
    items: list[Item] = []
    texts: dict[str, str] = {}
    for file in kept:
        name = file.relative_to(model).as_posix()
        if name == CARD:
            continue  # the trainer's own card knows less than ours
        settings = model_card.portable(file, facts) if name.endswith(_SETTINGS) else None
        items.append(_item(file, name) if settings is None else text_item(name, file, settings))
        if name.endswith(_CONFIGURATION):
            texts[name] = items[-1].read().decode(errors="replace")
    for name, text in model_card.companions(path, facts).items():
        texts[name] = text
        items.append(text_item(name, path, text))
    card = model_card.write(facts, said, repo)
    cards.refuse_local_paths({**texts, CARD: card}, path)
    why = _private_why(card, {}) if facts.licence else ""
    notice = "" if facts.licence else _NO_LICENCE
    return Content("model", path, tuple(items), card, {}, why, notice)


def _belongs(path: Path) -> bool:
    if path.name.startswith(".") or path.name == JOURNAL:
        return False
    if any(part.startswith(_NEVER_FOLDERS) for part in path.parts[:-1]):
        return False
    return not path.name.startswith(_NEVER_FILES)


def _item(source: Path, name: str) -> Item:
    return Item(name, source, source.stat().st_size, durable.sha256_file(source))
