"""Images are opened in four formats, in one place, and none fills the memory."""

from __future__ import annotations

import ast
import io
import json
import struct
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import deepsynth
from deepsynth import images
from deepsynth.errors import DataError
from deepsynth.families.summarize.samples import PageSamples, decode_page
from deepsynth.pages.preview import preview

SOURCE = Path(deepsynth.__file__).parent


def encoded(kind: str, size: tuple[int, int] = (8, 8)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size).save(stream, kind)
    return stream.getvalue()


def bomb(side: int = 60_000) -> bytes:
    """A PNG of a few kilobytes that says it has 3,600 million pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_pillow_opens_files_in_one_place() -> None:
    opening = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in ("open", "preinit", "frombuffer")
        and isinstance(node.value, ast.Name)
        and node.value.id == "Image"
    }
    assert opening == {"images.py"}


@pytest.mark.parametrize("kind", ["EPS", "GIF", "BMP", "PPM", "PCX", "PDF"])
def test_other_formats_are_not_opened_whatever_the_file_is_called(kind: str) -> None:
    with pytest.raises(DataError, match="no readable image") as told:
        decode_page(encoded(kind), "page.png")
    assert told.value.where == "page.png"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_the_four_formats_are(kind: str) -> None:
    assert decode_page(encoded(kind)).size == (8, 8)


def test_an_image_that_would_fill_the_memory_is_named() -> None:
    assert len(bomb()) < 5000
    for read in (images.decode, lambda data, where: PageSamples([row(data)], where)[0]):
        with pytest.raises(DataError, match="too large") as told:
            read(bomb(), "shard.parquet")
        assert "shard.parquet" in str(told.value.where)


def row(page: object) -> dict[str, object]:
    return {"images": [page], "summary": "s"}


@pytest.mark.parametrize("bytes_", [None, b""])
def test_a_page_without_bytes_reads_no_file(tmp_path: Path, bytes_: bytes | None) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(encoded("PNG"))
    for page in ({"bytes": bytes_, "path": str(secret)}, str(secret)):
        with pytest.raises(DataError, match="path, without its bytes"):
            PageSamples([row(page)], "pages")[0]
    assert PageSamples([row(secret)], "pages")[0].pages  # a program of one's own may say Path


def test_a_preview_reads_no_file_and_names_what_is_no_page(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    (folder / "data").mkdir(parents=True)
    manifest = {
        "files": [{"path": "data/train.parquet", "bytes": 1, "sha256": "0" * 64, "rows": 1}],
        "settings": {"pages": {"mode": "tiny"}},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for data, what in ((None, "path"), (encoded("EPS"), "no readable image")):
        page = {"bytes": data, "path": "/etc/hostname"}
        told = {"original_split": "train", "original_index": 0, "text": "t", **row(page)}
        pq.write_table(pa.Table.from_pylist([told]), folder / "data" / "train.parquet")
        with pytest.raises(DataError, match=what):
            preview(str(folder), output_dir=tmp_path / "out")
