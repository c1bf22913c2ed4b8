"""Regularising a mixture of experts while it is fine-tuned, and seeing which experts fire.

One forward hook on each router does both kinds of dropout; evaluation is untouched. The hook
recognises a router by what its forward returns, `(logits, weights, indices)`, so that neither
`gate_proj` nor any other "gate" is meant by accident.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from deepsynth.errors import JobError
from deepsynth.families.summarize.job import MoeSettings


def routers(model: Any) -> list[tuple[str, Any]]:
    """The routers of a model with their names: modules called `...TopkRouter` in transformers.

    Under `modules_to_save` a router exists twice; only the copy that computes is returned.
    """
    found = [
        (name, module)
        for name, module in model.named_modules()
        if type(module).__name__.endswith("TopkRouter")
    ]
    return [(name, module) for name, module in found if not name.endswith(".original_module")]


def regularise(model: Any, moe: MoeSettings) -> list[Any]:
    """Attach gate-gradient dropout and expert dropout.

    Gate-gradient dropout (`gate_dropout`): this share of the tokens sends no gradient to the
    router. Expert dropout (`expert_dropout`): each chosen expert of a token is left out with this
    probability, but never the strongest `min_keep`; the kept weights are scaled so that the total
    weight of a token stays. Random numbers come from torch's generator, which activation
    checkpointing replays and a checkpoint restores.

    Returns:
        The hooks' handles; call `.remove()` on each to end it.

    Raises:
        JobError: It is asked of a model without a router.
    """
    import torch

    gate_p, expert_p = moe.gate_dropout or 0.0, moe.expert_dropout or 0.0
    if not gate_p and not expert_p:
        return []
    found = routers(model)
    if not found:
        raise JobError(
            "this model is no mixture of experts.", where="moe", hint="Leave the section moe out."
        )

    def hook(module: Any, args: Any, output: Any) -> Any:
        if not module.training or not torch.is_grad_enabled():
            return None
        logits, weights, indices = output
        if expert_p:
            keep = torch.rand_like(weights) >= expert_p
            strongest = weights.topk(min(moe.min_keep, weights.shape[-1]), dim=-1).values
            keep |= weights >= strongest[..., -1:]
            kept = (weights * keep).sum(-1, keepdim=True).clamp_min(1e-9)
            weights = weights * keep * (weights.sum(-1, keepdim=True) / kept)
        if gate_p:
            blocked = torch.rand_like(weights[..., :1]) < gate_p
            weights = torch.where(blocked, weights.detach(), weights)
        return logits, weights, indices

    return [module.register_forward_hook(hook) for _, module in found]


@contextmanager
def collecting_router_logits(model: Any) -> Generator[list[Any]]:
    """While active, collect the logits of every router, in order, with their gradients.

    A hook rather than `output_router_logits`, which DeepSeek-OCR-2 has only since transformers
    5.23.
    """
    logits: list[Any] = []

    def hook(module: Any, args: Any, output: Any) -> None:
        logits.append(output[0])

    handles = [module.register_forward_hook(hook) for _, module in routers(model)]
    try:
        yield logits
    finally:
        for handle in handles:
            handle.remove()


def load_balancing_loss(model: Any, router_logits: list[Any], attention_mask: Any) -> Any:
    """The auxiliary loss of Switch Transformers (Fedus et al. 2021, eq. 4-6), as transformers has.

    DeepSeek-OCR-2's class in transformers has no such loss of its own.

    Args:
        model: Its configuration says how many experts there are and how many are chosen.
        router_logits: As `collecting_router_logits` collects them.
        attention_mask: `(batch, tokens)`; padding does not count.
    """
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    text = model.config.get_text_config()
    experts = getattr(text, "n_routed_experts", None) or text.num_experts
    return load_balancing_loss_func(
        tuple(router_logits), experts, text.num_experts_per_tok, attention_mask
    )


@contextmanager
def counting_experts(model: Any) -> Generator[dict[str, list[int]]]:
    """While active, count how many tokens each expert of each router receives.

    Yields:
        Router name to one count per expert; filled when the block ends.
    """
    import torch

    counts: dict[str, Any] = {}
    usage: dict[str, list[int]] = {}

    def watch(name: str) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            chosen = torch.bincount(output[2].reshape(-1), minlength=module.num_experts)
            counts[name] = counts[name] + chosen if name in counts else chosen

        return hook

    handles = [m.register_forward_hook(watch(plain_name(n))) for n, m in routers(model)]
    try:
        yield usage
    finally:
        for handle in handles:
            handle.remove()
        usage.update({name: count.tolist() for name, count in counts.items()})


def plain_name(name: str) -> str:
    """A router's name without what PEFT put around it, so that before and after can be compared."""
    for part in ("base_model.model.", ".modules_to_save.default", ".base_layer"):
        name = name.replace(part, "")
    return name


def usage_report(before: dict[str, list[int]], after: dict[str, list[int]]) -> list[dict[str, Any]]:
    """Compare expert usage before and after training, one entry a router.

    Each entry has the shares per expert before and after, how many experts never fired, and
    `moved`, the total variation distance between the two (0: same use, 1: disjoint experts).
    """
    report: list[dict[str, Any]] = []
    for name in before:
        shares = [_shares(counts[name]) for counts in (before, after)]
        moved = sum(abs(a - b) for a, b in zip(*shares, strict=True)) / 2
        report.append(
            {
                "router": name,
                "before": [round(share, 4) for share in shares[0]],
                "after": [round(share, 4) for share in shares[1]],
                "idle_before": sum(share == 0 for share in shares[0]),
                "idle_after": sum(share == 0 for share in shares[1]),
                "moved": round(moved, 4),
            }
        )
    return report


def _shares(counts: list[int]) -> list[float]:
    total = max(1, sum(counts))
    return [count / total for count in counts]
