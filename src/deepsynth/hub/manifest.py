"""The manifest of a dataset, in a strict type: a folder or a repository may be anybody's."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from deepsynth.errors import DataError
from deepsynth.run.records import Count, FileEntry

NAME = "manifest.json"


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or parts[0] == "/" or ".." in parts or "\\" in path or "\0" in path:
        raise ValueError("it lies outside the dataset")
    return path


class _File(FileEntry):
    path: Annotated[str, AfterValidator(_inside)]
    rows: Count | None = None
    split: str | None = None


class _Manifest(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    files: list[_File]
    splits: dict[str, Any] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)


def checked(told: Any, where: Path | str) -> dict[str, Any]:
    """What a manifest tells, if it is one.

    Raises:
        DataError: It is none, or names a file outside of its dataset.
    """
    try:
        _Manifest.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "it"
        said = first["msg"].removeprefix("Value error, ")
        raise DataError(
            f"{place} is not what a manifest says there: {said}.",
            where=where,
            hint="It was damaged or changed by hand: generate the dataset again.",
        ) from None
    return told
