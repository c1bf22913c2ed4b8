"""Samples of pages with their summaries, and the collator that makes batches of them.

A sample is a row of a generated dataset: `images` (its pages), `summary`, and whatever else. The
prompt is the pages followed by the instruction; loss is computed on the summary alone.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deepsynth.errors import DataError
from deepsynth.families.summarize.vlm_model import PageView, image_token

Pages = Literal["pixels", "bytes", "features"]
IGNORED = -100
"""Label of a position that no loss is computed on."""


@dataclass(frozen=True)
class Page:
    """A page: its identity, its size, its encoded bytes unless they are not needed, its row."""

    key: str
    size: tuple[int, int]
    data: bytes = b""
    where: str = ""


@dataclass(frozen=True)
class Sample:
    """One document: pages and the summary to learn."""

    index: int
    pages: tuple[Page, ...]
    summary: str


class PageSamples:
    """A torch-style dataset over rows with `images` and `summary`.

    Args:
        rows: Any sequence of mappings: `ShardRows`, a `datasets.Dataset`, a list of dicts.
        name: What errors call it, usually the folder of the dataset.
        limit: Use at most so many rows.
    """

    def __init__(self, rows: Any, name: str, limit: int | None = None) -> None:
        self._rows = _without_decoding(rows)
        self._count = len(rows) if limit is None else min(limit, len(rows))
        self._pages: list[tuple[Page, ...]] | None = None
        self._only_identity = False
        self._summaries: list[str] | None = None
        self.name = name

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        if self._only_identity:
            return Sample(index, self.pages()[index], self.summaries()[index])
        return self.read(index)

    def read(self, index: int) -> Sample:
        """The sample with the bytes of its pages."""
        row = self._rows[index]
        pages = tuple(_page(image, self.where(index)) for image in _images(row))
        return Sample(index, pages, row["summary"] or "")

    def head(self, count: int) -> PageSamples:
        """The first samples as samples of their own."""
        return PageSamples(self._rows, self.name, min(count, self._count))

    def row(self, index: int) -> Mapping[str, Any]:
        """The whole row, pages included."""
        return self._rows[index]

    def where(self, index: int) -> str:
        """How an error names the row."""
        if hasattr(self._rows, "where"):
            return self._rows.where(index)
        return f"{self.name}, row {index}"

    def summaries(self) -> list[str]:
        """All summaries, without touching the pages."""
        if self._summaries is None:
            if hasattr(self._rows, "files"):
                column = self._rows.column("summary")
            elif hasattr(self._rows, "select_columns"):
                column = self._rows.select_columns(["summary"])[:]["summary"]
            else:
                column = [self._rows[index]["summary"] for index in range(self._count)]
            self._summaries = [text or "" for text in column[: self._count]]
        return self._summaries

    def pages(self) -> list[tuple[Page, ...]]:
        """Identity and size of every page, without bytes; reads all of them the first time."""
        if self._pages is None:
            self._pages = [
                tuple(Page(page.key, page.size) for page in self.read(index).pages)
                for index in range(self._count)
            ]
        return self._pages

    def forget_bytes(self) -> None:
        """From now on hand out pages without bytes: their features are cached.

        Reading a page of 60 kB for its identity alone would cost as much as its features.
        """
        self._only_identity = True


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

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """A training batch, with `labels` and `sample_index`."""
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
        tokenizer = self.processor.tokenizer
        ids = tokenizer(summary, add_special_tokens=False)["input_ids"]
        return [*ids, tokenizer.eos_token_id][: self.max_target_tokens]

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


def decode_page(page: bytes, where: str | None = None) -> Any:
    """The page as a PIL image.

    Raises:
        DataError: The bytes are no complete image.
    """
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(page))
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"a page is no readable image: {error}.",
            where=where or f"page {hashlib.sha256(page).hexdigest()[:12]}",
            hint="Find all of them: deepsynth check; then generate those shards again.",
        ) from None
    return image


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


def _images(row: Mapping[str, Any]) -> Sequence[Any]:
    images = row.get("images")
    if images is None and row.get("image") is not None:
        return [row["image"]]
    return images or []


def _page(image: Any, where: str) -> Page:
    from PIL import Image

    data = _encoded(image, where)
    try:
        with Image.open(io.BytesIO(data)) as opened:
            size = opened.size
    except (OSError, SyntaxError, ValueError):
        raise DataError(
            "a page is no readable image.",
            where=where,
            hint="Find all of them: deepsynth check; then generate those shards again.",
        ) from None
    return Page(hashlib.sha256(data).hexdigest(), size, data, where)


def _encoded(image: Any, where: str) -> bytes:
    """The bytes of a page given as bytes, dict of `datasets`, path, or PIL image."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, Mapping):
        if image.get("bytes"):
            return image["bytes"]
        image = image.get("path")
    if isinstance(image, str | Path):
        try:
            return Path(image).read_bytes()
        except OSError as error:
            raise DataError(f"a page cannot be read: {error.strerror}.", where=where) from None
    if image is None:
        raise DataError("a page is missing.", where=where)
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def _without_decoding(rows: Any) -> Any:
    """A `datasets.Dataset` hands out pages as they are stored, so that each is decoded once."""
    features = getattr(rows, "features", None)
    if features is None or "images" not in features:
        return rows
    from datasets import Image, List

    return rows.cast_column("images", List(Image(decode=False)))
