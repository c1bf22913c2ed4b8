"""What a Kraken model file says of itself, read without Kraken.

Two formats: CoreML `.mlmodel` (every version of Kraken reads it) and `.safetensors` (from 7 on).
Only the metadata is read: what the network is for, its layers, and the characters it can write.
"""

from __future__ import annotations

import json
import struct
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deepsynth.errors import ModelError

Task = Literal["recognition", "segmentation"]

_TASKS: dict[str, Task] = {"recognition": "recognition", "segmentation": "segmentation"}
_MAX_HEADER = 64 * 2**20
# numbers of the fields on the way to the metadata in a CoreML file (Model.proto of coremltools)
_DESCRIPTION, _METADATA, _USER_DEFINED = 2, 100, 100


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A Kraken model file.

    Attributes:
        path: The file.
        format: `coreml` or `safetensors`.
        task: What the network is for.
        spec: Its layers in VGSL, for example `[1,120,0,1 Cr3,13,32 ...]`.
        characters: Characters it can write; empty for segmentation.
        metadata: Everything else Kraken keeps in the file.
    """

    path: Path
    format: Literal["coreml", "safetensors"]
    task: Task
    spec: str
    characters: frozenset[str]
    metadata: dict[str, Any]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels the network reads; 0 means any."""
        _, height, width, channels = (
            int(part) for part in self.spec.strip("[] ").split()[0].split(",")
        )
        if height == 1 and channels > 3:  # height written in the place of the channels
            height, channels = channels, 1
        return height, width, channels

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
    except (ValueError, KeyError, IndexError, struct.error, UnicodeDecodeError) as error:
        raise ModelError(
            f"this is not a Kraken model: {error}",
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
        header = json.loads(stream.read(length))
    end = (
        8
        + length
        + max(
            (entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"),
            default=0,
        )
    )
    if path.stat().st_size < end:
        raise ValueError(f"it is cut short, {path.stat().st_size} of {end} bytes")
    models = json.loads(header.get("__metadata__", {}).get("kraken_meta", "{}"))
    if not models:
        raise ValueError("it has no Kraken metadata")
    found = list(models.values())
    fitting = [model for model in found if task in model.get("_tasks", [])] or found
    return _model(path, "safetensors", fitting[0], fitting[0]["_tasks"])


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
    kept = json.loads(values.get("kraken_meta", "{}"))
    kept.setdefault("vgsl", values.get("vgsl", ""))
    if "codec" in values:
        kept["codec"] = json.loads(values["codec"])
    kinds = kept.get("model_type") or ("recognition" if kept.get("codec") else "segmentation")
    return _model(path, "coreml", kept, [kinds] if isinstance(kinds, str) else kinds)


def _model(
    path: Path, form: Literal["coreml", "safetensors"], kept: dict[str, Any], kinds: list[str]
) -> ModelFile:
    task: Task | None = next((_TASKS[kind] for kind in kinds if kind in _TASKS), None)
    if task is None:
        raise ValueError(f"it is a model for {', '.join(kinds) or 'nothing known'}")
    codec = kept.get("codec") or {}
    codec = json.loads(codec) if isinstance(codec, str) else codec
    rest = {k: v for k, v in kept.items() if k not in ("codec", "vgsl")}
    return ModelFile(path, form, task, kept["vgsl"], frozenset("".join(codec)), rest)


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
