"""Variables of the processes that tests start."""

from __future__ import annotations

import os


def environment(**changes: str) -> dict[str, str]:
    """The environment of a test process: one thread, no network, no colour asked for."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    return kept | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | changes
