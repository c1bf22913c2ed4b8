"""Compiling loses nothing in silence and gives the network what `ketos compile` would give it."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageFilter

from deepsynth.errors import DataError
from deepsynth.families.htr.ground_truth.images import open_image
from deepsynth.families.htr.ground_truth.model import Page
from deepsynth.families.htr.ground_truth.pages import read_page, scan_folder
from deepsynth.families.htr.lines.compile import compile_split, read_lines
from deepsynth.families.htr.lines.lines import LostLine, PageImage, extract_line
from tests.families.htr.conftest import REAL
from tests.families.htr.test_check import edit, on_image, truncate

REFERENCE = """
import pickle, sys
import numpy as np
from PIL import Image
from kraken.containers import Segmentation
from kraken.lib.dataset import ImageInputTransforms
from kraken.lib.segmentation import extract_polygons
from kraken.lib.util import is_bitonal, open_image
from kraken.lib.xml import XMLPage

to_network = ImageInputTransforms(1, 48, 0, 1, (16, 0), valid_norm=False)
found = {}
for name in sys.argv[2:]:
    page = XMLPage(name, linetype="baselines").to_container()
    image = open_image(page.imagename)
    if is_bitonal(image):
        image = image.convert("1")
    for line in page.lines:
        one = Segmentation(text_direction="horizontal-lr", imagename=page.imagename,
            type=page.type, lines=[line], regions=None, script_detection=False, line_orders=[])
        cut, _ = next(extract_polygons(image, one))
        found[name, line.id] = (line.text, np.asarray(cut.convert("L")), to_network(cut).numpy())
pickle.dump(found, open(sys.argv[1], "wb"))
"""
TRANSFORM = """
import pickle, sys
from PIL import Image
from kraken.lib.dataset import ImageInputTransforms

