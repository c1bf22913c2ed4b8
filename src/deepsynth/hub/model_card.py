"""The card of a trained model and its companions, from the run that made it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepsynth import __version__, durable
from deepsynth.errors import JobError, RunError
from deepsynth.hub import cards
from deepsynth.job.strict_yaml import read_ours
from deepsynth.run.run import Run

_BASE = "base_model_name_or_path"


@dataclass(frozen=True)
class ModelCard:
    """What the family of a model says of it, besides figures and settings.

    Attributes:
        task: The Hub's `pipeline_tag`, such as `text-classification`.
        library: The Hub's `library_name`, such as `transformers`.
        purpose: What it does, to follow "It": `puts a short text into one of ...`.
        loading: Python that loads it; `{repo}` and `{base}` stand for the Hub names of the model
            and of the one it started from.
        beside: What must be read with the figures, as Markdown.
    """

    task: str
    library: str
    purpose: str
    loading: str
    beside: str = ""


@dataclass(frozen=True)
class Facts:
    """What a run says about its model.

    Attributes:
        family: Name of the family.
        base_model: Hub name of the model it started from; empty when it has none.
        scratch: Whether it started from fresh weights.
        datasets: Hub names, or bare file names, of the data.
        languages: ISO 639 codes.
        licence: As given when publishing; empty when it was not.
        metrics: Final figures, by split and name.
        settings: Every setting with its value, paths reduced to file names.
    """

    family: str
    base_model: str
    scratch: bool = False
    datasets: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    licence: str = ""
    metrics: dict[str, Any] = field(default_factory=dict[str, Any])
    settings: dict[str, Any] = field(default_factory=dict[str, Any])


def read_facts(run: Path, licence: str = "") -> Facts:
    """Read `resolved.yaml` and `metrics.json` of a run folder.

    Raises:
        RunError: The run has no resolved settings that can be read, or no final figures.
    """
    try:
        tree = read_ours((run / "resolved.yaml").read_text(encoding="utf-8"), "resolved.yaml")
        settings = _without_paths(_values(tree))
        family = str(settings["family"])
    except (OSError, ValueError, JobError, LookupError, TypeError, AttributeError) as error:
        raise RunError(
            f"its settings cannot be read ({error}).", where=run / "resolved.yaml"
        ) from error
    metrics = durable.read_json(run / "metrics.json")
    if not isinstance(metrics, dict):
        raise RunError(
            "the run has no final figures, and a model is published with them.",
            where=run / "metrics.json",
            hint=f"They are made by `deepsynth evaluate {run}`; `deepsynth status {run}` shows how "
            "far it is.",
        )
    base = _values(tree).get("model")
    data = settings.get("data")
    data = data if isinstance(data, dict) else {"path": data}
    languages = data.get("language") or ()
    return Facts(
        family=family,
        base_model=base if isinstance(base, str) and cards.is_hub_name(base) else "",
        scratch=isinstance(base, str) and base.startswith("scratch:"),
        datasets=tuple(_dataset_names(data, run)),
        languages=(languages,) if isinstance(languages, str) else tuple(languages),
        licence=licence,
        metrics=metrics,
        settings=settings,
    )


def companions(run: Path, facts: Facts) -> dict[str, str]:
    """Files that go beside the weights: final figures and the settings of the training."""
    training = {"deepsynth": __version__, "settings": facts.settings}
    return {
        "metrics.json": _json(_without_paths(facts.metrics)),
        "training_config.json": _json(training),
    }


def portable(file: Path, facts: Facts) -> str | None:
    """Settings in which places on this machine are cut down to their last part; None: as they are.

    The base model of an adapter becomes its Hub name, where it has one.
    """
    settings = durable.read_json(file)
    if not isinstance(settings, dict):
        return None
    changed = _without_paths(settings)
    base = settings.get(_BASE)
    if isinstance(base, str) and cards.is_local_path(base) and facts.base_model:
        changed[_BASE] = facts.base_model
    return None if changed == settings else _json(changed)


def write(facts: Facts, said: ModelCard, repo: str) -> str:
    """The card: metadata the Hub understands, then what a person needs to know."""
    data: dict[str, Any] = {
        "library_name": said.library,
        "pipeline_tag": said.task,
        "tags": ["deepsynth", facts.family],
    }
    if facts.licence:
        data["license"] = facts.licence
    if facts.base_model:
        data["base_model"] = facts.base_model
    if hub_names := [name for name in facts.datasets if name.count("/") == 1]:
        data["datasets"] = hub_names
    if facts.languages:
        data["language"] = list(facts.languages)
    base = facts.base_model or "a local model file"
    began = "fresh weights" if facts.scratch else f"`{base}`"
    named = ", ".join(facts.datasets) or "not recorded"
    rows = "\n".join(f"| {name} | {value} |" for name, value in _flat(facts.metrics))
    beside = f"{said.beside}\n\n" if said.beside else ""
    loading = said.loading.format(repo=repo, base=base)
    text = f"""# {repo.split("/")[-1]}

It {said.purpose}. Trained with DeepSynth {__version__}
from {began}; data: {named}.

## Figures

| Metric | Value |
|---|---|
{rows}

{beside}They were measured on the data named above; on other data they will differ.

## Intended use and limits

It is meant for documents like those it was trained on: same language, period, genre and image
quality. Elsewhere it may be wrong without a sign of it, so have people check what matters. It
inherits the limits and the licence terms of the model and the data it comes from.

## How to load it

```python
{loading}
```

`training_config.json` holds every setting of the training, `metrics.json` every final figure.
"""
    return cards.write(data, text)


def _values(tree: Any) -> Any:
    """The plain values of a resolved job's `{value, from, where, why}` tree."""
    if isinstance(tree, dict) and "value" in tree and "from" in tree:
        return tree["value"]
    if isinstance(tree, dict):
        return {key: _values(child) for key, child in tree.items()}
    return tree


def _without_paths(value: Any) -> Any:
    """Plain data with every local path cut down to its last part."""
    if isinstance(value, dict):
        return {key: _without_paths(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_without_paths(child) for child in value]
    if isinstance(value, str) and cards.is_local_path(value):
        return value.replace("\\", "/").rstrip("/").split("/")[-1]
    return value


def _dataset_names(data: dict[str, Any], run: Path) -> Iterator[str]:
    """The data a job names; of datasets given by name, the repositories the plan found."""
    told: list[Any] = []
    with suppress(RunError):
        told = [step.settings.get("places") for step in Run(run).plan.steps]
    places = [place for listed in told if isinstance(listed, list) for place in listed]
    found = [str(place[0]) for place in places if isinstance(place, list) and place]
    named = found or data.get("datasets")
    for name in [*(named if isinstance(named, list) else []), data.get("hub"), data.get("path")]:
        if isinstance(name, str):
            plain = name.removeprefix("hub:").split("@")[0]
            yield plain.rstrip("/").split("/")[-1] if cards.is_local_path(plain) else plain


def _flat(metrics: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in metrics.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            yield f"{prefix}{name}", f"{value:.4g}"
        elif isinstance(value, int | str) and not isinstance(value, bool):
            yield f"{prefix}{name}", str(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
