"""How fast this machine trains a model, tried with the model itself on a few made-up pages."""

from __future__ import annotations

import io
import tempfile
import time
from pathlib import Path
from typing import Any

from deepsynth.families.summarize.job import TrainerConfig
from deepsynth.families.summarize.model import autocast
from deepsynth.families.summarize.recommend import Speed, filled
from deepsynth.families.summarize.samples import PageSamples
from deepsynth.families.summarize.session import open_session

_SIDE = 1024
_SUMMARY = (
    "In the spring the ferry carries grain, letters and a few travellers across the river. " * 3
)
_STEPS = 3


def measure_speed(model: str, samples: int) -> Speed:
    """Load a model with the settings recommended for `samples`, and time a few batches.

    Args:
        model: Hub name, folder, earlier run, or `scratch:...`.
        samples: Training samples of the data there will be.

    Raises:
        DeepSynthError: The model cannot be loaded or trained here.
    """
    import torch
    from transformers.utils.logging import disable_progress_bar

    from deepsynth.families.summarize.batches import batch_loss

    disable_progress_bar()
    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    with tempfile.TemporaryDirectory(prefix="deepsynth-probe-") as folder:
        asked = {"model_name": model, "cache_dir": f"{folder}/cache"}
        config = filled(TrainerConfig.model_validate(asked), samples)
        batch_size = config.batch_size or 1
        # On a GPU eight pages are encoded at once, and the first time of anything is slow.
        rows = PageSamples(_rows(max(batch_size, 16 if cuda else 2)), "probe")
        marks: list[float] = []
        session = open_session(
            config,
            rows,
            Path(folder) / "base",
            say=lambda line: marks.append(time.perf_counter()) if "to encode" in line else None,
            progress=lambda done, total: marks.append(time.perf_counter()),
        )
        encode = (marks[-1] - marks[0]) / len(rows) if marks else 0.0
        session.model.to(device).train()
        batch = session.collator([rows[index] for index in range(batch_size)])
        batch = {name: value.to(device) for name, value in batch.items()}
        seconds: list[float] = []
        for _ in range(_STEPS):
            started = time.perf_counter()
            with autocast(session.precision):
                loss = batch_loss(session.model, batch, session.processor)
            loss.backward()
            if cuda:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
    return Speed(encode, sum(seconds[1:]) / len(seconds[1:]) / batch_size, device)


def _rows(count: int) -> list[dict[str, Any]]:
    from PIL import Image, ImageDraw

    made: list[dict[str, Any]] = []
    for number in range(count):
        page = Image.new("L", (_SIDE, _SIDE), "white")
        ImageDraw.Draw(page).text((32, 32), f"{number}: {_SUMMARY}", fill="black")
        stream = io.BytesIO()
        page.save(stream, format="PNG")
        made.append({"images": [stream.getvalue()], "summary": _SUMMARY})
    return made
