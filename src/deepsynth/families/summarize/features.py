"""Vision features on disk: a frozen encoder need see each page only once.

The encoder is about 60 % of a training step (1.37 TFLOP a page against 0.92 for the decoder,
forward and backward, with 128 target tokens), and frozen it gives the same features every epoch.
A cache belongs to one encoder, one set of processor settings and one precision; its folder is
named after them. Features are appended to `features.bin`; a line in `index.jsonl`, with their
checksum, is written only after the bytes are on disk, so an interrupted pass goes on where it
stopped.
"""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import shutil
import zlib
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.errors import DataError, RequestError
from deepsynth.families.summarize.memory import readable_size
from deepsynth.families.summarize.samples import Page, PageSamples, Sample

_DATA, _INDEX, _LOCK = "features.bin", "index.jsonl", ".lock"
_ELSEWHERE = "Set train.cache_features: false, or another train.cache_dir"


def default_cache() -> Path:
    """The user's cache folder for features."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "deepsynth" / "features"


class FeatureStore:
    """Page key to a `(tokens, hidden)` tensor, in one file.

    Args:
        root: Folder of all caches.
        identity: Everything that decides the features: encoder, processor, precision.
        hidden: Width of a feature.
        dtype: Their torch dtype.
    """

    def __init__(self, root: Path, identity: Sequence[str], hidden: int, dtype: Any) -> None:
        name = durable.sha256_value([*identity, hidden, str(dtype)])[:32]
        self.folder = root / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self._hidden = hidden
        self._dtype = dtype
        self._row_bytes = hidden * dtype.itemsize
        self._places: dict[str, tuple[int, int, int]] = {}
        self._map: mmap.mmap | None = None
        self._read_index()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, key: str) -> Any:
        """The features of a page, as a tensor that shares nothing with the file.

        Raises:
            DataError: The bytes have another checksum than when they were written.
        """
        import torch

        offset, tokens, checksum = self._places[key]
        if self._map is None:
            with (self.folder / _DATA).open("rb") as stream:
                self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        block = bytearray(self._map[offset : offset + tokens * self._row_bytes])
        if zlib.crc32(block) != checksum:
            raise DataError(
                "the cached features of a page are not what was written there.",
                where=self.folder / _DATA,
                hint=f"Delete the folder {self.folder}; the pages are encoded again.",
            )
        return torch.frombuffer(block, dtype=self._dtype).view(tokens, self._hidden)

    def __getstate__(self) -> dict[str, Any]:
        # A worker process opens the file for itself.
        return self.__dict__ | {"_map": None}

    def add(self, entries: Iterable[tuple[str, Any]]) -> None:
        """Append features; on disk when this returns.

        Raises:
            RequestError: The disk is full; what was stored before stays.
        """
        try:
            self._append(entries)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise RequestError(
                "the disk is full; the features written so far are kept.",
                where=self.folder,
                hint=f"Free some space and train again. Or: {_ELSEWHERE}.",
            ) from None

    def _append(self, entries: Iterable[tuple[str, Any]]) -> None:
        import torch

        lines: list[str] = []
        places: dict[str, tuple[int, int, int]] = {}
        self._map = None
        with (self.folder / _DATA).open("ab") as data:
            for key, features in entries:
                offset, tokens = data.tell(), features.shape[0]
                block = features.detach().to("cpu", self._dtype).contiguous()
                written = memoryview(block.view(torch.uint8).numpy()).cast("B")
                data.write(written)
                places[key] = (offset, tokens, zlib.crc32(written))
                lines.append(json.dumps([key, *places[key]]))
            data.flush()
            os.fsync(data.fileno())
        with (self.folder / _INDEX).open("a", encoding="utf-8") as index:
            # A line cut short by a kill must not swallow the next one.
            index.write("".join(f"\n{line}" for line in lines))
            index.flush()
            os.fsync(index.fileno())
        self._places |= places

    @contextmanager
    def alone(self) -> Generator[None]:
        """Be the only writer, and know what others have written until then."""
        with (self.folder / _LOCK).open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            self._read_index()
            yield

    def bytes_needed(self, pages: int, tokens: int) -> int:
        """Size on disk of so many pages."""
        return pages * tokens * self._row_bytes

    def _read_index(self) -> None:
        data = self.folder / _DATA
        size = data.stat().st_size if data.exists() else 0
        for key, offset, tokens, *checksum in durable.read_lines(self.folder / _INDEX):
            # Features from before there was a checksum are encoded again.
            if checksum and offset + tokens * self._row_bytes <= size:
                self._places[key] = (offset, tokens, checksum[0])


def require_space(store: FeatureStore, pages: int, tokens: int, max_gb: float) -> str:
    """Make sure that the features of `pages` more pages fit, and say what they will take.

    Raises:
        RequestError: More than `max_gb` altogether, or more than the disk has left.
    """
    needed = store.bytes_needed(pages, tokens)
    total = needed + store.bytes_needed(len(store), tokens)
    free = shutil.disk_usage(store.folder).free
    said = f"{pages:,} pages to encode, {readable_size(needed)} in {store.folder}"
    if total > max_gb * 1e9:
        raise RequestError(
            f"the feature cache would take {total / 1e9:.1f} GB, more than train.cache_max_gb "
            f"({max_gb:g}).",
            where=store.folder,
            hint=f"{_ELSEWHERE}, or raise train.cache_max_gb.",
        )
    if needed > 0.95 * free:
        raise RequestError(
            f"the feature cache needs {needed / 1e9:.1f} GB and the disk has {free / 1e9:.1f} GB.",
            where=store.folder,
            hint=f"{_ELSEWHERE} on a larger disk.",
        )
    return said


def encode_pages(
    samples: PageSamples,
    store: FeatureStore,
    encode: Callable[[Sequence[Page]], list[Any]],
    *,
    batch_size: int = 8,
    progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Encode every page of `samples` that the store lacks.

    Args:
        samples: Whose pages.
        store: Where the features go.
        encode: Pages to one feature tensor each.
        batch_size: Pages encoded at once.
        progress: Told how many samples are done.

    Returns:
        How many pages were encoded.
    """
    waiting: dict[str, Page] = {}
    encoded = 0
    for index, pages in enumerate(samples.pages()):
        if any(page.key not in store for page in pages):
            waiting |= {p.key: p for p in samples.read(index).pages if p.key not in store}
        last = index + 1 == len(samples)
        if waiting and (last or len(waiting) >= batch_size):
            store.add(zip(waiting, encode(list(waiting.values())), strict=True))
            encoded += len(waiting)
            waiting = {}
        progress(index + 1)
    return encoded


