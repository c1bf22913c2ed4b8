import random

import pytest

from deepsynth.pages.render.fonts import find_fonts, install_hint
from deepsynth.pages.render.renderer import BadDocument, Renderer
from deepsynth.pages.render.settings import PageSettings
from tests.pages.render.images import ink_columns, ink_rows, opened

FILES = {font.path.name for font in find_fonts()}


def needs(file, package):
    return pytest.mark.skipif(file not in FILES, reason=f"needs the font package {package}")


SAMPLES = [
    pytest.param("هذا نص عربي للتجربة", id="arabic"),
    pytest.param("זה טקסט לבדיקה", id="hebrew"),
    pytest.param(
        "यह हिन्दी का पाठ है",
        id="devanagari",
        marks=needs("NotoSansDevanagari-Regular.ttf", "fonts-noto-core"),
    ),
    pytest.param(
        "นี่คือข้อความภาษาไทย",
        id="thai",
        marks=needs("NotoSansThai-Regular.ttf", "fonts-noto-core"),
    ),
    pytest.param(
        "这是中文文本", id="chinese", marks=needs("NotoSansCJK-Regular.ttc", "fonts-noto-cjk")
    ),
    pytest.param(
        "한국어 텍스트", id="korean", marks=needs("NotoSansCJK-Regular.ttc", "fonts-noto-cjk")
    ),
]


@pytest.mark.parametrize("text", SAMPLES)
def test_a_script_is_drawn_with_nothing_missing(renderer, text):
    document = renderer.render(text)
    assert document.shaped
    assert not document.missing
    assert opened(document.pages[0]).shape == (1024, 1024)
    assert renderer.render(text).pages == document.pages
    # The same characters as boxes would be another picture.
    rows = ink_rows(document.pages[0])
    assert 6 <= len(rows) <= 40


@pytest.mark.parametrize(
    "text", ["Grec : Ελληνικά.", "Русский текст.", "Tiếng Việt", "Čeština 1 € ½"]
)
def test_latin_greek_and_cyrillic_take_the_fast_path(renderer, text):
    assert not renderer.render(text).shaped


def test_right_to_left_text_is_at_the_right(renderer):
    arabic, english = renderer.render("نص عربي"), renderer.render("English")
    assert ink_columns(arabic.pages[0]).min() > 800
    assert ink_columns(english.pages[0]).max() < 200
    mixed = renderer.render("نص عربي\nEnglish")
    columns = ink_columns(mixed.pages[0])
    assert columns.min() < 50
    assert columns.max() > 950


def test_shaped_documents_are_paginated_between_lines(renderer):
    text = "\n".join(f"سطر رقم {number} من النص" for number in range(150))
    pages = renderer.render(text).pages
    assert len(pages) > 2
    for page in pages:
        rows = ink_rows(page)
        assert rows.min() >= 32
        assert rows.max() < 992
    tops = [int(ink_rows(page).min()) for page in pages]
    assert max(tops) - min(tops) < 8


@needs("NotoColorEmoji.ttf", "fonts-noto-color-emoji")
def test_emoji_have_the_size_of_text(renderer):
    rows = ink_rows(renderer.render("fête 🎉 🇫🇷").pages[0])
    assert len(rows) < 30


def test_a_rare_missing_character_is_counted_and_many_are_refused(renderer):
    document = renderer.render("mot " * 200 + "𓀀")
    assert document.missing == {"𓀀": 1}
    assert document.shaped
    with pytest.raises(BadDocument, match="no font covers"):
        renderer.render("mot 𓀀𓀀𓀀")


def test_the_hint_names_the_package_a_script_needs():
    assert "apt install fonts-noto-core" in install_hint("ก")
    assert "brew install --cask font-noto-sans-thai" in install_hint("ก")
    assert "apt install fonts-noto-cjk" in install_hint("中")
    assert "DEEPSYNTH_FONTS" in install_hint("𓀀")


def test_only_our_fonts_are_offered(renderer, monkeypatch):
    import os
    from pathlib import Path

    renderer.render("نص")
    folder = Path(os.environ["FONTCONFIG_FILE"]).parent
    offered = {path.name.split("-", 1)[1] for path in folder.glob("*.[to]t[fc]")}
    assert offered == FILES


def test_ampersands_and_tags_are_text_to_pango(renderer):
    assert renderer.render("<b>نص</b> & more <i").pages
    assert renderer.render("# عنوان <span>\n- عنصر & آخر").pages


def test_a_very_long_line_without_spaces_ends(renderer):
    document = renderer.render("ن" * 30_000)
    assert 1 < len(document.pages) <= 64


def test_degraded_pages_are_seeded_and_differ_by_document():

    one, same, other = (Renderer(PageSettings(degrade="scan", seed=seed)) for seed in (1, 1, 2))
    text = "Une page de texte. " * 100
    pages = one.render(text, "a/train/0").pages
    assert pages[0].startswith(b"\xff\xd8")
    assert opened(pages[0]).shape == (1024, 1024)
    assert same.render(text, "a/train/0").pages == pages
    assert one.render(text, "a/train/1").pages != pages
    assert other.render(text, "a/train/0").pages != pages


@pytest.mark.parametrize("name", ["skew", "blur", "noise", "paper", "bleed"])
def test_every_degradation_changes_the_page_and_leaves_it_readable(name):
    text = "Une page de texte. " * 100
    clean = opened(Renderer(PageSettings()).render(text).pages[0])
    page = opened(Renderer(PageSettings(degrade=name)).render(text).pages[0])
    changed = abs(clean.astype(int) - page.astype(int))
    assert changed.max() > 20
    assert 0.5 < changed.mean() < 60


def test_whatever_characters_come_a_document_is_drawn_or_refused():
    renderer = Renderer(PageSettings(mode="tiny", max_missing=1.0, max_pages=4))
    generator = random.Random(0)
    ranges = [
        range(0x300),
        range(0x300, 0x370),
        range(0x590, 0x780),
        range(0x900, 0xE80),
        range(0x1F00, 0x3000),
        range(0x3000, 0xA000),
        range(0xD800, 0xE000),
        range(0xF900, 0x10000),
        range(0x1F000, 0x1FB00),
        range(0x110000),
        (0x20, 0x0A, 0x23, 0x2D, 0x2A, 0x3C, 0x26),
        (0x200C, 0x200D, 0xFE0F),
        (0x202E, 0x2066, 0x2069),
    ]
    seen = {True: 0, False: 0, "refused": 0}
    for _ in range(300):
        chosen = generator.sample(ranges, generator.randint(1, 4))
        length = generator.choice((1, 5, 40, 400))
        text = "".join(chr(generator.choice(generator.choice(chosen))) for _ in range(length))
        try:
            document = renderer.render(text)
        except BadDocument:
            seen["refused"] += 1
            continue
        document.text.encode()
        assert all(opened(page).shape == (512, 512) for page in document.pages)
        seen[document.shaped] += 1
    assert min(seen.values()) > 10
