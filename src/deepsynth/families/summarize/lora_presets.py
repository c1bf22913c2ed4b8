"""LoRA presets: which parts of the language model get low-rank updates, and how large.

The names and the ranks are those of the DeepSynth LoRA guide. Its short target names (`q_proj`,
`gate`, ...) cannot be used as they are: on DeepSeek-OCR-2 they also match the vision tower
(2.16 M of the 4.13 M parameters of `standard` would land there), `gate` also matches `gate_proj`,
and router and routed experts are no modules but parameters. Here a preset says *what* it adapts,
and `summarize/lora.py` finds it in the model at hand. What each one comes to, counted on the real
architecture, is in `docs/reference/lora-presets.md`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any, Literal

from deepsynth.errors import JobError

Router = Literal["frozen", "lora", "full"]

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class LoraPreset:
    """What is adapted, and with which rank.

    Attributes:
        name: As in a job's `train.preset`.
        rank: LoRA rank r of the linear layers (and of the router with `router="lora"`).
        alpha: Scale; an update counts alpha / rank.
        dropout: LoRA dropout of the linear layers. PEFT refuses dropout on parameters, so router
            and routed experts have none.
        targets: Linear layers of the language model: attention, dense MLP, shared experts.
        router: `frozen`, `lora`, or `full` (the router is trained whole and saved with the
            adapter).
        expert_rank: Rank on the routed experts; 0 leaves them frozen.
        quantize: `nf4` keeps the frozen linear layers in 4 bits (GPU and bitsandbytes only).
        suits: For whom it is.
        guide_estimate: Trainable parameters the guide expects, in millions.
        note: Where it had to differ from the guide, and why.
    """

    name: str
    rank: int
    alpha: int
    dropout: float
    targets: tuple[str, ...] = ATTENTION
    router: Router = "frozen"
    expert_rank: int = 0
    quantize: Literal["none", "nf4"] = "none"
    suits: str = ""
    guide_estimate: str = ""
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The preset as plain data, for `deepsynth presets --json` and the web page."""
        return asdict(self)


_NO_PARAMETER_DROPOUT = "PEFT refuses dropout on parameters: {} trained without."

LORA_PRESETS: dict[str, LoraPreset] = {
    preset.name: preset
    for preset in (
        LoraPreset(
            "tiny_data",
            rank=16,
            alpha=32,
            dropout=0.1,
            targets=(*ATTENTION, "down_proj"),
            suits="3 to 9 samples: attention and part of the MLP, high dropout",
            guide_estimate="4",
        ),
        LoraPreset(
            "balanced",
            rank=32,
            alpha=64,
            dropout=0.08,
            targets=(*ATTENTION, *MLP),
            suits="10 to 49 samples: attention and the whole MLP",
            guide_estimate="6-8",
        ),
        LoraPreset(
            "router_focused",
            rank=16,
            alpha=32,
            dropout=0.08,
            targets=(*ATTENTION, "down_proj"),
            router="full",
            suits="documents far from what the model was trained on: the router learns anew",
            guide_estimate="10-15",
            note="The guide asks for LoRA on the router and for its full training at once; "
            "only full training is done, since the second contains the first.",
        ),
        LoraPreset(
            "high_capacity_moe",
            rank=64,
            alpha=128,
            dropout=0.05,
            targets=(*ATTENTION, *MLP),
            router="lora",
            expert_rank=4,
            suits="50 samples and more: attention, MLP, router and routed experts",
            guide_estimate="20-30",
            note=_NO_PARAMETER_DROPOUT.format("router and routed experts are")
            + " Routed experts take rank 4: at rank 64 they alone would be 236 M.",
        ),
        LoraPreset(
            "standard",
            rank=16,
            alpha=32,
            dropout=0.05,
            suits="the guide's default: attention alone",
            guide_estimate="1.97",
        ),
        LoraPreset(
            "qlora_4bit",
            rank=16,
            alpha=32,
            dropout=0.05,
            quantize="nf4",
            suits="as standard, on a GPU short of memory",
            guide_estimate="1.97",
            note="Routed experts, 71 % of the parameters, are fused tensors that bitsandbytes "
            "leaves as they are: 4 bits save about 0.27 GB of 6.8, by computation.",
        ),
    )
}
"""The presets by name."""


def get_lora_preset(name: str) -> LoraPreset:
    """The preset called `name`.

    Raises:
        JobError: There is no such preset; says which was probably meant.
    """
    if name in LORA_PRESETS:
        return LORA_PRESETS[name]
    near = get_close_matches(name, LORA_PRESETS, n=1)
    raise JobError(
        f"there is no LoRA preset {name!r}.",
        where="train.preset",
        hint=f"Did you mean {near[0]}?" if near else f"One of: {', '.join(LORA_PRESETS)}.",
    )
