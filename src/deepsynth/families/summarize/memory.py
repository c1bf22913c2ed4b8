"""What a training will take of the device's memory, before it takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_BYTES = {"bf16": 2, "fp16": 2, "no": 4}
_TARGET_TOKENS = 128
"""Summary length assumed when none is known."""


@dataclass(frozen=True)
class Memory:
    """Estimated peak by what it holds, in bytes.

    Attributes:
        weights: The model.
        training: Gradients and AdamW's two moments of what trains, in 32 bits.
        activations: Kept for the backward pass, for the batch.
        logits: Scores over the vocabulary and their gradient.
        batch_size: Samples at once.
    """

    weights: int
    training: int
    activations: int
    logits: int
    batch_size: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.training + self.activations + self.logits

    def exceeds_device(self) -> bool:
        """Whether it is more than 90 % of the first GPU; False without one."""
        import torch

        if not torch.cuda.is_available():
            return False
        return self.total > 0.9 * torch.cuda.get_device_properties(0).total_memory

    def __str__(self) -> str:
        return (
            f"about {readable_size(self.total)} at batch size {self.batch_size} (weights "
            f"{readable_size(self.weights)}, optimiser {readable_size(self.training)}, activations "
            f"{readable_size(self.activations)}, logits {readable_size(self.logits)})"
        )


def readable_size(count: int) -> str:
    """Bytes for people: 6.8 GB, 21 MB (powers of ten)."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.3g} MB"


def memory_estimate(
    model: Any,
    config: Any,
    prompt_tokens: int,
    precision: str,
    batch_size: int | None = None,
    target_tokens: int = _TARGET_TOKENS,
) -> Memory:
    """Estimate the peak of a training step.

    Activations are counted from the architecture: what each decoder layer keeps for the backward
    pass (inputs of norms, projections and products), without activation checkpointing. It is an
    estimate to choose a batch size by, not a promise.

    Args:
        model: With what trains marked by `requires_grad`; may be on the meta device.
        config: Filled `TrainerConfig`.
        prompt_tokens: Tokens of one prompt.
        precision: `bf16`, `fp16` or `no`.
        batch_size: Instead of the configured one.
        target_tokens: Tokens of a summary.
    """
    batch = batch_size or config.batch_size or 1
    width = _BYTES[precision]
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    text = model.config.get_text_config()
    tokens = batch * (prompt_tokens + target_tokens)
    activations = tokens * width * sum(_kept_per_token(text, layer) for layer in _layers(text))
    scored = batch * (target_tokens if config.target_only_logits else prompt_tokens + target_tokens)
    # Scores in the compute precision, their 32-bit copy, its softmax and gradient.
    logits = scored * text.vocab_size * (width + 12)
    return Memory(weights, trained * 12, activations, logits, batch)


def _layers(text: Any) -> list[str]:
    kinds = getattr(text, "mlp_layer_types", None)
    return list(kinds) if kinds else ["dense"] * text.num_hidden_layers


def _kept_per_token(text: Any, kind: str) -> int:
    """Values a decoder layer keeps for each token."""
    hidden = text.hidden_size
    attention = 8 * hidden  # two norms' inputs and outputs, q, k, v, attention output
    if kind == "dense":
        return attention + 4 * text.intermediate_size
    inner = text.moe_intermediate_size
    shared = getattr(text, "n_shared_experts", 0) or 0
    chosen = text.num_experts_per_tok
    return attention + 4 * inner * (shared + chosen) + 2 * hidden * chosen
