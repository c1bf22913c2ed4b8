"""Every oddity of real ground truth, planted in a clean copy, is found; a clean copy is clean."""

from __future__ import annotations

import json
import re
import struct
import time
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile, copytree

import pytest
from PIL import Image

from deepsynth.checks import Severity
from deepsynth.cli import run_command
from deepsynth.errors import DataError
from deepsynth.families.htr.check import doubled_types
from deepsynth.families.htr.ground_truth.folder_checks import check_ground_truth
from deepsynth.families.htr.ground_truth.page_checks import check_file
from deepsynth.families.htr.ground_truth.pages import read_page, scan_folder
from deepsynth.families.htr.ground_truth.repair import repair
from deepsynth.families.htr.kraken.model_file import read_model
from tests.families.htr.conftest import REAL

Plant = Callable[[Path], None]


def edit(pattern: str, replacement: str, count: int = 1) -> Plant:
    """Change the XML of a page by a regular expression that must match."""

    def plant(path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        changed, made = re.subn(pattern, replacement, text, count=count, flags=re.DOTALL)
        assert made, f"{pattern} is not in the page"
        path.write_text(changed, encoding="utf-8")

    return plant


def write(content: bytes) -> Plant:
    return lambda path: path.write_bytes(content) and None


def on_image(change: Callable[[Path], None]) -> Plant:
    return lambda path: change(path.with_suffix(".png"))


def truncate(image: Path) -> None:
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])


def rotate(image: Path) -> None:
    with Image.open(image) as opened:
        opened.load()
        exif = opened.getexif()
        exif[274] = 6
        opened.save(image, exif=exif)


