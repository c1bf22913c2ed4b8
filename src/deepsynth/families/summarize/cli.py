"""The command lines of `summarize`: presets with reasons, and the job that flags amount to."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from deepsynth.duration import duration
from deepsynth.errors import RequestError
from deepsynth.printing import say

if TYPE_CHECKING:
    from deepsynth.families.summarize.probe import Speed


def presets(
    *,
    samples: Annotated[int | None, Parameter(help="Training samples; recommends for them.")] = None,
    model: Annotated[
        str | None,
        Parameter(help="Load this model and time a few batches here, to say how long it takes."),
    ] = None,
    as_json: Annotated[bool, Parameter(name="--json", help="Print as JSON.", negative=())] = False,
) -> int:
    """Show the LoRA presets, or what is recommended for a number of samples, with the reasons.

    For example:

    ```
    deepsynth presets
    deepsynth presets --samples 12
    deepsynth presets --samples 12 --model scratch:deepseek-ocr-2-tiny
    ```
    """
    from deepsynth.training import LORA_PRESETS, recommended

    if samples is None:
        if model is not None:
            raise RequestError("how many samples?", where="--model", hint="Add --samples 12.")
        shown: Any = [preset.as_dict() for preset in LORA_PRESETS.values()]
    elif samples < 1:
        raise RequestError(f"{samples} samples are none.", where="--samples")
    else:
        shown = recommended(samples, model, None if model is None else _timed(model, samples))
    if as_json:
        say(json.dumps(shown, ensure_ascii=False, indent=2))
    elif samples is None:
        _print_presets(shown)
    else:
        _print_recommended(shown)
    return 0


def _timed(model: str, samples: int) -> Speed:
    from deepsynth.families.summarize.probe import measure_speed

    say(f"Trying {model} on a few pages ...", file=sys.stderr, flush=True)
    return measure_speed(model, samples)


def _print_presets(shown: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from deepsynth.terminal.console import Console

    table = Table("preset", "rank / alpha", "dropout", "router", "expert rank", "suits", box=None)
    for preset in shown:
        table.add_row(
            preset["name"],
            f"{preset['rank']} / {preset['alpha']}",
            f"{preset['dropout']:g}",
            preset["router"],
            str(preset["expert_rank"]),
            preset["suits"],
        )
    Console().print(table)


def _print_recommended(shown: dict[str, Any]) -> None:
    from deepsynth.terminal.console import Console

    console = Console()
    console.print(f"{shown['samples']} samples: preset {shown['preset']}")
    for entry in shown["settings"]:
        value = entry["value"]
        value = ", ".join(value) if isinstance(value, list) else value
        console.print(f"  {entry['key']}: {value}", soft_wrap=True)
        console.print(f"      {entry['why']}", style="dim", soft_wrap=True)
    console.print(f"{shown['updates']} updates, {shown['per_epoch']} an epoch")
    if shown["minutes"] is not None:
        took = duration(60 * shown["minutes"])
        console.print(f"about {took} of training on this machine, measured on a few batches")
