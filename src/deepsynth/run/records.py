"""What a run folder tells of itself, in strict types: it may be cut short, or somebody else's.

A line or a file that is not what we write is as good as absent. Nothing is lost by that: steps
without a receipt that can be read are done again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

State = Literal["pending", "running", "done", "failed", "stopped", "interrupted"]
_Time = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]
_Seconds = Annotated[float, Field(ge=-1e11, le=1e11, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=10**15)]
_Number = Annotated[float, Field(allow_inf_nan=False)] | int | None
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Told(BaseModel):
    """More may be told than is named here, by later versions."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class _Error(_Told):
    what: str
    where: str | None = None
    hint: str | None = None


class _Event(_Told):
    time: _Time
    kind: str
    step: str = ""


class _Progress(_Event):
    done: Count
    total: Count
    unit: str
    note: str


class _Done(_Event):
    seconds: _Seconds = 0.0


class _Failed(_Event):
    error: _Error | None = None


class _Resumed(_Event):
    update: Count


class _Note(_Event):
    text: str


class _Redone(_Event):
    why: str


class _Begun(_Event):
    runner: str


class _Found(_Event):
    finding: dict[str, Any]


_EVENTS: dict[str, type[_Event]] = {
    "progress": _Progress,
    "step_done": _Done,
    "step_failed": _Failed,
    "run_failed": _Failed,
    "resumed": _Resumed,
    "note": _Note,
    "step_redone": _Redone,
    "run_started": _Begun,
    "finding": _Found,
}


class FileEntry(_Told):
    """Size and digest of a file."""

    bytes: Count
    sha256: Sha256


class _Receipt(_Told):
    key: str
    started: _Time = 0.0
    seconds: _Seconds = 0.0
    outputs: dict[str, dict[str, FileEntry]] = Field(default_factory=dict)


class _Owner(_Told):
    pid: Annotated[int, Field(gt=0, le=2**31)]
    host: str


class _Point(BaseModel):
    """A point of the curve: a step, an update, and numbers or nothing under other names."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, _Number] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]

    time: _Time
    step: str
    update: Count


_ELSEWHERE = TypeAdapter(dict[str, State])


def events(told: Iterable[Any]) -> list[dict[str, Any]]:
    """Those that are events."""
    return [event for event in told if _fits(_EVENTS.get(_kind(event), _Event), event)]


def points(told: Iterable[Any]) -> list[dict[str, Any]]:
    """Those that are points of a curve."""
    return [point for point in told if _fits(_Point, point)]


def receipt(told: Any) -> dict[str, Any] | None:
    """The receipt, if it is one; what an earlier version did not tell has its default."""
    return _Receipt.model_validate(told).model_dump() if _fits(_Receipt, told) else None


def owner(told: Any) -> dict[str, Any] | None:
    """Process and host, if that is what is told."""
    return told if _fits(_Owner, told) else None


def elsewhere(told: Any) -> Mapping[str, State]:
    """The states of steps at another place, as far as they are told."""
    try:
        return _ELSEWHERE.validate_python(told or {})
    except ValidationError:
        return {}


def _kind(event: Any) -> str:
    kind = event.get("kind") if isinstance(event, dict) else None
    return kind if isinstance(kind, str) else ""


def _fits(model: type[BaseModel], told: Any) -> bool:
    try:
        model.model_validate(told)
    except ValidationError:
        return False
    return isinstance(told, dict)
