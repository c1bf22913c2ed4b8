"""A repaired copy is clean, says every change, and leaves the original as it was."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from deepsynth import durable
from deepsynth.errors import RequestError
from deepsynth.families.htr.ground_truth.folder_checks import check_ground_truth
from deepsynth.families.htr.ground_truth.pages import read_page
from deepsynth.families.htr.ground_truth.repair import REPORT, repair
from tests.families.htr.test_check import edit


def test_everything_mendable_is_mended_and_reported(page_folder: Path, tmp_path: Path):
    edit("<Unicode>", "<Unicode> e\u0301te\u0301\u00ad  ")(page_folder / "p000.xml")
    edit(r'<Baseline points="(\S+) (\S+)"', r'<Baseline points="\2 \1"')(page_folder / "p001.xml")
    edit(r"p002\.png", "P002.PNG")(page_folder / "p002.xml")
    edit('id="l2"', 'id="l1"')(page_folder / "p003.xml")
    edit("<Unicode>[^<]*", "<Unicode>")(page_folder / "p004.xml")
    edit('(id="l0"[^>]*>\\s*<Coords points=)"([^"]*)"', r'\1"\2 -3,40"')(page_folder / "p005.xml")
    (page_folder / ".DS_Store").write_bytes(b"\0")
    before = durable.digest(page_folder)
    report = repair(page_folder, tmp_path / "mended")
    assert durable.digest(page_folder) == before
    result = check_ground_truth(tmp_path / "mended")
    codes = {finding.code for finding in result.findings}
    assert codes <= {"alphabet", "size", "text-rare-characters"}
    assert result.lines == 47
    changes = [json.loads(line) for line in (tmp_path / "mended" / REPORT).read_text().splitlines()]
    assert {(c["file"], c["line"]) for c in changes} == {
        ("p000.xml", "l0"),
        ("p001.xml", "l0"),
        ("p002.xml", ""),
        ("p003.xml", "l1"),
        ("p004.xml", "l0"),
        ("p005.xml", "l0"),
    }
    assert len(changes) == sum(report.counts().values())
    assert report.left_out == {".DS_Store": "hidden file"}
    text = read_page(tmp_path / "mended" / "p000.xml").lines[0].text
    assert text.startswith("été ")
    assert unicodedata.is_normalized("NFC", text)


def test_alto_units_become_pixels(alto_folder: Path, tmp_path: Path):
    whole = read_page(alto_folder / "p000.xml")
    path = alto_folder / "p000.xml"
    text = path.read_text(encoding="utf-8")

    def tenfold(match) -> str:
        numbers = (str(int(n) * 10) for n in match.group(2).split())
        return f'{match.group(1)}="{" ".join(numbers)}"'

    import re

    names = "HPOS|VPOS|WIDTH|HEIGHT|BASELINE|POINTS"
    text = re.sub(rf'({names})="([\d ]+)"', tenfold, text).replace("pixel", "mm10")
    path.write_text(text, encoding="utf-8")
    repair(alto_folder, tmp_path / "mended")
    mended = read_page(tmp_path / "mended" / "p000.xml")
    assert mended.unit == "pixel"
    assert [line.polygon for line in mended.lines] == [line.polygon for line in whole.lines]
    assert [line.baseline for line in mended.lines] == [line.baseline for line in whole.lines]


def test_an_alto_file_without_image_name_gets_one(alto_folder: Path, tmp_path: Path):
    edit("<sourceImageInformation>.*</sourceImageInformation>", "")(alto_folder / "p000.xml")
    repair(alto_folder, tmp_path / "mended")
    assert read_page(tmp_path / "mended" / "p000.xml").image_name == "p000.png"


def test_untouched_files_are_copied_byte_for_byte(page_folder: Path, tmp_path: Path):
    repair(page_folder, tmp_path / "mended")
    before, after = durable.digest(page_folder), durable.digest(tmp_path / "mended")
    assert {name: after[name] for name in before} == before


def test_unusable_lines_go_only_when_asked(page_folder: Path, tmp_path: Path):
    edit("<Baseline[^>]*>", "")(page_folder / "p000.xml")
    repair(page_folder, tmp_path / "kept")
    repair(page_folder, tmp_path / "dropped", drop_unusable=True)
    assert len(read_page(tmp_path / "kept" / "p000.xml").lines) == 4
    assert len(read_page(tmp_path / "dropped" / "p000.xml").lines) == 3


def test_nothing_is_overwritten(page_folder: Path, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(RequestError, match="not empty"):
        repair(page_folder, tmp_path / "mine")
    with pytest.raises(RequestError, match="inside"):
        repair(page_folder, page_folder / "mended")
