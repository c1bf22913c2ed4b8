"""Job: one YAML file that says what to do, read strictly and resolved completely.

A family describes its settings as a pydantic model that derives from `Job`. Reading goes
`file -> overrides -> typed job -> presets -> ResolvedJob`, and every value keeps where it came
from and why, which is what `resolved.yaml` in a run folder shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, cast, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deepsynth.errors import JobError
from deepsynth.job.strict_yaml import KeyPath, read_scalar, read_yaml
from deepsynth.storage import local_path
from deepsynth.storage.stores import is_url

Origin: TypeAlias = Literal["file", "flag", "preset", "default"]


class Section(BaseModel):
    """A part of a job: unknown keys and wrong types are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())


@dataclass(frozen=True)
class LocalPath:
    """Marks a setting that is a path, taken relative to the folder of the job file, or a URL.

    A URL is a location in object storage: `s3://BUCKET/NAME`.

    Args:
        may_be_name: The value may also be the name of something on the Hub; it is then a path
            only if that path exists, or if it starts with `.`, `/` or `~`.
    """

    may_be_name: bool = False


class Job(Section):
    """What every job says, whatever its family."""

    family: str = Field(description="What is trained: classify.")
    seed: int = Field(
        default=42,
        ge=0,
        lt=2**32,
        description="Seed of everything random: splits, weights, data order.",
    )


AnyJob = TypeVar("AnyJob", bound=Job)
"""The type of job of some family."""


@dataclass(frozen=True)
class Setting:
    """One value of a job, where it came from and why."""

    value: Any
    origin: Origin
    where: str = ""
    why: str = ""


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
        tree: dict[str, Any] = {}
        for key, setting in self.settings.items():
            *parents, leaf = key.split(".")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            entry = {"value": setting.value, "from": setting.origin}
            entry |= {k: v for k in ("where", "why") if (v := getattr(setting, k))}
            node[leaf] = entry
        head = "# Every value of this run: what it is, where it came from, and why.\n"
        return head + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100)

    def with_recommendations(self, recommended: Iterable[Recommendation]) -> ResolvedJob:
        """Fill the settings that are still open (None by default) with a preset's values."""
        settings = dict(self.settings)
        for advice in recommended:
            known = settings[advice.key]
            if advice.pins and known.value is not None:
                why = advice.why if advice.value == known.value else f"{known.value}: {advice.why}"
                settings[advice.key] = Setting(advice.value, known.origin, known.where, why)
            elif known.value is None and (advice.pins or known.origin == "default"):
                settings[advice.key] = Setting(advice.value, "preset", why=advice.why)
        return ResolvedJob(typed_job(type(self.job), settings), settings, self.text, self.name)


def read_settings(resolved: str) -> dict[str, Setting]:
    """Read back what `ResolvedJob.to_yaml` wrote."""
    return dict(_read_entries(yaml.safe_load(resolved), ()))


def typed_job(job_type: type[AnyJob], settings: Mapping[str, Setting]) -> AnyJob:
    """The job with these values."""
    return job_type.model_validate(_nest({key: s.value for key, s in settings.items()}))


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
    job = validate_job(job_type, values, path, origins)
    folder = path.resolve().parent
    placed = _with_paths(job, lambda value, mark: _place(value, folder, mark))
    settings = {
        ".".join(key): Setting(value, *_origin(key, origins)) for key, value in _leaves(placed)
    }
    return ResolvedJob(placed, settings, text, path.parent.resolve().name or path.stem)


def validate_job(
    job_type: type[Job], values: Mapping[str, Any], path: Path, origins: Mapping[KeyPath, Setting]
) -> Job:
    """Type-check `values`; every complaint carries its line, all of them in one error."""
    try:
        return job_type.model_validate(values)
    except ValidationError as error:
        family = str(values.get("family"))
        problems = [_explain(item, job_type, family, path, origins) for item in error.errors()]
    first, *rest = problems
    if rest:
        more = "\n".join(f"  Also {line}" for line in (str(problem) for problem in rest))
        hint = f"{first.hint}\n{more}" if first.hint else more.strip()
        raise JobError(first.what, where=first.where, hint=hint)
    raise first