def shrink(image: Path) -> None:
    with Image.open(image) as opened:
        opened.resize((opened.width // 2, opened.height // 2)).save(image)


BOMB = b"""<?xml version="1.0"?><!DOCTYPE alto [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#"><Description>&c;</Description></alto>"""
EXTERNAL = b"""<?xml version="1.0"?><!DOCTYPE alto [<!ENTITY x SYSTEM "file:///etc/hostname">]>
<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#"><Description>&x;</Description></alto>"""
METS = b'<mets xmlns="http://www.loc.gov/METS/"><fileSec/></mets>'
TEI = b'<TEI xmlns="http://www.tei-c.org/ns/1.0"><text/></TEI>'

# code, what to plant, the line id the finding must name ("" when it is about the whole file)
PAGE_PLANTS: list[tuple[str, Plant, str]] = [
    ("xml-empty", write(b""), ""),
    ("xml-malformed", edit("</PcGts>", ""), ""),
    ("xml-entities", write(BOMB), ""),
    ("xml-entities", write(EXTERNAL), ""),
    ("xml-not-ground-truth", write(METS), ""),
    ("xml-not-ground-truth", write(TEI), ""),
    ("image-not-named", edit(' imageFilename="[^"]*"', ""), ""),
    ("image-missing", on_image(lambda image: image.unlink()), ""),
    ("image-outside-folder", edit('imageFilename="', 'imageFilename="../'), ""),
    ("image-name-case", edit(r"p003\.png", "P003.png"), ""),
    ("image-name-extension", edit(r"p003\.png", "p003.jpg"), ""),
    ("image-unreadable", on_image(lambda image: image.write_bytes(b"no image") and None), ""),
    ("image-truncated", on_image(truncate), ""),
    ("image-rotated", on_image(rotate), ""),
    ("image-size-mismatch", on_image(shrink), ""),
    ("page-no-lines", edit("<TextLine.*</TextLine>", ""), ""),
    ("id-duplicate", edit('id="l2"', 'id="l1"'), "l1"),
    ("id-missing", edit(' id="l1"', ""), ""),
    ("text-empty", edit("<Unicode>[^<]*", "<Unicode>"), "l0"),
    ("text-whitespace", edit("<Unicode>", "<Unicode> "), "l0"),
    ("text-whitespace", edit("<Unicode>[^<]*", "<Unicode>deux  mots"), "l0"),
    ("text-whitespace", edit("<Unicode>[^<]*", "<Unicode>deux\u00a0mots"), "l0"),
    ("text-control", edit("<Unicode>", "<Unicode>\u00ad"), "l0 U+00AD"),
    ("text-private-use", edit("<Unicode>", "<Unicode>\ue000"), "l0 U+E000"),
    (
        "text-alternatives",
        edit("(<TextEquiv>.*?</TextEquiv>)", r"\1<TextEquiv><Unicode>x</Unicode></TextEquiv>"),
        "l0",
    ),
    ("baseline-missing", edit("<Baseline[^>]*>", ""), "l0"),
    ("baseline-point", edit('<Baseline points="[^"]*"', '<Baseline points="50,60"'), "l0"),
    ("baseline-short", edit('<Baseline points="[^"]*"', '<Baseline points="50,60 53,60"'), "l0"),
    (
        "baseline-reversed",
        edit(r'<Baseline points="(\S+) (\S+)"', r'<Baseline points="\2 \1"'),
        "l0",
    ),
    (
        "baseline-outside-page",
        edit('<Baseline points="([^"]*)"', r'<Baseline points="\1 900,52"'),
        "l0",
    ),
    (
        "baseline-outside-polygon",
        edit('<Baseline points="[^"]*"', '<Baseline points="40,500 300,500"'),
        "l0",
    ),
    ("polygon-missing", edit('(<TextLine id="l0"[^>]*>\\s*)<Coords[^>]*>', r"\1"), "l0"),
    (
        "polygon-degenerate",
        edit('(id="l0"[^>]*>\\s*<Coords points=)"[^"]*"', r'\1"30,30 400,30"'),
        "l0",
    ),
    (
        "polygon-outside-page",
        edit('(id="l0"[^>]*>\\s*<Coords points=)"([^"]*)"', r'\1"\2 -3,40"'),
        "l0",
    ),
]
ALTO_PLANTS: list[tuple[str, Plant, str]] = [
    ("xml-malformed", edit("</alto>", ""), ""),
    ("image-not-named", edit("<fileName>[^<]*</fileName>", ""), ""),
    ("unit-not-pixel", edit("pixel", "mm10"), ""),
    ("tag-undeclared", edit('TAGREFS="[^"]*"', 'TAGREFS="LT9"'), ""),
    ("page-no-lines", edit("<TextLine.*?</TextLine>", "", count=0), ""),
    (
        "id-duplicate",
        edit('(<TextLine ID="([^"]*)".*?<TextLine ID=")[^"]*', r"\1\2"),
        "l0",
    ),
    ("text-empty", edit('CONTENT="[^"]*"', 'CONTENT=""'), "l0"),
    ("text-unspaced", edit("(<String [^>]*/>|<String.*?</String>)", r"\1\1"), "l0"),
    ("baseline-missing", edit(' BASELINE="[^"]*"', ""), "l0"),
    ("baseline-missing", edit(' BASELINE="[^"]*"', ' BASELINE="52"'), "l0"),
    ("baseline-point", edit(' BASELINE="[^"]*"', ' BASELINE="50 60"'), "l0"),
    ("baseline-short", edit(' BASELINE="[^"]*"', ' BASELINE="50 60 53 60"'), "l0"),
    (
        "baseline-reversed",
        edit(r' BASELINE="(\S+ \S+)[^"]*? (\S+ \S+)"', r' BASELINE="\2 \1"'),
        "l0",
    ),
    ("polygon-missing", edit(r"(<TextLine[^>]*>\s*)<Shape>.*?</Shape>", r"\1"), "l0"),
]


def assert_found(folder: Path, code: str, plant: Plant, line: str) -> None:
    path = folder / "p003.xml"
    plant(path)
    findings = [f for f in check_file(path).findings if f.code == code]
    assert findings, f"{code} is not found: {[f.code for f in check_file(path).findings]}"
    (finding,) = findings
    assert Path(finding.where.rpartition(":")[0] or finding.where).stem == "p003" or (
        Path(finding.where).stem == "p003"
    )
    assert finding.fix, "a finding says what to do"
    assert not line or line in finding.examples


@pytest.mark.parametrize(("code", "plant", "line"), PAGE_PLANTS)
def test_oddity_in_page_xml_is_found(page_folder: Path, code: str, plant: Plant, line: str):
    assert_found(page_folder, code, plant, line)


@pytest.mark.parametrize(("code", "plant", "line"), ALTO_PLANTS)
def test_oddity_in_alto_is_found(alto_folder: Path, code: str, plant: Plant, line: str):
    assert_found(alto_folder, code, plant, line)


@pytest.mark.parametrize("form", ["page_folder", "alto_folder"])
def test_clean_pages_have_no_finding_but_their_size(form: str, request: pytest.FixtureRequest):
    result = check_ground_truth(request.getfixturevalue(form), rare=1)
    assert [finding.code for finding in result.findings] == ["alphabet", "size"]
    (alphabet, _) = result.findings
    told = dict(shown.split(" ") for row in alphabet.examples for shown in row.split("   "))
    assert int(told["e"]) == result.alphabet["e"]
    assert sum(map(int, told.values())) == result.characters
    assert (len(result.pages), result.lines) == (12, 48)
    assert result.characters == sum(result.alphabet.values()) > 500


def test_findings_are_the_same_wherever_the_folder_lies(page_folder: Path, tmp_path: Path):
    """A pod or a cluster gets the folder under another name and must come to the same files."""
    for number, (_, plant, _) in enumerate(PAGE_PLANTS[:11]):
        name = page_folder / f"p{number:03d}.xml"
        plant(name) if number not in (9, 10) else None
    on_image(lambda image: image.write_bytes(b"no image") and None)(page_folder / "p009.xml")
    on_image(truncate)(page_folder / "p010.xml")
    copytree(page_folder, tmp_path / "elsewhere")
    here, there = (
        check_ground_truth(folder, codec="abc").findings
        for folder in (page_folder, tmp_path / "elsewhere")
    )
    assert here == there
    assert {finding.where.partition(":")[0] for finding in here} >= {
        "data.ground_truth",
        *(f"p{number:03d}.xml" for number in range(9)),
        *(f"p{number:03d}.png" for number in (9, 10)),
    }
    assert str(tmp_path) not in str(here)


def test_both_formats_say_the_same_lines(page_folder: Path, alto_folder: Path):
    pages = check_ground_truth(page_folder).pages
    altos = check_ground_truth(alto_folder).pages
    for page, alto in zip(pages, altos, strict=True):
        for one, other in zip(page.lines, alto.lines, strict=True):
            assert (one.text, one.baseline, one.polygon, one.tags) == (
                other.text,
                other.baseline,
                other.polygon,
                other.tags,
            )


@pytest.mark.parametrize("version", ["2", "3", "4"])
def test_alto_versions_are_read(alto_folder: Path, version: str):
    edit("ns-v4#", f"ns-v{version}#")(alto_folder / "p000.xml")
    check = check_file(alto_folder / "p000.xml")
    assert check.page
    assert check.page.version == version
    assert len(check.page.lines) == 4


@pytest.mark.parametrize("version", ["2013-07-15", "2016-07-15", "2017-07-15", "2018-07-15"])
def test_page_versions_are_read(page_folder: Path, version: str):
    edit("2019-07-15", version)(page_folder / "p000.xml")
    check = check_file(page_folder / "p000.xml")
    assert check.page
    assert check.page.version == version
    assert len(check.page.lines) == 4


def test_entities_are_not_expanded(page_folder: Path):
    secret = page_folder / "secret.txt"
    secret.write_text("KEEP OUT", encoding="utf-8")
    (page_folder / "p000.xml").write_bytes(
        EXTERNAL.replace(b"file:///etc/hostname", secret.as_uri().encode())
    )
    check = check_file(page_folder / "p000.xml")
    assert check.page is None
    assert "KEEP OUT" not in str(check.findings)


HUGE = "9" * 200_000


@pytest.mark.parametrize(
    ("form", "plant"),
    [
        ("alto", edit(' WIDTH="[0-9]*"', ' WIDTH="1e999"', count=0)),
        ("alto", edit(' BASELINE="[^"]*"', ' BASELINE="1e999 5 -1e999 6"')),
        ("alto", edit(' BASELINE="[^"]*"', f' BASELINE="{HUGE}"')),
        ("page", edit(' imageWidth="[^"]*"', ' imageWidth="-1e999"')),
        ("page", edit(' imageWidth="[^"]*"', ' imageWidth="nan"')),
        ("page", edit(r"p003\.png", "9" * 5000)),
        ("page", edit('<Baseline points="[^"]*"', f'<Baseline points="{HUGE},1 2,{HUGE}"')),
        ("page", edit('<Baseline points="[^"]*"', f'<Baseline points="{HUGE}"')),
        ("page", edit('custom="[^"]*"', f'custom="{"structure {type" * 20_000}"')),
    ],
)
def test_absurd_values_are_read_at_once_and_end_in_findings(
    page_folder: Path, alto_folder: Path, form: str, plant: Plant
):
    path = {"page": page_folder, "alto": alto_folder}[form] / "p003.xml"
    plant(path)
    started = time.process_time()
    assert check_file(path).page
    repair(path.parent, path.parent.parent / "mended")
    assert time.process_time() - started < 5


@pytest.mark.parametrize("form", ["page", "alto"])
def test_a_file_in_another_encoding_than_it_says_is_named(
    page_folder: Path, alto_folder: Path, form: str
):
    path = {"page": page_folder, "alto": alto_folder}[form] / "p003.xml"
    text = path.read_text(encoding="utf-8").replace("<PcGts", "<!-- été --><PcGts")
    path.write_bytes(text.replace("<alto", "<!-- été --><alto").encode("latin-1"))
    (finding,) = check_file(path).findings
    assert finding.code == "xml-malformed"
    assert "encoding" in finding.fix


def test_an_export_of_transkribus_is_read_as_it_is(page_folder: Path):
    """Its images lie beside the folder `page` that holds the XML files."""
    for image in page_folder.glob("*.png"):
        image.rename(page_folder.parent / image.name)
    result = check_ground_truth(page_folder.parent, rare=1)
    assert [finding.code for finding in result.findings] == ["alphabet", "size"]
    assert len(result.usable) == 12


def test_hidden_files_are_named_and_ignored(page_folder: Path):
    (page_folder / "._p000.xml").write_bytes(b"\0\5\x16\7")
    (page_folder / ".DS_Store").write_bytes(b"\0")
    result = check_ground_truth(page_folder)
    assert len(result.pages) == 12
    (finding,) = [f for f in result.findings if f.code == "hidden-files"]
    assert set(finding.examples) == {"._p000.xml", ".DS_Store"}


def test_few_pages_offer_two_ways_on(page_folder: Path):
    for number in range(3, 12):
        (page_folder / f"p{number:03d}.xml").unlink()
    (finding,) = [f for f in check_ground_truth(page_folder).findings if f.code == "few-pages"]
    assert "split.test=0" in finding.fix
    assert "split.folds=3" in finding.fix


def test_what_is_wrong_with_the_data_is_said_before_what_cannot_be_split(
    alto_folder: Path, capsys: pytest.CaptureFixture[str]
):
    """A handful of pages is refused, and so is what made it a handful."""
    for number in range(6, 12):
        (alto_folder / f"p{number:03d}.xml").unlink()
    for number in range(3):
        write(TEI)(alto_folder / f"p{number:03d}.xml")
    edit("<fileName>[^<]*</fileName>", "")(alto_folder / "p003.xml")
    edit(r' BASELINE="(\S+ \S+)[^"]*? (\S+ \S+)"', r' BASELINE="\2 \1"')(alto_folder / "p004.xml")
    job = alto_folder.parent / "job.yaml"
    job.write_text("family: htr\ndata: {ground_truth: alto}\n", encoding="utf-8")
    assert run_command(["check", str(job), "--json"]) == 1
    found = [(each["code"], each["severity"]) for each in json.loads(capsys.readouterr().out)]
    errors = [code for code, severity in found if severity == "error"]
    assert errors == ["baseline-reversed", "image-not-named", "split"]
    assert found.count(("xml-not-ground-truth", "warning")) == 3
    job.write_text("family: htr\ndata: {ground_truth: alto, allow_findings: [split]}\n")
    assert run_command(["check", str(job), "--json"]) == 1
    assert "split" in capsys.readouterr().out


def test_one_thing_wrong_with_an_image_hides_no_other(page_folder: Path):
    path = page_folder / "p003.xml"
    edit(r"p003\.png", "p003.JPG")(path)
    on_image(shrink)(path)
    on_image(truncate)(path)
    assert {finding.code for finding in check_file(path).findings} >= {
        "image-name-extension",
        "image-size-mismatch",
        "image-truncated",
    }


def test_a_page_in_two_splits_is_an_error_and_twice_in_one_a_warning(page_folder: Path):
    (page_folder / "p001.png").write_bytes((page_folder / "p000.png").read_bytes())

    def duplicates(first: str, second: str) -> Severity:
        shares: dict[str, list[str]] = {"train": [], "test": []}
        shares[first].append("p000.xml")
        shares[second].append("p001.xml")
        findings = check_ground_truth(page_folder, share_out=lambda *_: shares).findings
        (finding,) = [f for f in findings if f.code == "page-duplicate"]
        return finding.severity

    assert duplicates("train", "test") is Severity.ERROR
    assert duplicates("train", "train") is Severity.WARNING


def test_rare_mixed_and_lacking_characters_are_shown(page_folder: Path):
    edit("<Unicode>", "<Unicode>œ")(page_folder / "p000.xml")
    edit("<Unicode>", "<Unicode>e\u0301te\u0301 ")(page_folder / "p001.xml")
    edit("<Unicode>", "<Unicode>été ")(page_folder / "p002.xml")
    result = check_ground_truth(page_folder, codec="abcdefghijklmnopqrstuvwxyz éàèêûâî")
    by_code = {finding.code: finding for finding in result.findings}
    assert any("U+0153" in shown for shown in by_code["text-rare-characters"].examples)
    assert by_code["text-normal-form"].examples == ("p001.xml l0",)
    assert "two spellings" in by_code["text-normal-form"].what
    assert any("U+0153" in shown for shown in by_code["model-lacks-characters"].examples)


def test_a_huge_scan_is_refused_without_decoding(page_folder: Path):
    Image.new("1", (30_000, 6_500)).save(page_folder / "p003.png")
    assert_found(page_folder, "image-too-large", lambda path: None, "")


def test_folders_without_ground_truth_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match="no such folder"):
        check_ground_truth(tmp_path / "nowhere")
    (tmp_path / "scan.png").write_bytes(b"")
    with pytest.raises(DataError, match="no XML file") as refused:
        check_ground_truth(tmp_path)
    assert "Export" in str(refused.value)


@pytest.mark.skipif(not REAL, reason="DEEPSYNTH_GROUND_TRUTH names no real ground truth")
@pytest.mark.parametrize("folder", REAL)
def test_real_clean_sets_have_no_error(folder: Path):
    result = check_ground_truth(folder)
    assert result.lines
    assert [f for f in result.findings if f.severity is Severity.ERROR] == []


@pytest.mark.skipif(not REAL, reason="DEEPSYNTH_GROUND_TRUTH names no real ground truth")
@pytest.mark.parametrize("folder", REAL)
def test_oddities_planted_in_real_ground_truth_are_found(folder: Path, tmp_path: Path):
    first = next(path for path in scan_folder(folder).documents if read_page(path).lines)
    page = read_page(first)
    for number, (code, plant, _) in enumerate(ALTO_PLANTS):
        copy = tmp_path / str(number)
        copy.mkdir()
        for path in (first, page.image):
            copyfile(path, copy / path.name)
        plant(copy / first.name)
        codes = {finding.code for finding in check_ground_truth(copy).findings}
        assert code in codes, (number, codes)


def kraken_like_segmenter(path: Path) -> Path:
    """A model file that says it finds lines of type `default`."""
    classes = {"aux": {}, "baselines": {"default": 2}, "regions": {"text": 3}}
    about = {"_tasks": ["segmentation"], "vgsl": "[1,1200,0,3 Cr3,3,8]", "class_mapping": classes}
    meta = {"m": about}
    head = json.dumps({"__metadata__": {"kraken_meta": json.dumps(meta)}}).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head)
    return path


