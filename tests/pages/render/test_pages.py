import hashlib
import random
import shutil
import subprocess
import zlib

import numpy as np
import pytest
from PIL import Image

from deepsynth.pages.render import layout
from deepsynth.pages.render.fonts import find_fonts
from deepsynth.pages.render.modes import MODES
from deepsynth.pages.render.renderer import BadDocument, Renderer
from deepsynth.pages.render.settings import PageSettings
from deepsynth.pages.render.typeset import Typesetter
from deepsynth.pages.render.words import DrawnWords
from tests.pages.render.images import ink_columns, ink_rows, opened


@pytest.mark.parametrize("profile", ["standard", "small"])
@pytest.mark.parametrize("mode", MODES)
def test_pages_are_the_square_of_the_mode_with_clean_margins(mode, profile, articles):
    settings = PageSettings(mode=mode, profile=profile)
    text = "\n\n".join(article["text"] for article in articles[:8])
    pages = Renderer(settings).render(text).pages
    assert len(pages) > 1
    for page in pages:
        grey = opened(page)
        side = MODES[mode].page_px
        assert grey.shape == (side, side)
        inner = grey[settings.margin : -settings.margin, settings.margin : -settings.margin]
        assert (grey < 255).sum() == (inner < 255).sum() > 0


def test_small_profile_is_the_same_page_in_sixteen_greys(articles):
    text = articles[0]["text"]
    grey = opened(Renderer(PageSettings(profile="small")).render(text).pages[0])
    assert set(np.unique(grey)) <= set(range(0, 256, 17))
    assert len(np.unique(grey)) == 16


def test_no_word_is_lost_or_doubled_over_pages(articles):
    setter = Typesetter(PageSettings(mode="tiny"), find_fonts())
    text = "\n\n".join(article["text"] for article in articles)
    items = setter._drawn.read(text, setter._line)
    state = np.zeros(3, np.int64)
    found = []
    while True:
        args = (setter._drawn.table, setter._kinds, setter._placed, 512, 496, 16, 16, 10)
        count = layout.lay_out_page(items, state, *args)
        if not count:
            break
        placed = setter._placed[:count]
        found += placed[:, layout.WORD].tolist()
        assert (np.diff(placed[:, layout.Y]) >= 0).all()
    assert found == items[items >= 0].tolist()
    assert len(found) > 5000
    assert len(setter.pages(text)[0]) > 10


def test_words_never_touch(renderer):
    # The bar leaves no ink beyond itself: as many separate columns of ink as there are bars.
    page = renderer.render(" ".join("|" * 40)).pages[0]
    columns = ink_columns(page)
    assert (np.diff(columns) > 1).sum() == 39


def test_bytes_do_not_depend_on_what_was_drawn_before(articles):
    settings = PageSettings()
    texts = [article["text"] for article in articles[:10]]
    fresh = [Renderer(settings).render(text).pages for text in texts]
    kept = Renderer(settings)
    for number in random.Random(0).choices(range(10), k=40):
        assert kept.render(texts[number]).pages == fresh[number]
    kept._fast._drawn._forget()
    assert kept.render(texts[3]).pages == fresh[3]


def test_words_by_pairs_are_the_words_harfbuzz_shapes(articles):
    settings = PageSettings()
    words = list(dict.fromkeys(" ".join(a["text"] + a["summary"] for a in articles).split()))
    words += ["AVATAR", "Tolède", "VALYJ'", "œuvre", "efficace", "fjord", "Ⅷ", "naïveté", "Ελλάδα"]
    pairs, shaped = (DrawnWords(settings, find_fonts(), 900) for _ in range(2))
    shaped._learns = False
    for word in words:
        pairs.read(word)
    pairs._forget()  # the letters and pairs stay: now most words are drawn from them
    drawn_by_harfbuzz = 0
    for word in words:
        (one, _), (other, _) = pairs.read(word).tolist(), shaped.read(word).tolist()
        measures = pairs.table[one].tolist()
        assert measures == shaped.table[other].tolist(), word
        size = (measures[2] - measures[1]) * (measures[4] - measures[3])
        kept = [bytes(d.pool[d.where[n] :][:size]) for d, n in ((pairs, one), (shaped, other))]
        assert kept[0] == kept[1], word
        drawn_by_harfbuzz += (0, word) in pairs._numbers
    assert len(words) > 2000
    assert drawn_by_harfbuzz < len(words) / 10


def test_tables_grow_within_one_document(monkeypatch):
    monkeypatch.setattr("deepsynth.pages.render.words._KEPT", 8)
    small = Renderer(PageSettings())
    text = " ".join(f"mot{i}" for i in range(500))
    small.render(text)
    small._fast._drawn._forget()
    small._fast._drawn.pool = np.full(64, 255, np.uint8)
    pages = small.render(text).pages
    monkeypatch.undo()
    assert pages == Renderer(PageSettings()).render(text).pages


def test_a_word_wider_than_the_page_is_broken(renderer):
    pages = renderer.render("début " + "x" * 2000 + " fin").pages
    rows, columns = ink_rows(pages[0]), ink_columns(pages[0])
    assert len(pages) == 1
    assert len(rows) > 150
    assert columns.max() > 850


def test_blank_lines_make_a_gap_and_many_make_one(renderer):
    def height(text):
        return int(ink_rows(renderer.render(text).pages[0]).max())

    assert height("un\n\ndeux") == height("un\n\n\n\n\ndeux") == height("un\ndeux") + 10


