"""Recommended settings by the size of the data, each with its reason, kept as data.

A family's `presets.yaml` is a list; the first entry whose `when` fits is taken:

```yaml
- when: {scratch: true, below: 5000}
  why: fresh weights must see a small set many times
  set: {train.epochs: 40, train.batch_size: 16}
```
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from deepsynth.job.job import Recommendation


def recommend(presets: Path, samples: int, **facts: Any) -> list[Recommendation]:
    """The values proposed for this many training samples.

    Args:
        presets: A family's `presets.yaml`.
        samples: Training samples, about; `below` of an entry is compared with it.
        **facts: Anything else an entry's `when` may name, such as `scratch=True`.

    Raises:
        ValueError: No entry fits; the last entry of a file should have no `below`.
    """
    for entry in _read(presets):
        conditions = dict(entry["when"])
        below = conditions.pop("below", float("inf"))
        if samples < below and all(facts[key] == value for key, value in conditions.items()):
            why = f"about {samples} training samples: {entry['why']}"
            return [Recommendation(key, value, why) for key, value in entry["set"].items()]
    raise ValueError(f"{presets} has no entry for {samples} samples and {facts}")


@cache
def _read(presets: Path) -> list[dict[str, Any]]:
    return yaml.safe_load(presets.read_text(encoding="utf-8"))
