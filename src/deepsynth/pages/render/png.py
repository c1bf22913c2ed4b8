"""PNG files around rows that already carry their filter byte."""

from __future__ import annotations

import struct

import numpy as np
from isal import isal_zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ZLIB_HEADER = b"\x78\x01"
_LEVEL = 1
"""Levels 0 to 2 of ISA-L give the same bytes on every processor; level 3 does not."""


def _chunk(kind: bytes, *parts: bytes) -> bytes:
    checksum = isal_zlib.crc32(kind)
    for part in parts:
        checksum = isal_zlib.crc32(part, checksum)
    size = struct.pack(">I", sum(map(len, parts)))
    return b"".join((size, kind, *parts, struct.pack(">I", checksum)))


_END = _chunk(b"IEND", b"")


def encode_rows(
    rows: np.ndarray[tuple[int, int], np.dtype[np.uint8]], bits: int, checksum: int
) -> bytes:
    """A grey PNG from raw rows: (height, 1 + bytes of a row), first byte the filter type.

    Args:
        rows: The rows.
        bits: Per pixel.
        checksum: Adler-32 of the rows.
    """
    height, stride = rows.shape
    header = struct.pack(">IIBBBBB", (stride - 1) * 8 // bits, height, bits, 0, 0, 0, 0)
    stream = _ZLIB_HEADER, isal_zlib.compress(rows, _LEVEL, -15), struct.pack(">I", checksum)
    return b"".join((_SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", *stream), _END))


def encode_grey(page: np.ndarray[tuple[int, int], np.dtype[np.uint8]], bits: int) -> bytes:
    """A grey PNG from pixels (height, width), 0 black to 255 white; 4 bits keep 16 greys."""
    height, width = page.shape
    rows = np.zeros((height, 1 + width * bits // 8), np.uint8)
    if bits == 8:
        rows[:, 1:] = page
    else:
        greys = (page.astype(np.uint16) * 15 + 127) // 255
        rows[:, 1:] = greys[:, 0::2] << 4 | greys[:, 1::2]
    return encode_rows(rows, bits, isal_zlib.adler32(rows))
