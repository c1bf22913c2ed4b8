"""Flags of `deepsynth train` that name datasets of pages, so that no job file need be written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import yaml
from cyclopts import Parameter

from deepsynth.errors import RequestError
from deepsynth.families.family import JobFlags

_LIST: Any = {"consume_multiple": True, "negative": ()}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DatasetFlags(JobFlags):
    """The data of a job of summarize."""

    hint: ClassVar[str] = "datasets: --datasets mlsum_fr mlsum_es"

    datasets: Annotated[
        list[str] | None,
        Parameter(
            help="Without a job: datasets of pages by name (mlsum_fr), made here or on the Hub; "
            "all; USER/NAME[@revision]; or one folder.",
            **_LIST,
        ),
    ] = None
    weights: Annotated[
        list[float] | None,
        Parameter(help="Share of each dataset; by default all rows of all.", **_LIST),
    ] = None
    hf_dataset_prefix: Annotated[
        str | None, Parameter(help="Whose datasets on the Hub; by default your own.")
    ] = None
    max_train_samples: Annotated[
        int | None, Parameter(help="Train on at most so many of their samples.")
    ] = None
    max_val_samples: Annotated[
        int | None, Parameter(help="Validate on at most so many of their samples.")
    ] = None

    def overrides(self) -> list[str]:
        """All but the datasets themselves, as settings of a job."""
        names = ("weights", "hf_dataset_prefix", "max_train_samples", "max_val_samples")
        given = {name: getattr(self, name) for name in names}
        return [f"data.{name}={value}" for name, value in given.items() if value is not None]

    def write_job(self, folder: Path, words: Sequence[str]) -> tuple[Path, list[str]] | None:
        """The job of the datasets; its folder, and so the run, is called after them."""
        if not self.datasets:
            return None
        # An override after the names is taken for one of them.
        overrides = [word for word in [*words, *self.datasets] if "=" in word]
        if jobs := [word for word in words if "=" not in word]:
            raise RequestError(
                "a job has its own data.", where=jobs[0], hint="Give a job or --datasets, not both."
            )
        names = [name for name in self.datasets if "=" not in name]
        short = (re.sub(r"[^\w.-]", "-", name.rstrip("/").split("/")[-1]) for name in names)
        place = folder / ("-".join(short)[:60].strip("-.") or "datasets")
        place.mkdir()
        job = place / "job.yaml"
        text = yaml.safe_dump({"family": "summarize", "data": _data(names)}, sort_keys=False)
        job.write_text(text, encoding="utf-8")
        return job, overrides


def _data(names: list[str]) -> dict[str, Any]:
    folders = [name for name in names if Path(name).is_dir() and "/" in name]
    if folders and len(names) > 1:
        raise RequestError(
            "a folder can only be the one dataset.",
            where=folders[0],
            hint="Give datasets by name, or one folder.",
        )
    return {"path": str(Path(folders[0]).resolve())} if folders else {"datasets": names}