def test_headings_and_lists_are_drawn_as_such(renderer):
    def first_ink(text):
        return int(ink_columns(renderer.render(text).pages[0]).min())

    plain, heading = (ink_rows(renderer.render(t).pages[0]) for t in ("Titre", "# Titre"))
    assert len(heading) > 1.4 * len(plain)
    assert renderer.render("#Titre").pages != renderer.render("# Titre").pages
    nested = renderer.render("- a\n  - b").pages[0]
    assert first_ink("- a") < first_ink("  - a")
    assert len(nested) > 0
    # The second line of an item hangs under its text, not under its bullet.
    item = opened(renderer.render("- " + "mot " * 200).pages[0])
    assert (item[60:70, 32:50] == 255).all()


def test_a_no_break_space_holds(renderer):
    filler = "x" * 8
    lines = [renderer.render(f"{filler} " * n + "10\xa0000") for n in range(1, 40)]
    loose = [renderer.render(f"{filler} " * n + "10 000") for n in range(1, 40)]
    assert any(a.pages != b.pages for a, b in zip(lines, loose, strict=True))


def test_long_documents_are_cut_and_say_so():
    settings = PageSettings(mode="tiny", max_pages=3)
    document = Renderer(settings).render("mot " * 5000)
    assert len(document.pages) == 3
    assert document.cut
    assert not Renderer(settings).render("mot " * 50).cut
    shaped = Renderer(settings).render("كلمة " * 5000)
    assert (len(shaped.pages), shaped.cut, shaped.shaped) == (3, True, True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "nothing to draw"),
        (" \n\t\r\n ", "nothing to draw"),
        ("\x00\x01\x02", "nothing to draw"),
        ("\u200b" * 100_000, "nothing to draw"),
        ("a" * 1_000_001, "longer than 1,000,000 characters"),
        ("𓀀𓀁𓀂 𓀃", "no font covers 100%"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_reason(renderer, text, reason):
    with pytest.raises(BadDocument, match=reason):
        renderer.render(text)


def test_what_must_not_be_drawn_is_removed_and_counted(renderer):
    document = renderer.render("a\x00b \ud800c \u202edcba\u202c e" + "\u0301" * 5000)
    assert document.text == "ab c dcba e" + "\u0301" * 4
    assert document.removed == {
        "control character": 1,
        "lone surrogate": 1,
        "direction override": 2,
        "piled-up mark": 4996,
    }


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="needs tesseract-ocr with fra")
@pytest.mark.parametrize("profile", ["standard", "small"])
def test_pages_can_be_read(articles, profile, tmp_path):
    text = next(a["text"] for a in articles if a["lang"] == "fr")
    page = Renderer(PageSettings(profile=profile)).render(text).pages[0]
    Image.fromarray(opened(page)).save(tmp_path / "page.png")
    command = ["tesseract", tmp_path / "page.png", "-", "-l", "fra", "--psm", "6"]
    read = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    from rapidfuzz.distance import Levenshtein

    truth = " ".join(text.split()).replace("’", "'")
    read = read.replace("’", "'")
    assert Levenshtein.distance(" ".join(read.split()), truth) / len(truth) < 0.01


def test_lines_and_spaces_are_those_of_python():
    from deepsynth.pages.render.layout import END_OF_LINE, GAP

    drawn = DrawnWords(PageSettings(), find_fonts(), 900)
    spaces = [chr(c) for c in range(0x3001) if chr(c).isspace() and chr(c) not in "\xa0\u202f"]
    generator = random.Random(0)
    for _ in range(300):
        text = "".join(generator.choice(["a", "bé", "c", *spaces, "\r\n"]) for _ in range(30))
        expected, blank = [], False
        for line in text.splitlines():
            words = line.split()
            if words:
                expected += [GAP] * blank + words + [END_OF_LINE]
            blank = not words
        items = drawn.read(text).tolist()
        assert len(items) == len(expected)
        for item, word in zip(items, expected, strict=True):
            assert item == (drawn.read(word)[0] if isinstance(word, str) else word)


@pytest.mark.parametrize("profile", ["standard", "small"])
def test_the_checksum_added_up_from_words_is_that_of_the_page(articles, profile):
    renderer = Renderer(PageSettings(profile=profile, mode="small"))
    texts = [article["text"] for article in articles]
    for text in [*texts, "# Ågotnes\n\n- (fjord) |_|\n\n" + "x" * 3000, "مرحبا", *texts[:3]]:
        for page in renderer.render(text).pages:
            start = page.index(b"IDAT")
            size = int.from_bytes(page[start - 4 : start], "big")
            rows = zlib.decompress(page[start + 4 : start + 4 + size])  # refuses a wrong one
            assert len(rows) == 640 * (640 * renderer.settings.bits // 8 + 1)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "0c25de9ab0726f6e"),
        ({"mode": "tiny", "profile": "small", "size_px": 12}, "bd13bae39e418d54"),
    ],
)
def test_the_pages_are_those_of_the_layout_version(settings, expected):
    """Other pixels for the same text need another `LAYOUT_VERSION`: datasets are resumed by it."""
    text = "Le 3 mars 1848, la ville s'éveille ; Ελλάδα, Привет, naïve œuvre — 12 %.\n\nFin."
    pages = Renderer(PageSettings(**settings)).render(text, "digest").pages
    pixels = b"".join(opened(page).tobytes() for page in pages)
    assert hashlib.sha256(pixels).hexdigest()[:16] == expected
