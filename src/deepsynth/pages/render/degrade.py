"""Defects of scanned paper, added to clean pages: seeded, and the same for the same document."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from deepsynth import images

Array = np.ndarray[Any, Any]

MAX_SKEW_DEGREES = 1.0
JPEG_QUALITY = 75
"""Noise cannot be compressed without loss; scanners write JPEG for the same reason."""


class Degrader:
    """Adds the chosen defects, in a fixed order: bleed, skew, blur, paper, noise.

    The textures are made once from the seed; each page takes them at an offset of its own.
    """

    def __init__(self, names: tuple[str, ...], seed: int, side: int) -> None:
        self._names = names
        self._seed = seed
        generator = np.random.Generator(np.random.PCG64(seed))
        self._noise = np.rint(generator.normal(0.0, 7.0, (side, side))).astype(np.int16)
        coarse = generator.normal(0.0, 1.0, (side // 32, side // 32)).astype(np.float32)
        cloud = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        fibres = generator.normal(0.0, 2.0, (side, side)).astype(np.float32)
        self._paper = np.rint(-14.0 + 5.0 * np.asarray(cloud) + fibres).astype(np.int16)

    def degrade(self, pages: list[bytes], document: str) -> list[bytes]:
        """The pages as JPEG with defects; `document` names it, so that every page differs."""
        clean = [np.asarray(images.decode(page, document).convert("L")) for page in pages]
        return [
            self._page(page, clean[(number + 1) % len(clean)], f"{document}/{number}")
            for number, page in enumerate(clean)
        ]

    def _page(self, page: Array, back: Array, name: str) -> bytes:
        digest = hashlib.sha256(f"{self._seed}/{name}".encode()).digest()
        generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little")))
        # Every defect draws its numbers whether or not it is wanted: choosing one more
        # does not change the others.
        angle = float(generator.uniform(-MAX_SKEW_DEGREES, MAX_SKEW_DEGREES))
        radius = float(generator.uniform(0.3, 0.8))
        strength = float(generator.uniform(0.08, 0.18))
        offset = generator.integers(0, len(page), 4)
        names = self._names
        if "bleed" in names:
            ghost = Image.fromarray(np.ascontiguousarray(back[:, ::-1]))
            faint = np.asarray(ghost.filter(ImageFilter.BoxBlur(2)), np.float32)
            page = np.minimum(page, np.rint(255 - strength * (255 - faint)).astype(np.uint8))
        image = Image.fromarray(page)
        if "skew" in names:
            image = image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=255)
        if "blur" in names:
            image = image.filter(ImageFilter.GaussianBlur(radius))
        total = np.asarray(image).astype(np.int16)
        if "paper" in names:
            total = total + np.roll(self._paper, tuple(offset[:2].tolist()), (0, 1))
        if "noise" in names:
            total = total + np.roll(self._noise, tuple(offset[2:].tolist()), (0, 1))
        stream = io.BytesIO()
        result = Image.fromarray(np.clip(total, 0, 255).astype(np.uint8))
        result.save(stream, "JPEG", quality=JPEG_QUALITY)
        return stream.getvalue()
