"""Going on from an adapter that was trained before: with its own settings, or not at all."""

from __future__ import annotations

from pathlib import Path

from deepsynth import durable
from deepsynth.errors import JobError
from deepsynth.families.summarize.job import LoraSettings, TrainerConfig
from deepsynth.families.summarize.lora_presets import get_lora_preset

_FREE = ("dropout", "vision")
"""What may be another one than in the earlier training: it is no part of the adapter."""


def adapter_of(model: str) -> Path | None:
    """The adapter in the folder of an earlier run, or in a folder that is one."""
    folder = Path(model)
    for place in (folder / "model" / "adapter", folder / "adapter", folder / "model", folder):
        if (place / "adapter_config.json").is_file():
            return place
    return None


def continued(config: TrainerConfig, adapter: Path) -> TrainerConfig:
    """The settings with those of the adapter where the job leaves them open.

    Args:
        config: Of the training to come, which keeps the adapter.
        adapter: Its folder.

    Raises:
        JobError: The job asks for an adapter of another kind.
    """
    preset, known = _known(adapter)
    asked = config.lora
    if config.preset != "auto":
        asked = asked.filled(get_lora_preset(config.preset))
    for name in type(known).model_fields:
        wanted, has = getattr(asked, name), getattr(known, name)
        if name not in _FREE and None not in (wanted, has) and wanted != has:
            given = getattr(config.lora, name) is not None
            raise JobError(
                f"the adapter that training goes on from has {name} {has}, not {wanted}.",
                where=f"lora.{name}" if given else "train.preset",
                hint="Leave train.preset and lora out to go on with it as it is; merge it first "
                "with train.preset: none; or name its base model to begin a new one.",
            )
    lora = known.model_copy(
        update={name: value for name in _FREE if (value := getattr(config.lora, name)) is not None}
    )
    return config.model_copy(update={"preset": preset, "lora": lora})


def _known(adapter: Path) -> tuple[str, LoraSettings]:
    """Preset and settings of an adapter, as far as it says them."""
    trained = durable.read_json(adapter / "training_config.json") or {}
    if trained.get("lora"):
        return trained.get("preset", "auto"), LoraSettings.model_validate(trained["lora"])
    written = durable.read_json(adapter / "adapter_config.json") or {}
    known = {"rank": written.get("r"), "alpha": written.get("lora_alpha")}
    return "auto", LoraSettings.model_validate(known)
