"""The architecture of DeepSeek-OCR-2 without its weights, to count and to measure on.

Source: config.json of deepseek-community/DeepSeek-OCR-2; 3,389,119,360 parameters in full.
"""

from __future__ import annotations

from typing import Any


def reference_config(
    decoder_layers: int = 12, sam_layers: int = 12, encoder_layers: int = 24, **more: Any
) -> Any:
    """A `DeepseekOcr2Config` of the real widths.

    Args:
        decoder_layers: Of the language model; the first is dense, the others have experts.
        sam_layers: Of the first stage of the vision encoder.
        encoder_layers: Of its second stage.
        **more: Further fields, such as `image_token_id`.
    """
    from transformers import DeepseekOcr2Config

    text = {
        "vocab_size": 129_280,
        "hidden_size": 1280,
        "intermediate_size": 6848,
        "num_hidden_layers": decoder_layers,
        "num_attention_heads": 10,
        "num_key_value_heads": 10,
        "max_position_embeddings": 8192,
        "n_routed_experts": 64,
        "n_shared_experts": 2,
        "num_experts_per_tok": 6,
        "moe_intermediate_size": 896,
        "n_group": 1,
        "topk_group": 1,
        "topk_method": "greedy",
        "mlp_layer_types": ["dense"] + ["sparse"] * (decoder_layers - 1),
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    sam = {
        "downsample_channels": [512, 896],
        "num_hidden_layers": sam_layers,
        "global_attn_indexes": [i for i in (2, 5, 8, 11) if i < sam_layers] or [sam_layers - 1],
    }
    encoder = {
        "hidden_size": 896,
        "num_hidden_layers": encoder_layers,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "intermediate_size": 4864,
        "vocab_size": 1,
    }
    vision = {"sam_config": sam, "encoder_config": encoder}
    return DeepseekOcr2Config(text_config=text, vision_config=vision, **more)
