"""Settings read strictly: sections, where each value came from, and what was probably meant.

A setting may go by other names, those of the guides and of earlier versions: they work wherever the
setting does, and what was written is kept. A name of another program is refused, with the setting
it stands for here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from deepsynth.errors import JobError
from deepsynth.job.strict_yaml import KeyPath

ModelT = TypeVar("ModelT", bound=BaseModel)
Origin: TypeAlias = Literal["file", "flag", "preset", "default"]
UNSAID = object()
"""In place of a value: the setting is not said at all."""


@dataclass(frozen=True)
class Alias:
    """Another name of a setting.

    Attributes:
        setting: Its name now.
        means: Its value now, from what is written under the other name and what is said under its
            own (`UNSAID` if nothing is, as an argument and as the answer). None: the same value,
            and only one of the two names may be used.
    """

    setting: str
    means: Callable[[Any, Any], Any] | None = None


class Section(BaseModel):
    """A part of a job: unknown keys and wrong types are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())
    aliases: ClassVar[Mapping[str, Alias]] = {}
    """Other names of its settings."""
    elsewhere: ClassVar[Mapping[str, str]] = {}
    """What another program calls a setting, and what is meant here: the answer to such a name."""

    @model_validator(mode="before")
    @classmethod
    def _by_one_name(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        values = dict(cast("Mapping[str, Any]", given))
        for written, alias in cls.aliases.items():
            if written not in values:
                continue
            value, said = values.pop(written), values.get(alias.setting, UNSAID)
            if alias.means is not None:
                value = alias.means(value, said)
            elif said is not UNSAID:
                names = {"written": written, "setting": alias.setting}
                raise PydanticCustomError("said_twice", "{written} is {setting}", names)
            values[alias.setting] = value
        return {name: value for name, value in values.items() if value is not UNSAID}

    @classmethod
    def names_of(cls, setting: str) -> list[str]:
        """The name of a setting, and the others it goes by."""
        return [setting, *(name for name, to in cls.aliases.items() if to.setting == setting)]

    @classmethod
    def outdone_by(cls, name: str) -> set[str]:
        """The names that stop counting when `name` is said somewhere that counts more."""
        alias = cls.aliases.get(name)
        if alias is not None and alias.means is not None:
            return set()
        return {*cls.names_of(alias.setting if alias else name)} - {name}


@dataclass(frozen=True)
class Setting:
    """One value of a job, where it came from and why."""

    value: Any
    origin: Origin
    where: str = ""
    why: str = ""
    written: str = ""
    """The name it was given under, if not its own."""


def validate(
    model: type[ModelT],
    values: Mapping[str, Any],
    what: str,
    where: Path | str,
    origins: Mapping[KeyPath, Setting] | None = None,
) -> ModelT:
    """Type-check `values`; all complaints come in one error, each with its place.

    Args:
        model: What they must fit.
        values: As they were given.
        what: What they are settings of, for people: a family.
        where: File, or function.
        origins: The line or flag of each key, where there are some.

    Raises:
        JobError: They do not fit.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise refusal(error, model, what, where, origins or {}) from None


def refusal(
    error: ValidationError,
    model: type[BaseModel],
    what: str,
    where: Path | str,
    origins: Mapping[KeyPath, Setting],
) -> JobError:
    """What pydantic found, for people; see `validate`."""
    first, *rest = [_explain(item, model, what, where, origins) for item in error.errors()]
    if rest:
        more = "\n".join(f"  Also {line}" for line in (str(problem) for problem in rest))
        first.hint = f"{first.hint}\n{more}" if first.hint else more.strip()
    return first


def refused_flags(error: ValidationError) -> JobError:
    """What pydantic found in settings that were typed as flags, for people."""
    places = [tuple(item["loc"]) for item in error.errors()]
    origins = {
        place: Setting(None, "flag", f"--{'-'.join(map(str, place)).replace('_', '-')}")
        for place in places
    }
    return refusal(error, BaseModel, "", "", origins)


def setting_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings below `model`: `data.path`, `train.epochs`, ..."""
    for name, info in model.model_fields.items():
        section = section_of(info.annotation)
        if section:
            each = "NAME." if _by_name(info.annotation) else ""
            yield from setting_names(section, f"{prefix}{name}.{each}")
        else:
            yield f"{prefix}{name}"


def did_you_mean(loc: KeyPath, model: type[BaseModel]) -> str:
    """What was probably meant by a name that is no setting of `model`, for people.

    Args:
        loc: Where it stands: `("train", "num_train_epochs")`.
        model: Of the job, or of whatever the settings are of.
    """
    names = list(setting_names(model))
    name, leaf = ".".join(map(str, loc)), str(loc[-1])
    if meant := _called_elsewhere(loc, model, names):
        return f"Did you mean {meant}?"
    section = section_at(model, loc[:-1])
    here = list(section.model_fields) if section else []
    if near := get_close_matches(leaf, here, n=1, cutoff=0.6):
        return f"Did you mean {near[0]}?"
    elsewhere = [known for known in names if known.rpartition(".")[2] == leaf]
    elsewhere = elsewhere or get_close_matches(name, names, n=1, cutoff=0.7)
    if elsewhere:
        return f"Did you mean {elsewhere[0]}?"
    return f"Settings here: {', '.join(here) or 'none'}."


def _called_elsewhere(loc: KeyPath, model: type[BaseModel], names: list[str]) -> str | None:
    """The setting another program calls so: by its last name if it would stand at `loc`."""
    for place in dict.fromkeys([tuple(loc[:-1]), *(tuple(n.split(".")[:-1]) for n in names)]):
        section = section_at(model, place)
        meant = section.elsewhere.get(str(loc[-1])) if section else None
        if section and meant and meant.partition(":")[0] in section.model_fields:
            return meant if place == tuple(loc[:-1]) else ".".join((*map(str, place), meant))
    return None


def section_at(model: type[BaseModel], place: KeyPath) -> type[Section] | None:
    """The section of `model` at a place such as `("train",)`."""
    found: type[BaseModel] | None = model
    named = False
    for part in place:
        if named:  # what people chose as a name
            named = False
            continue
        info = found.model_fields.get(str(part)) if found else None
        found = section_of(info.annotation) if info else None
        named = info is not None and _by_name(info.annotation)
    return found if found and issubclass(found, Section) else None


def keys_of(model: type[BaseModel], key: KeyPath) -> Iterator[KeyPath]:
    """A key, and those of the other names of the same setting."""
    section = section_at(model, key[:-1]) if key else None
    for name in section.names_of(str(key[-1])) if section else ():
        yield (*key[:-1], name)


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The model among the types a setting may have: the setting is a section then."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _by_name(annotation: Any) -> bool:
    """Whether a setting holds sections under names of people's choice."""
    return get_origin(annotation) is dict


def _explain(
    item: Any,
    model: type[BaseModel],
    what: str,
    where: Path | str,
    origins: Mapping[KeyPath, Setting],
) -> JobError:
    loc: KeyPath = tuple(item["loc"])
    if item["type"] == "said_twice":
        loc = (*loc, item["ctx"]["written"])
    else:
        loc = next((key for key in keys_of(model, loc) if key in origins), loc)
    name = ".".join(map(str, loc))
    origin = next((origins[loc[:n]] for n in range(len(loc), -1, -1) if loc[:n] in origins), None)
    if origin is not None:
        line = origin.where.rpartition(":")[2]
        where = origin.where if origin.origin == "flag" else f"{where}:{line}"
    if item["type"] == "extra_forbidden":
        return JobError(
            f"{name} is not a setting of {what}.", where=where, hint=did_you_mean(loc, model)
        )
    if item["type"] == "said_twice":
        own = ".".join(map(str, (*loc[:-1], item["ctx"]["setting"])))
        return JobError(
            f"{name} is another name of {own}, which is given too.",
            where=where,
            hint=f"Keep {own} alone.",
        )
    if item["type"] == "missing":
        return JobError(f"{name} must be given.", where=where, hint=f"Add `{loc[-1]}:` there.")
    if item["type"] == "list_type":
        return JobError(
            f"{name} is a list.", where=where, hint=f"Write {loc[-1]}: [{_short(item['input'])}]"
        )
    if item["type"] in ("model_type", "dict_type") and (section := section_at(model, loc)):
        return JobError(
            f"{name or what} has settings of its own.",
            where=where,
            hint=f"Below it, indented: {', '.join(section.model_fields)}.",
        )
    reason = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if isinstance(item["input"], dict | BaseModel):  # what is wrong is how its parts go together
        return JobError(f"{name}: {reason}." if name else f"{reason}.", where=where)
    given = _short(repr(item["input"]))
    return JobError(f"{name} is {given}, but {reason}.", where=where)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