def page_encoder(
    model: Any,
    collator: Any,
    precision: Callable[[], AbstractContextManager[Any]],
) -> Callable[[Sequence[Page]], list[Any]]:
    """The function `encode_pages` wants, for a model whose class has `get_image_features`.

    Args:
        model: The base model, without or with adapters on its language model.
        collator: A `PageCollator` with `pages="pixels"`.
        precision: The autocast context that training computes in, so that the features are those
            the plain path would have used.
    """
    import torch

    core = plain_model(model)

    def encode(pages: Sequence[Page]) -> list[Any]:
        batch = collator.prompts([Sample(i, (page,), "") for i, page in enumerate(pages)])
        inputs = {
            name: value.to(core.device) if hasattr(value, "to") else value
            for name, value in batch.items()
            if name not in ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
        }
        with torch.no_grad(), precision():
            return image_features(core, inputs)

    return encode


def image_features(core: Any, inputs: dict[str, Any]) -> list[Any]:
    """One `(tokens, hidden)` tensor an image, from the model's own `get_image_features`."""
    output = core.get_image_features(**inputs, return_dict=True)
    features = getattr(output, "pooler_output", output)
    return [one.reshape(-1, one.shape[-1]) for one in features]


def release_encoder(core: Any) -> int:
    """Take the vision encoder out of a model whose pages are all cached, to free its memory.

    For a model that trains by LoRA alone: what it saves is the adapter, which has nothing of the
    encoder. Afterwards it can be given features, and no page.

    Args:
        core: The transformers model.

    Returns:
        Bytes of the weights let go.
    """
    freed = 0
    words = core.get_input_embeddings()
    for name, child in list(core.base_model.named_children()):
        if "language_model" not in name and words not in child.modules():
            freed += sum(p.numel() * p.element_size() for p in child.parameters())
            delattr(core.base_model, name)
    return freed


def plain_model(model: Any) -> Any:
    """The transformers model inside a PEFT or distributed wrapper."""
    model = getattr(model, "module", model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def embed(core: Any, input_ids: Any, features: Any) -> Any:
    """Input embeddings with the image placeholders replaced by their features."""
    embeddings = core.get_input_embeddings()(input_ids)
    holes = (input_ids == image_token_id(core.config)).unsqueeze(-1)
    return embeddings.masked_scatter(holes, features.to(embeddings.device, embeddings.dtype))


def image_token_id(config: Any) -> int:
    """The id of the image placeholder, under either of its names in transformers."""
    found = getattr(config, "image_token_id", None)
    return config.image_token_index if found is None else found
