"""Job: one YAML file that says what to do, read strictly and resolved completely.

A family describes its settings as a pydantic model that derives from `Job`. Reading goes
`file -> overrides -> typed job -> presets -> ResolvedJob`, and every value keeps where it came
from and why, which is what `resolved.yaml` in a run folder shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, Field

from deepsynth.errors import JobError
from deepsynth.job.settings import (
    Section,
    Setting,
    keys_of,
    section_at,
    validate,
)
from deepsynth.job.strict_yaml import KeyPath, read_ours, read_scalar, read_yaml, write_ours
from deepsynth.storage import local_path
from deepsynth.storage.stores import is_url


@dataclass(frozen=True)
class LocalPath:
    """Marks a setting that is a path or a URL.

    A path of the job file is relative to its folder, one of the command line to where one stands.
    A URL is a location in object storage: `s3://BUCKET/NAME`.

    Args:
        may_be_name: The value is a model and may also be its name on the Hub; it is a path only if
            that path exists, or if it starts with `.`, `/` or `~`. A run stands for its model.
    """

    may_be_name: bool = False


class Job(Section):
    """What every job says, whatever its family."""

    family: str = Field(description="What is trained: the name of a family.")
    seed: int = Field(
        default=42,
        ge=0,
        lt=2**32,
        description="Seed of everything random: splits, weights, data order.",
    )


AnyJob = TypeVar("AnyJob", bound=Job)
"""The type of job of some family."""


@dataclass(frozen=True)
class Recommendation:
    """A preset's proposal for a setting that the job leaves open."""

    key: str
    value: Any
    why: str
    pins: bool = False
    """It says exactly what the job names loosely (a branch: its commit), and replaces that."""


@dataclass(frozen=True)
class ResolvedJob:
    """A typed job together with the origin of each of its values."""

    job: Job
    settings: dict[str, Setting] = field(repr=False)
    text: str = field(repr=False)
    name: str = "job"

    def to_yaml(self) -> str:
        """The text of `resolved.yaml`: a tree of `{value, from, where, why}`."""
        return settings_yaml(self.settings)

    def with_recommendations(self, recommended: Iterable[Recommendation]) -> ResolvedJob:
        """Fill the settings that are still open (None by default) with a preset's values."""
        settings = dict(self.settings)
        for advice in recommended:
            known = settings[advice.key]
            if advice.pins and known.value is not None:
                why = advice.why if advice.value == known.value else f"{known.value}: {advice.why}"
                settings[advice.key] = replace(known, value=advice.value, why=why)
            elif known.value is None and (advice.pins or known.origin == "default"):
                settings[advice.key] = Setting(advice.value, "preset", why=advice.why)
        return ResolvedJob(typed_job(type(self.job), settings), settings, self.text, self.name)


def settings_yaml(settings: Mapping[str, Setting]) -> str:
    """Settings with their origins as text, which `read_settings` reads."""
    tree: dict[str, Any] = {}
    for key, setting in settings.items():
        *parents, leaf = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        entry = {"value": setting.value, "from": setting.origin}
        entry |= {k: v for k in ("written", "where", "why") if (v := getattr(setting, k))}
        node[leaf] = entry
    head = "# Every value of this run: what it is, where it came from, and why.\n"
    return head + write_ours(tree)


def read_settings(resolved: str) -> dict[str, Setting]:
    """Read back what `settings_yaml` wrote."""
    return dict(_read_entries(read_ours(resolved, "resolved.yaml"), ()))


def typed_job(job_type: type[AnyJob], settings: Mapping[str, Setting]) -> AnyJob:
    """The job with these values."""
    return job_type.model_validate(_nest({key: s.value for key, s in settings.items()}))


def settings_of(job: Section, read: Mapping[str, Setting]) -> dict[str, Setting]:
    """The settings of a job under the names of today, from what was read of its run."""
    return _settle(job, {tuple(key.split(".")): setting for key, setting in read.items()})


