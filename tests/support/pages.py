"""Pages and tiny models that the tests of training share."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

TEXTS = [
    "the red fox sleeps under the old oak tree near the river and waits for night",
    "seven ships left the harbour at dawn carrying grain salt and news of the war",
    "prices of bread rose again in march while wages stayed where they were in may",
    "the museum opens a new hall of maps drawn by monks in the ninth century today",
]
SUMMARIES = ["fox sleeps by river", "ships leave at dawn", "bread costs more", "museum shows maps"]


def page(text: str, side: int = 192, mode: str = "L") -> bytes:
    """A square page with a few lines of text, as PNG."""
    image = Image.new(mode, (side, side), "white")
    lines = [text[start : start + 30] for start in range(0, len(text), 30)]
    ImageDraw.Draw(image).multiline_text((6, 6), "\n".join(lines), fill="black")
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def rows(count: int = 4) -> list[dict[str, Any]]:
    """Documents of one page each; the third, if there, has two."""
    found: list[dict[str, Any]] = []
    for number in range(count):
        text = TEXTS[number % 4]
        pages = [page(text)] if number != 2 else [page(text), page("and so it goes on")]
        found.append({"images": pages, "text": text, "summary": SUMMARIES[number % 4]})
    return found


def save_llava(folder: Path) -> Path:
    """A second architecture: a LLaVA of CLIP and Llama, without pad token or experts."""
    import torch
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    from deepsynth.families.summarize.tiny_model import tiny_tokenizer

    tokenizer = tiny_tokenizer(SUMMARIES)
    tokenizer.pad_token = None
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        patch_size=16,
        projection_dim=32,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=None,
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text, image_token_index=image_id)
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}
        ),
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
