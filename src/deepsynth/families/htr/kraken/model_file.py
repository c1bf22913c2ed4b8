"""What a Kraken model file says of itself, read without Kraken.

Two formats: CoreML `.mlmodel` (every version of Kraken reads it) and `.safetensors` (from 7 on).
Only the metadata is read: what the network is for, its layers, and the characters it can write.
"""

from __future__ import annotations

import json
import re
import struct
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
)

from deepsynth.errors import ModelError

Task = Literal["recognition", "segmentation"]

_TASKS: dict[str, Task] = {"recognition": "recognition", "segmentation": "segmentation"}
_MAX_HEADER = 64 * 2**20
_OBJECT = TypeAdapter(dict[str, Any])
_INPUT = re.compile(r"[\[ ]*\d{1,6},(\d{1,6}),(\d{1,6}),(\d{1,6})[ \]]")
# numbers of the fields on the way to the metadata in a CoreML file (Model.proto of coremltools)
_DESCRIPTION, _METADATA, _USER_DEFINED = 2, 100, 100


class _Tensor(BaseModel):
    """Where a tensor of a safetensors file lies."""

    data_offsets: tuple[int, int]


class _Metadata(BaseModel):
    """What Kraken keeps of a model; a file comes from anywhere, so types are not taken on trust."""

    vgsl: str = ""
    codec: dict[str, Any] | None = None
    accuracy: list[tuple[int, float]] | None = None
    class_mapping: dict[str, dict[str, Any]] | None = None
    kinds: str | list[str] | None = Field(
        None, validation_alias=AliasChoices("_tasks", "model_type")
    )

    @field_validator("codec", mode="before")
    @classmethod
    def _from_text(cls, codec: Any) -> Any:
        return json.loads(codec) if isinstance(codec, str) else codec


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A Kraken model file.

    Attributes:
        path: The file.
        format: `coreml` or `safetensors`.
        task: What the network is for.
        spec: Its layers in VGSL, for example `[1,120,0,1 Cr3,13,32 ...]`.
        input_shape: Height, width and channels the network reads; 0 means any.
        characters: Characters it can write; empty for segmentation.
        accuracy: Its last score on validation data, if it was kept.
        line_types: Types of lines it finds; empty for recognition.
    """

    path: Path
    format: Literal["coreml", "safetensors"]
    task: Task
    spec: str
    input_shape: tuple[int, int, int]
    characters: frozenset[str]
    accuracy: float | None
    line_types: frozenset[str] = frozenset()

    @property
    def normal_form(self) -> Literal["NFC", "NFD"]:
        """The Unicode normal form its characters are in."""
        combining = any(unicodedata.combining(c) for c in self.characters)
        composed = any(not unicodedata.is_normalized("NFD", c) for c in self.characters)
        return "NFD" if combining and not composed else "NFC"


def read_model(path: Path, task: Task | None = None) -> ModelFile:
    """Read the metadata of a model file.

    Args:
        path: `.mlmodel` or `.safetensors`.
        task: What the model has to be for; any when None.

    Raises:
        ModelError: No such file, no Kraken model, or a model for another task.
    """
    if not path.is_file():
        raise ModelError(
            "there is no such model file",
            where=path,
            hint="Name a .mlmodel or .safetensors file; `kraken get DOI` downloads published ones.",
        )
    try:
        with path.open("rb") as stream:
            start = stream.read(16)
        if path.suffix == ".safetensors" or start[8:9] == b"{":
            model = _read_safetensors(path, task)
        else:
            model = _read_coreml(path)
    except (ValueError, KeyError, IndexError, RecursionError, struct.error, OSError) as error:
        told = isinstance(error, ValidationError | RecursionError)
        why = "what it says of itself is not what Kraken writes" if told else error
        raise ModelError(
            f"this is not a Kraken model: {why}",
            where=path,
            hint="Kraken models end in .mlmodel or .safetensors; a download may be cut short.",
        ) from None
    if task and model.task != task:
        raise ModelError(
            f"this model is for {model.task}, the job is for {task}",
            where=path,
            hint=f"Name a {task} model, or set `task: {model.task}`.",
        )
    return model


def _read_safetensors(path: Path, task: Task | None) -> ModelFile:
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > _MAX_HEADER:
            raise ValueError("its header is too long")
        header = _OBJECT.validate_json(stream.read(length))
    kept = _OBJECT.validate_python(header.pop("__metadata__", {}))
    tensors = [_Tensor.model_validate(entry) for entry in header.values()]
    end = 8 + length + max((tensor.data_offsets[1] for tensor in tensors), default=0)
    if path.stat().st_size < end:
        raise ValueError(f"it is cut short, {path.stat().st_size} of {end} bytes")
    models = _OBJECT.validate_json(kept.get("kraken_meta", "{}"))
    if not models:
        raise ValueError("it has no Kraken metadata")
    found = [_Metadata.model_validate(model) for model in models.values()]
    fitting = [model for model in found if task and task in (model.kinds or [])] or found
    return _model(path, "safetensors", fitting[0])


def _read_coreml(path: Path) -> ModelFile:
    data = path.read_bytes()
    description = next((v for n, v in _fields(data) if n == _DESCRIPTION), b"")
    metadata = next((v for n, v in _fields(description) if n == _METADATA), b"")
    values: dict[str, str] = {}
    for number, entry in _fields(metadata):
        if number == _USER_DEFINED:
            pair = dict(_fields(entry))
            values[pair[1].decode()] = pair[2].decode()
    if "kraken_meta" not in values and "vgsl" not in values:
        raise ValueError("it has no Kraken metadata")
    kept = _OBJECT.validate_json(values.get("kraken_meta", "{}"))
    kept.setdefault("vgsl", values.get("vgsl", ""))
    if "codec" in values:
        kept["codec"] = values["codec"]
    return _model(path, "coreml", _Metadata.model_validate(kept))


def _model(path: Path, form: Literal["coreml", "safetensors"], kept: _Metadata) -> ModelFile:
    kinds = kept.kinds or ("recognition" if kept.codec else "segmentation")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    task: Task | None = next((_TASKS[kind] for kind in kinds if kind in _TASKS), None)
    if task is None:
        raise ValueError(f"it is a model for {', '.join(kinds) or 'nothing known'}")
    accuracy = kept.accuracy[-1][1] if kept.accuracy else None
    characters = frozenset("".join(kept.codec or {}))
    lines = frozenset((kept.class_mapping or {}).get("baselines", {}))
    shape = _input_shape(kept.vgsl)
    return ModelFile(path, form, task, kept.vgsl, shape, characters, accuracy, lines)


def _input_shape(spec: str) -> tuple[int, int, int]:
    found = _INPUT.match(spec)
    if not found:
        raise ValueError("it does not say what its network reads")
    height, width, channels = (int(number) for number in found.groups())
    if height == 1 and channels > 3:  # height written in the place of the channels
        height, channels = channels, 1
    return height, width, channels


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Numbers and contents of the length-delimited fields of a protobuf message."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire = key >> 3, key & 7
        if wire == 0:
            _, position = _varint(message, position)
        elif wire == 1:
            position += 8
        elif wire == 5:
            position += 4
        elif wire == 2:
            length, position = _varint(message, position)
            if position + length > len(message):
                raise ValueError("it is cut short")
            yield number, message[position : position + length]
            position += length
        else:
            raise ValueError("it is no CoreML file")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("it is no CoreML file")
