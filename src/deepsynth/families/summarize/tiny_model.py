"""A DeepSeek-OCR-2 of 1.5 MB with random weights, made on the spot, for demos and tests offline.

Same classes, same module and parameter names as the real model: SAM-style encoder, query encoder,
projector, one dense and one mixture-of-experts decoder layer, a byte-level tokenizer. It can
memorise a few pages, which proves the machinery; it knows no language, so it proves no quality.

Geometry: the class hard-codes 144 query embeddings a view of 12x12 tokens, so a view must come out
as 12 tokens a side: 192 px / patch 4 / 4. The encoder itself uses patch 8, which makes it about 20
times cheaper on a CPU and leaves the number of queries as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

SCRATCH_PREFIX = "scratch:"
SCRATCH_MODELS = ("deepseek-ocr-2-tiny",)
VIEW_SIZE = 192
PATCH_SIZE = 4
ENCODER_PATCH_SIZE = 8

_BOS, _EOS, _PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
_IMAGE = "<image>"


def tiny_tokenizer(corpus: Iterable[str], vocab_size: int = 512) -> Any:
    """A byte-level BPE tokenizer learned from `corpus`; covers any text through its bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[_BOS, _EOS, _PAD, _IMAGE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_BOS} $A", special_tokens=[(_BOS, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=_BOS,
        eos_token=_EOS,
        pad_token=_PAD,
        additional_special_tokens=[_IMAGE],
        padding_side="right",
    )


def build_tiny(corpus: Iterable[str], seed: int = 0, hidden: int = 64) -> tuple[Any, Any]:
    """Model and processor with random weights.

    Args:
        corpus: Texts the tokenizer learns from, usually the summaries.
        seed: Seed of the weights.
        hidden: Width of the decoder.

    Returns:
        `(DeepseekOcr2ForConditionalGeneration, DeepseekOcr2Processor)`.
    """
    import torch
    from transformers import (
        DeepseekOcr2Config,
        DeepseekOcr2ForConditionalGeneration,
        DeepseekOcr2ImageProcessorPil,
        DeepseekOcr2Processor,
    )

    tokenizer = tiny_tokenizer(corpus)
    image_processor = DeepseekOcr2ImageProcessorPil(
        size={"height": VIEW_SIZE, "width": VIEW_SIZE}, tile_size=VIEW_SIZE
    )
    processor = DeepseekOcr2Processor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=PATCH_SIZE,
        downsample_ratio=4,
    )
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "n_routed_experts": 8,
        "n_shared_experts": 2,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": hidden // 2,
        "n_group": 1,
        "topk_group": 1,
        "topk_method": "greedy",
        "mlp_layer_types": ["dense", "sparse"],
        "max_position_embeddings": 4096,
        "initializer_range": 0.3,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }
    sam = {
        "hidden_size": 32,
        "output_channels": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": VIEW_SIZE,
        "patch_size": ENCODER_PATCH_SIZE,
        "window_size": 4,
        "global_attn_indexes": [1],
        "downsample_channels": [24, 32],
        "initializer_range": 0.15,
    }
    encoder = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 1,
        "max_position_embeddings": 1024,
        "initializer_range": 0.2,
    }
    config = DeepseekOcr2Config(
        image_token_id=tokenizer.convert_tokens_to_ids(_IMAGE),
        text_config=text,
        vision_config={"sam_config": sam, "encoder_config": encoder},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DeepseekOcr2ForConditionalGeneration(config)
    model.generation_config.update(eos_token_id=1, bos_token_id=0, pad_token_id=2)
    return model, processor


def save_tiny(folder: Path, corpus: Iterable[str], seed: int = 0) -> Path:
    """Build the tiny model and save it with its processor, as a model folder like any other."""
    model, processor = build_tiny(corpus, seed)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