to_network = ImageInputTransforms(1, 48, 0, 1, (16, 0), valid_norm=False)
lines = pickle.load(open(sys.argv[1], "rb"))
pickle.dump([to_network(Image.fromarray(line)).numpy() for line in lines], open(sys.argv[2], "wb"))
"""


def documents(folder: Path) -> list[Path]:
    return list(scan_folder(folder).documents)


def pages_of(folder: Path) -> list[Page]:
    return [read_page(path) for path in documents(folder)]


def pictures(arrow: Path) -> list[bytes]:
    table = pa.ipc.open_file(pa.memory_map(str(arrow), "rb")).read_all()
    return [row["im"] for row in table.column("lines").to_pylist()]


def test_rows_are_reconciled_with_the_xml(page_folder: Path, tmp_path: Path):
    edit("<Unicode>[^<]*", "<Unicode>")(page_folder / "p003.xml")
    output = tmp_path / "train.arrow"
    report = compile_split(pages_of(page_folder), output, root=tmp_path, workers=2)
    assert (report.lines, report.empty, report.lost) == (47, 1, [])
    rows = read_lines(output)
    truth = {
        (f"page/{path.stem}", line.id): line.text
        for path in documents(page_folder)
        for line in read_page(path).lines
    }
    assert len(rows) == 47
    assert all(truth[row.page, row.line] == row.text for row in rows)
    schema = pa.ipc.open_file(pa.memory_map(str(output), "rb")).schema
    metadata = json.loads(schema.metadata[b"lines"])
    assert metadata["type"] == "kraken_recognition_baseline"
    assert metadata["counts"]["all"] == 47
    assert sum(metadata["alphabet"].values()) == sum(len(row.text) for row in rows)


def test_the_same_pages_give_the_same_bytes_with_any_number_of_workers(
    page_folder: Path, tmp_path: Path
):
    for workers in (1, 3):
        compile_split(pages_of(page_folder), tmp_path / f"{workers}.arrow", workers=workers)
    assert (tmp_path / "1.arrow").read_bytes() == (tmp_path / "3.arrow").read_bytes()


def test_lost_lines_are_an_error_that_names_them(page_folder: Path, tmp_path: Path):
    edit("<Baseline[^>]*>", "")(page_folder / "p001.xml")
    on_image(truncate)(page_folder / "p002.xml")
    output = tmp_path / "train.arrow"
    with pytest.raises(DataError, match="5 of 48 lines would be lost") as refused:
        compile_split(pages_of(page_folder), output)
    assert "p001.xml l0: its baseline" in str(refused.value)
    assert "p002.xml l0: the image cannot be read" in str(refused.value)
    assert "data.allow_lost=5" in str(refused.value)
    assert list(tmp_path.glob("*arrow*")) == []
    assert list(tmp_path.glob(".*")) == []
    report = compile_split(pages_of(page_folder), output, allow_lost=5)
    assert (report.lines, len(report.lost)) == (43, 5)


def test_nothing_left_is_an_error(page_folder: Path, tmp_path: Path):
    path = page_folder / "p000.xml"
    edit("<Unicode>[^<]*", "<Unicode>", count=0)(path)
    with pytest.raises(DataError, match="no line with text"):
        compile_split([read_page(path)], tmp_path / "train.arrow")


def bend(folder: Path) -> None:
    """Bent baselines, long and closed outlines, slopes, grey, bitonal and colourful pages."""
    chance = np.random.default_rng(5)
    for number, path in enumerate(documents(folder)):
        text = path.read_text(encoding="utf-8")
        page = read_page(path)
        for line in page.lines:
            (left, y), (right, _) = line.baseline
            count = int(chance.integers(2, 6))
            bent = [
                (int(x), y + int(chance.integers(-4, 5))) for x in np.linspace(left, right, count)
            ]
            steps = np.linspace(left - 3, right + 3, 40 if number % 2 else 6).astype(int)
            outline = [(int(x), y - 24 + int(chance.integers(-3, 4))) for x in steps]
            outline += [(int(x), y + 9 + int(chance.integers(-3, 4))) for x in reversed(steps)]
            if number % 3 == 0:
                outline.append(outline[0])
            for old, new in ((line.baseline, bent), (line.polygon, outline)):
                text = text.replace(
                    f'points="{" ".join(f"{a},{b}" for a, b in old)}"',
                    f'points="{" ".join(f"{a},{b}" for a, b in new)}"',
                )
        path.write_text(text, encoding="utf-8")
        image = path.with_suffix(".png")
        opened = Image.open(image).convert("RGB")
        noise = chance.integers(0, 60, (opened.height, opened.width, 3), dtype=np.uint8)
        pixels = Image.fromarray(np.minimum(np.asarray(opened), 255 - noise))
        if number % 4 == 1:
            pixels = pixels.convert("L").filter(ImageFilter.SMOOTH)
        elif number % 4 == 2:
            pixels = pixels.convert("L").point(lambda value: 255 * (value > 120)).convert("1")
        pixels.save(image)


def assert_same_as_kraken(paths: list[Path], tmp_path: Path, kraken: Callable[..., str]) -> int:
    reference_file = tmp_path / "reference.pickle"
    kraken("-c", REFERENCE, str(reference_file), *map(str, paths))
    reference = pickle.loads(reference_file.read_bytes())
    output = tmp_path / "ours.arrow"
    compile_split([read_page(path) for path in paths], output)
    ours = [np.asarray(Image.open(io.BytesIO(png))) for png in pictures(output)]
    (tmp_path / "ours.pickle").write_bytes(pickle.dumps(ours))
    kraken("-c", TRANSFORM, str(tmp_path / "ours.pickle"), str(tmp_path / "inputs.pickle"))
    inputs = pickle.loads((tmp_path / "inputs.pickle").read_bytes())
    by_name = {path.stem: str(path) for path in paths}
    rows = read_lines(output)
    assert len(rows) == len(reference)
    for row, cut, network_input in zip(rows, ours, inputs, strict=True):
        text, grey, expected = reference[by_name[row.page], row.line]
        assert row.text == text
        assert cut.shape == grey.shape
        assert np.array_equal(cut, grey), f"{row.page} {row.line}"
        assert np.array_equal(network_input, expected)
    return len(rows)


@pytest.mark.slow
def test_the_network_gets_what_kraken_would_give_it(
    page_folder: Path, tmp_path: Path, kraken: Callable[..., str]
):
    bend(page_folder)
    assert assert_same_as_kraken(documents(page_folder), tmp_path, kraken) == 48


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="DEEPSYNTH_GROUND_TRUTH names no real ground truth")
@pytest.mark.parametrize("folder", REAL)
def test_real_lines_are_what_kraken_cuts(folder: Path, tmp_path: Path, kraken: Callable[..., str]):
    assert assert_same_as_kraken(documents(folder), tmp_path, kraken)


def test_colour_is_kept_for_networks_that_want_it(page_folder: Path, tmp_path: Path):
    compile_split(pages_of(page_folder)[:1], tmp_path / "c.arrow", colour=True)
    assert {Image.open(io.BytesIO(png)).mode for png in pictures(tmp_path / "c.arrow")} == {"RGB"}
    compile_split(pages_of(page_folder)[:1], tmp_path / "g.arrow")
    assert {Image.open(io.BytesIO(png)).mode for png in pictures(tmp_path / "g.arrow")} == {"L"}


def test_lines_that_cannot_be_cut_say_why(page_folder: Path):
    path = page_folder / "p000.xml"
    edit('<Baseline points="([^"]*)"', r'<Baseline points="\1 900,52"')(path)
    page = read_page(path)
    image = PageImage(open_image(page.image))
    with pytest.raises(LostLine, match="baseline reaches beyond the page"):
        extract_line(image, page.lines[0])