def read_job(
    path: Path, overrides: Iterable[str], type_of: Callable[[object, str], type[Job]]
) -> ResolvedJob:
    """Read a job file and apply `key=value` overrides; presets are the family's, applied later.

    Args:
        path: The YAML file.
        overrides: Like `train.epochs=3`; the value is read as it would be in the file.
        type_of: Gives the type of the job for what `family:` says and the place where it says so
            (None and the file where it says nothing), or raises `JobError`.

    Raises:
        JobError: With file and line, what is wrong, and what was probably meant.
    """
    text = _read_text(path)
    values, lines = read_yaml(text, str(path))
    if isinstance(values.get("data"), str):
        values["data"] = _spell_out(values["data"])
        lines |= dict.fromkeys(_keys_at(values, ("data",)), lines["data",])
    origins: dict[KeyPath, Setting] = {
        key: Setting(None, "file", f"{path.name}:{line}") for key, line in lines.items()
    }
    for override in overrides:
        key = _apply_override(values, override)
        origins = {known: o for known, o in origins.items() if known[: len(key)] != key}
        origins |= dict.fromkeys(_keys_at(values, key), Setting(None, "flag", override))
    line = lines.get(("family",))
    job_type = type_of(values.get("family"), f"{path}:{line}" if line else str(path))
    _let_flags_win(values, job_type, origins)
    job = validate(job_type, values, str(values["family"]), path, origins)

    def place(key: KeyPath, value: str, mark: LocalPath) -> str:
        named = (origins[k].origin for k in keys_of(job_type, key) if k in origins)
        return _place(value, Path.cwd() if "flag" in named else path.resolve().parent, mark)

    placed = _with_paths(job, place)
    name = path.parent.resolve().name or path.stem
    return ResolvedJob(placed, _settle(placed, origins), text, name)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = sorted(p.name for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        hint = f"Found beside it: {', '.join(near)}." if near else "Write one: deepsynth init"
        raise JobError("there is no such job file.", where=path, hint=hint) from None
    except IsADirectoryError:
        hint = f"Did you mean {path / 'job.yaml'}?" if (path / "job.yaml").is_file() else None
        raise JobError("this is a folder; a job is a file.", where=path, hint=hint) from None
    except UnicodeDecodeError:
        raise JobError("this is not a text file in UTF-8, so it is no job.", where=path) from None
    except OSError as error:
        raise JobError(f"cannot be read: {error.strerror}.", where=path) from None


def _apply_override(values: dict[str, Any], override: str) -> KeyPath:
    name, equals, raw = override.partition("=")
    if not equals or not name.strip():
        raise JobError(
            "an override is written key=value.", where=override, hint="For example train.epochs=3"
        )
    key = tuple(name.strip().split("."))
    node: Any = values
    for part in key[:-1]:
        node = node.setdefault(part, {}) if isinstance(node, dict) else None
    if not isinstance(node, dict):
        raise JobError(f"{'.'.join(key[:-1])} has no settings below it.", where=override)
    try:
        node[key[-1]] = _spell_out(read_scalar(raw)) if key == ("data",) else read_scalar(raw)
    except JobError:
        raise JobError(f"the value {raw!r} cannot be read.", where=override) from None
    return key


def _let_flags_win(
    values: Mapping[str, Any], job_type: type[Job], origins: dict[KeyPath, Setting]
) -> None:
    """An override counts more than the file, whichever names of the setting the two use."""
    flags = [key for key, origin in origins.items() if origin.origin == "flag"]
    for key in flags:
        section = section_at(job_type, key[:-1])
        node: Any = values
        for part in key[:-1]:
            node = node[part]
        for other in section.outdone_by(str(key[-1])) if section else ():
            place = (*key[:-1], other)
            if place in origins and origins[place].origin == "file":
                del node[other], origins[place]


def _spell_out(data: Any) -> Any:
    """`data: hub:USER/NAME` is `data: {hub: USER/NAME}`, any other text `data: {path: TEXT}`."""
    if not isinstance(data, str):
        return data
    return {"hub": data.removeprefix("hub:")} if data.startswith("hub:") else {"path": data}


def _keys_at(values: Mapping[str, Any], key: KeyPath) -> Iterator[KeyPath]:
    """`key` and every key below it: `train={epochs: 3}` sets `train.epochs`."""
    yield key
    node: Any = values
    for part in key:
        node = node[part]
    if isinstance(node, dict):
        for name in cast("dict[str, Any]", node):
            yield from _keys_at(values, (*key, name))


def _leaves(
    section: BaseModel, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _settle(job: Section, origins: Mapping[KeyPath, Setting]) -> dict[str, Setting]:
    """Every value of a job with its origin, whichever of its names it was given under."""
    settings: dict[str, Setting] = {}
    for key, value in _leaves(job):
        given = next((k for k in keys_of(type(job), key) if k in origins), None)
        origin = origins[given] if given else Setting(None, "default")
        written = origin.written if given == key else str(given[-1]) if given else ""
        settings[".".join(key)] = replace(origin, value=value, written=written)
    return settings


def with_local_copies(job: Job) -> Job:
    """The job with the copy on this machine in place of every location in object storage.

    Raises:
        LocationError: There is nothing at a location.
        StorageError: The storage failed.
    """
    return _with_paths(job, lambda _, value, __: str(local_path(value)) if is_url(value) else value)


def is_place(value: str) -> bool:
    """Whether a setting that may be the name of something is a path or a location in storage."""
    return is_url(value) or Path(value).is_absolute()


def _with_paths(
    section: Any, place: Callable[[KeyPath, str, LocalPath], str], above: KeyPath = ()
) -> Any:
    changes: dict[str, Any] = {}
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            changes[name] = _with_paths(value, place, (*above, name))
        mark = next((m for m in info.metadata if isinstance(m, LocalPath)), None)
        if mark and isinstance(value, str):
            changes[name] = place((*above, name), value, mark)
    return section.model_copy(update=changes)


def _place(value: str, folder: Path, mark: LocalPath) -> str:
    if is_url(value):
        return value
    try:
        place = folder / Path(value).expanduser()
        if mark.may_be_name:
            place = _model_at(place)
            if not value.startswith((".", "/", "~")) and not place.exists():
                return value
        return str(place.resolve())
    except (OSError, ValueError, RuntimeError) as error:
        said = getattr(error, "strerror", None) or error
        raise JobError(f"this is no path: {said}.", where=value[:80]) from None


def _model_at(place: Path) -> Path:
    """The model of a run that is meant by a path: the run, or `best_model` as guides call it."""
    if (place / "resolved.yaml").is_file():
        return place / "model"
    if place.name == "best_model" and not place.exists() and place.with_name("model").is_dir():
        return place.with_name("model")
    return place


def _read_entries(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, Setting]]:
    for key, entry in tree.items():
        if not isinstance(entry, dict):
            raise JobError(f"{key} is no setting with its origin.", where="resolved.yaml")
        if "from" in entry and "value" in entry:
            yield (
                ".".join((*path, key)),
                Setting(
                    entry["value"],
                    entry["from"],
                    **{k: entry[k] for k in ("written", "where", "why") if k in entry},
                ),
            )
        else:
            yield from _read_entries(entry, (*path, key))


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, leaf = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree
