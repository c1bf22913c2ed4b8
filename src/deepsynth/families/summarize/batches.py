"""Batches of samples, and what a model makes of them: a loss, summaries.

The prompt is the pages followed by the instruction; loss is computed on the summary alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch

from deepsynth.families.summarize.features import embed, plain_model
from deepsynth.families.summarize.model import PageView, image_token
from deepsynth.families.summarize.samples import Page, PageSamples, Sample, decode_page, evenly

Pages = Literal["pixels", "bytes", "features"]
IGNORED = -100
"""Label of a position that no loss is computed on."""


@dataclass(frozen=True)
class Written:
    """A summary that a model wrote.

    Attributes:
        row: Identity of the sample it was written for, taken where the batch was made.
        text: The summary.
        ended: The model ended it by itself, before the limit.
    """

    row: str
    text: str
    ended: bool


class Documents(Protocol):
    """Whatever hands out samples by their index: `PageSamples`, or the same with other pages."""

    def __getitem__(self, index: int) -> Sample: ...


_ROOM = 1.25
"""How much longer than the longest training summary a written one may be."""


class PageCollator:
    """Samples to a batch: `[padding] pages prompt | summary end [padding]`.

    Args:
        processor: The model's.
        view: Its geometry for these pages.
        prompt: The instruction.
        max_target_tokens: A longer summary is cut there, and then ends without an end token.
        pages: How pages enter the batch. `pixels`: through the processor, always right.
            `bytes`: as uint8, normalised on the device (`normalise_pages`). `features`: looked up
            in `features`, a mapping from page key to a `(tokens, hidden)` tensor.
        features: The feature store, for `features`.
    """

    def __init__(
        self,
        processor: Any,
        view: PageView,
        prompt: str,
        max_target_tokens: int = 512,
        pages: Pages = "pixels",
        features: Any = None,
    ) -> None:
        self.processor = processor
        self.view = view
        self.prompt = prompt
        self.max_target_tokens = max_target_tokens
        self.pages: Pages = pages
        self.features = features
        self._prompts: dict[tuple[tuple[int, int], ...], list[int]] = {}

    def taking(self, pages: Pages, features: Any = None) -> PageCollator:
        """The same, with pages entering the batch another way."""
        made = (self.processor, self.view, self.prompt, self.max_target_tokens)
        return PageCollator(*made, pages, features)

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """A training batch, with `labels`, `sample_index`, and `row`: the identity of each."""
        import torch

        batch = self.prompts(samples)
        targets = [self.target_ids(sample.summary) for sample in samples]
        width = max(len(ids) for ids in targets)
        pad = self.processor.tokenizer.pad_token_id
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in targets])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in targets])
        ignored = torch.full_like(batch["input_ids"], IGNORED)
        batch["labels"] = torch.cat([ignored, ids.masked_fill(mask == 0, IGNORED)], dim=1)
        batch["input_ids"] = torch.cat([batch["input_ids"], ids], dim=1)
        batch["attention_mask"] = torch.cat([batch["attention_mask"], mask], dim=1)
        batch["sample_index"] = torch.tensor([sample.index for sample in samples])
        batch["row"] = torch.tensor([int(sample.identity, 16) for sample in samples])
        return batch

    def prompts(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Only what comes before the summary, padded on the left: the input of generation."""
        import torch

        if self.pages == "pixels":
            images = [
                [decode_page(p.data, p.where).convert("RGB") for p in s.pages] for s in samples
            ]
            texts = [self.prompt_text(len(sample.pages)) for sample in samples]
            encoded = self.processor(
                images=images,
                text=texts,
                padding=True,
                padding_side="left",
                return_tensors="pt",
                **self.view.call,
            )
            return dict(encoded)
        rows = [self.prompt_ids(sample) for sample in samples]
        width = max(len(row) for row in rows)
        pad = self.processor.tokenizer.pad_token_id
        batch: dict[str, Any] = {
            "input_ids": torch.tensor([[pad] * (width - len(row)) + row for row in rows]),
            "attention_mask": torch.tensor(
                [[0] * (width - len(row)) + [1] * len(row) for row in rows]
            ),
        }
        every = [page for sample in samples for page in sample.pages]
        if self.pages == "bytes":
            batch["page_bytes"] = torch.stack([_grey(page) for page in every])
        else:
            batch["page_features"] = torch.cat([self.features[page.key] for page in every])
        return batch

    def target_ids(self, summary: str) -> list[int]:
        """Tokens of a summary and the end token; cut, and then without it, when too long."""
        (ids,) = self.tokens_of([summary])
        return [*ids, self.processor.tokenizer.eos_token_id][: self.max_target_tokens]

    def tokens_of(self, summaries: Sequence[str]) -> list[list[int]]:
        """Tokens of summaries, whole and without an end; the name of a special token is text."""
        tokenizer = self.processor.tokenizer
        found = tokenizer(list(summaries), add_special_tokens=False, split_special_tokens=True)
        return found["input_ids"]

    def generation_limit(self, summaries: Sequence[str]) -> int:
        """Tokens after which a written summary is cut: a quarter more than the longest of these."""
        longest = max((len(self.target_ids(text)) for text in summaries), default=1)
        return 8 * math.ceil(longest * _ROOM / 8)

    def prompt_ids(self, sample: Sample) -> list[int]:
        """Tokens of the prompt; they depend on number and size of the pages alone."""
        from PIL import Image

        sizes = tuple(page.size for page in sample.pages)
        if sizes not in self._prompts:
            blank = [Image.new("RGB", size, "white") for size in sizes]
            text = self.prompt_text(len(sizes))
            encoded = self.processor(
                images=[blank], text=[text], return_tensors="pt", **self.view.call
            )
            self._prompts[sizes] = encoded["input_ids"][0].tolist()
        return self._prompts[sizes]

    def prompt_text(self, pages: int) -> str:
        """The prompt as text: the model's chat template if it has one, else pages and a line."""
        token = image_token(self.processor)
        if not getattr(self.processor, "chat_template", None):
            return f"{token * pages}\n{self.prompt}\n"
        content = [{"type": "image"}] * pages + [{"type": "text", "text": self.prompt}]
        text = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        # The tokenizer puts its own start token in front.
        return text.removeprefix(self.processor.tokenizer.bos_token or "")


def bytes_fit(processor: Any, view: PageView, page: Page) -> bool:
    """Whether `normalise_pages` gives what the processor would: a grey page, exactly one view."""
    images = processor.image_processor
    return (
        type(images).__name__.startswith("DeepseekOcr2ImageProcessor")
        and bool(view.call)
        and page.size == (view.size, view.size)
        and decode_page(page.data, page.where).mode == "L"
    )


def normalise_pages(page_bytes: Any, processor: Any, dtype: Any) -> Any:
    """uint8 pages `(n, height, width)` to `pixel_values` `(n, 3, height, width)`.

    Same arithmetic, in the same order, as transformers' image processor: rescale by 1/255 in 64
    bits on the host and 32 bits here, then normalise.
    """
    import torch

    images = processor.image_processor
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=page_bytes.device).view(1, -1, 1, 1)
        for values in (images.image_mean, images.image_std)
    )
    grey = page_bytes.to(torch.float32).unsqueeze(1) * images.rescale_factor
    return ((grey - mean) / std).to(dtype)


def _grey(page: Page) -> Any:
    import numpy as np
    import torch

    return torch.from_numpy(np.array(decode_page(page.data, page.where), dtype=np.uint8))


def model_inputs(core: Any, batch: dict[str, Any], processor: Any) -> dict[str, Any]:
    """What the model's forward or generate takes, from any kind of batch of the collator."""
    fields = dict(batch)
    if "page_features" in fields:
        features, ids = fields.pop("page_features"), fields.pop("input_ids")
        fields["inputs_embeds"] = embed(core, ids, features)
    elif "page_bytes" in fields:
        pages = fields.pop("page_bytes")
        fields["pixel_values"] = normalise_pages(pages, processor, torch.float32)
        fields["num_local_patches"] = [0] * len(pages)
    return fields


def label_inputs(labels: Any, target_only: bool) -> dict[str, Any]:
    """`labels`, or with `target_only` also the positions whose logits the loss needs.

    The head of DeepSeek-OCR-2 is 129,280 wide; with 257 tokens a page most of its output would be
    computed to be ignored.
    """
    if not target_only:
        return {"labels": labels}
    shifted = torch.full_like(labels, IGNORED)
    shifted[:, :-1] = labels[:, 1:]
    columns = (shifted != IGNORED).any(dim=0).nonzero().squeeze(1)
    return {
        "labels": labels[:, columns],
        "shift_labels": shifted[:, columns],
        "logits_to_keep": columns,
    }


@torch.no_grad()
def mean_loss(
    model: Any, collator: PageCollator, samples: PageSamples, count: int, batch_size: int
) -> float:
    """Loss on `count` samples, evenly drawn, averaged as the Trainer's evaluation averages it."""
    core = plain_model(model)
    was_training = core.training
    model.eval()
    total = 0.0
    chosen = evenly(count, len(samples))
    for start in range(0, count, batch_size):
        indices = chosen[start : start + batch_size]
        batch = collator([samples[i] for i in indices])
        batch = {name: value.to(core.device) for name, value in batch.items()}
        total += float(batch_loss(model, batch, collator.processor)) * len(indices)
    model.train(was_training)
    return total / count


def batch_loss(model: Any, batch: dict[str, Any], processor: Any, target_only: bool = True) -> Any:
    """Mean loss of a batch of the collator, by the same path as in training."""
    return model(**loss_inputs(model, batch, processor, target_only)).loss


def loss_inputs(
    model: Any, batch: dict[str, Any], processor: Any, target_only: bool = True
) -> dict[str, Any]:
    """A batch of the collator as keyword arguments of the model's forward, labels included."""
    fields = {k: v for k, v in batch.items() if k not in ("labels", "sample_index", "row")}
    fields = model_inputs(plain_model(model), fields, processor)
    return fields | label_inputs(batch["labels"], target_only)


@torch.no_grad()
def generate(
    model: Any,
    collator: PageCollator,
    samples: Documents,
    indices: Sequence[int],
    *,
    max_new_tokens: int,
    batch_size: int = 4,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Written]:
    """Summaries of some samples, written greedily, in batches.

    Args:
        model: Base model or `PeftModel`.
        collator: As in training.
        samples: Their owner.
        indices: Which.
        max_new_tokens: Longest summary.
        batch_size: Samples at once.
        progress: Told how many are done.
    """
    core = plain_model(model)
    tokenizer = collator.processor.tokenizer
    was_training = core.training
    model.eval()
    named = core.generation_config.eos_token_id
    named = named if isinstance(named, list) else [] if named is None else [named]
    ends = torch.tensor([tokenizer.eos_token_id, *named])
    found: list[Written] = []
    for start in range(0, len(indices), batch_size):
        rows = [samples[i] for i in indices[start : start + batch_size]]
        batch = collator.prompts(rows)
        batch = {k: v.to(core.device) if hasattr(v, "to") else v for k, v in batch.items()}
        fields = model_inputs(core, batch, collator.processor)
        written = core.generate(
            **fields,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
        if "input_ids" in fields:
            written = written[:, fields["input_ids"].shape[1] :]
        ended = torch.isin(written, ends.to(written.device)).any(dim=1).tolist()
        texts = tokenizer.batch_decode(written, skip_special_tokens=True)
        found += [
            Written(row.identity, text.strip(), end)
            for row, text, end in zip(rows, texts, ended, strict=True)
        ]
        progress(len(found))
    model.train(was_training)
    return found
