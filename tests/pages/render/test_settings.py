import pytest

from deepsynth.errors import DataError, RequestError
from deepsynth.pages.render.renderer import Renderer
from deepsynth.pages.render.settings import PageSettings, parse_degrade


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "huge"}, r"'huge' is not a page mode\n.*base \(1024 px\)"),
        ({"size_px": 7}, "type of 7 px is outside 8 to 64 px"),
        ({"size_px": 65}, "outside"),
        ({"profile": "tiny"}, "'tiny' is not a profile\n.*standard, small"),
        ({"degrade": ("fire",)}, "'fire' is not a degradation\n.*skew"),
    ],
)
def test_wrong_settings_are_refused_with_what_to_choose_from(given, message):
    with pytest.raises(RequestError, match=f"(?s){message}"):
        PageSettings(**given)


def test_small_type_is_warned_about():
    assert PageSettings(size_px=10).findings() == []
    (finding,) = PageSettings(size_px=9).findings()
    assert finding.code == "page-small-type"
    assert Renderer(PageSettings(size_px=8)).render("lisible").pages


@pytest.mark.parametrize("content", [b"", b"not a font", b"\x00\x01\x00\x00" + b"\xff" * 500])
def test_a_font_that_is_not_one_is_refused(tmp_path, content):
    path = tmp_path / "font.ttf"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"font\.ttf"):
        Renderer(PageSettings(font=path))
    with pytest.raises(DataError, match="no such font file"):
        Renderer(PageSettings(font=tmp_path / "absent.ttf"))


def test_a_font_of_the_users_is_used_and_changes_the_fingerprint():
    from deepsynth.pages.render.fonts import find_fonts

    serif = find_fonts()[0].path.with_name("DejaVuSerif.ttf")
    settings = PageSettings(font=serif)
    assert settings.fingerprint() != PageSettings().fingerprint()
    pages = Renderer(settings).render("Un texte").pages
    assert pages != Renderer(PageSettings()).render("Un texte").pages


def test_the_fingerprint_follows_what_changes_pages_only():
    base = PageSettings().fingerprint()
    assert PageSettings(seed=5).fingerprint() == base
    assert PageSettings(size_px=14).fingerprint() != base
    degraded = PageSettings(degrade=("blur",)).fingerprint()
    assert PageSettings(degrade=("blur",), seed=5).fingerprint() != degraded


def test_degradations_are_listed_or_all():
    assert parse_degrade(None) == ()
    assert parse_degrade("noise, skew") == ("skew", "noise")
    assert parse_degrade("scan") == ("skew", "blur", "noise", "paper", "bleed")
