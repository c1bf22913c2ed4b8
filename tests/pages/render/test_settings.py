import re
from typing import get_args

import pytest

from deepsynth.errors import DataError
from deepsynth.families import get_family
from deepsynth.pages.render.modes import MODES, ModeName
from deepsynth.pages.render.renderer import Renderer
from deepsynth.pages.render.settings import PageSettings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--mode=huge", "--mode: mode is 'huge', but should be 'tiny'"),
        ("--size-px=7", "--size-px: .* 8"),
        ("--size-px=65", "--size-px: .* 64"),
        ("--size-px=large", "--size-px: .* integer"),
        ("--profile=tiny", "--profile: .*'standard' or 'small'"),
        ("--degrade=fire", "--degrade: .*scan, or of skew"),
    ],
)
def test_wrong_settings_are_refused_with_what_to_choose_from(command, given, message):
    answer = command("generate", "texts.csv", given)
    assert answer.code == 2
    assert re.match(message, answer.err)


def test_a_setting_is_written_once(command):
    """What `PageSettings` says is a flag of both verbs and a setting of a job that draws."""
    for verb in ("generate", "preview"):
        text = " ".join(command(verb, "--help").out.replace("│", " ").split())
        for name, field in PageSettings.model_fields.items():
            assert f"--{name.replace('_', '-')} " in text
            assert field.description in text
    job = get_family("summarize").job_type.model_fields["pages"].annotation
    for name, field in PageSettings.model_fields.items():
        assert repr(job.model_fields[name]) == repr(field)
    assert set(get_args(ModeName)) == set(MODES)


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
        Renderer(PageSettings(font=str(path)))
    with pytest.raises(DataError, match="no such font file"):
        Renderer(PageSettings(font=str(tmp_path / "absent.ttf")))


def test_a_font_of_the_users_is_used_and_changes_the_fingerprint():
    from deepsynth.pages.render.fonts import find_fonts

    serif = find_fonts()[0].path.with_name("DejaVuSerif.ttf")
    settings = PageSettings(font=str(serif))
    assert settings.fingerprint() != PageSettings().fingerprint()
    pages = Renderer(settings).render("Un texte").pages
    assert pages != Renderer(PageSettings()).render("Un texte").pages


def test_the_fingerprint_follows_what_changes_pages_only():
    base = PageSettings().fingerprint()
    assert PageSettings(seed=5).fingerprint() == base
    assert PageSettings(size_px=14).fingerprint() != base
    degraded = PageSettings(degrade="blur").fingerprint()
    assert PageSettings(degrade="blur", seed=5).fingerprint() != degraded


def test_degradations_are_listed_or_all():
    assert PageSettings().defects == ()
    assert PageSettings(degrade="noise, skew").defects == ("skew", "noise")
    assert PageSettings(degrade="scan").defects == ("skew", "blur", "noise", "paper", "bleed")