def setting_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings below `model`: `data.path`, `train.epochs`, ..."""
    for name, info in model.model_fields.items():
        section = _section_of(info.annotation)
        if section:
            yield from setting_names(section, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


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
    except yaml.YAMLError:
        raise JobError(f"the value {raw!r} cannot be read.", where=override) from None
    return key


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


def _explain(
    item: Any, job_type: type[Job], family: str, path: Path, origins: Mapping[KeyPath, Setting]
) -> JobError:
    loc: KeyPath = tuple(item["loc"])
    name = ".".join(map(str, loc))
    origin = next((origins[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in origins), None)
    where = str(path)
    if origin is not None:
        line = origin.where.rpartition(":")[2]
        where = origin.where if origin.origin == "flag" else f"{path}:{line}"
    if item["type"] == "extra_forbidden":
        names = list(setting_names(job_type))
        return JobError(
            f"{name} is not a setting of {family}.", where=where, hint=_did_you_mean(loc, names)
        )
    if item["type"] == "missing":
        return JobError(f"{name} must be given.", where=where, hint=f"Add `{loc[-1]}:` there.")
    given = repr(item["input"])
    given = given if len(given) <= 60 else given[:57] + "..."
    reason = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return JobError(f"{name} is {given}, but {reason}.", where=where)


def _did_you_mean(loc: KeyPath, names: list[str]) -> str:
    name, leaf = ".".join(map(str, loc)), str(loc[-1])
    above = [str(part) for part in loc[:-1]]
    parts = [known.split(".") for known in names]
    here = list(dict.fromkeys(p[len(above)] for p in parts if p[: len(above)] == above))
    if near := get_close_matches(leaf, here, n=1, cutoff=0.6):
        return f"Did you mean {near[0]}?"
    elsewhere = [known for known in names if known.rpartition(".")[2] == leaf]
    elsewhere = elsewhere or get_close_matches(name, names, n=1, cutoff=0.7)
    if elsewhere:
        return f"Did you mean {elsewhere[0]}?"
    return f"Settings here: {', '.join(here) or 'none'}."


def _section_of(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _leaves(
    section: BaseModel, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _origin(key: tuple[str, ...], origins: Mapping[KeyPath, Setting]) -> tuple[Origin, str]:
    found = origins.get(key)
    return (found.origin, found.where) if found else ("default", "")


def with_local_copies(job: Job) -> Job:
    """The job with the copy on this machine in place of every location in object storage.

    Raises:
        LocationError: There is nothing at a location.
        StorageError: The storage failed.
    """
    return _with_paths(job, lambda value, _: str(local_path(value)) if is_url(value) else value)


def is_place(value: str) -> bool:
    """Whether a setting that may be the name of something is a path or a location in storage."""
    return is_url(value) or Path(value).is_absolute()


def _with_paths(section: Any, place: Callable[[str, LocalPath], str]) -> Any:
    changes: dict[str, Any] = {}
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            changes[name] = _with_paths(value, place)
        mark = next((m for m in info.metadata if isinstance(m, LocalPath)), None)
        if mark and isinstance(value, str):
            changes[name] = place(value, mark)
    return section.model_copy(update=changes)


def _place(value: str, folder: Path, mark: LocalPath) -> str:
    if is_url(value):
        return value
    place = folder / Path(value).expanduser()
    if mark.may_be_name and not value.startswith((".", "/", "~")) and not place.exists():
        return value
    return str(place.resolve())


def _read_entries(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, Setting]]:
    for key, entry in tree.items():
        if "from" in entry and "value" in entry:
            yield (
                ".".join((*path, key)),
                Setting(
                    entry["value"], entry["from"], entry.get("where", ""), entry.get("why", "")
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