def test_a_base_models_types_beside_others_are_told_with_the_mapping(
    page_folder: Path, tmp_path: Path
):
    known = read_model(kraken_like_segmenter(tmp_path / "base.safetensors")).line_types
    assert known == {"default"}
    pages = [read_page(path) for path in sorted(page_folder.glob("*.xml"))[:2]]
    used = {line.tags[0] for page in pages for line in page.lines}
    (found,) = doubled_types(known, pages)
    assert found.code == "types-doubled"
    assert "found twice" in found.what
    (strange,) = used
    assert f"segmentation.line_classes={{{strange}: default}}" in found.fix
    assert doubled_types(used, pages) == []
    assert doubled_types({"default", strange}, pages[:0]) == []


def test_a_zone_without_lines_may_have_an_unknown_tag(alto_folder: Path):
    path = alto_folder / "p000.xml"
    zone = '<TextBlock ID="margin" HPOS="1" VPOS="1" WIDTH="9" HEIGHT="9" TAGREFS="BT99"/>'
    edit("</PrintSpace>", f"{zone}</PrintSpace>")(path)
    assert "tag-undeclared" not in {finding.code for finding in check_file(path).findings}


def test_a_polygon_that_cuts_letters_off_is_told(page_folder: Path):
    line = read_page(page_folder / "p000.xml").lines[0]
    (left, top), (right, _) = line.baseline[0], line.baseline[-1]
    flat = f"{left},{top - 7} {right},{top - 7} {right},{top + 12} {left},{top + 12}"
    edit('(<TextLine.*?<Coords points=")[^"]*', rf"\g<1>{flat}")(page_folder / "p000.xml")
    found = {f.code: f for f in check_file(page_folder / "p000.xml").findings}
    assert found["polygon-cuts-letters"].examples == (line.id,)
    assert found.keys() == {"polygon-cuts-letters"}
