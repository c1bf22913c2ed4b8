"""Pages: escaped, whole in one file, without the folders of this machine."""

from __future__ import annotations

import io
from pathlib import Path

import jinja2
import pytest
from PIL import Image

from deepsynth.job.job import Setting
from deepsynth.report.page import data_url, data_url_of, render, shown_settings, templates


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "page.html.j2"
    path.write_text(
        '{% extends "base.html.j2" %}{% block main %}<h1>{{ name }}</h1>'
        '{% include "details.html.j2" %}{% endblock %}'
    )
    return path


def test_what_a_page_shows_is_escaped(template: Path) -> None:
    evil = "<script>alert(1)</script>"
    settings = {"data.path": Setting(evil, "file", "job.yaml:2")}
    page = render(template, name=evil, findings=[], settings=settings)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 3


def test_a_page_asks_for_nothing_else(template: Path) -> None:
    page = render(template, name="x", findings=[], settings={})
    assert "src=" not in page
    assert "href=" not in page
    assert "--paper" in page


def test_a_name_the_template_is_not_given_is_an_error(template: Path) -> None:
    with pytest.raises(jinja2.UndefinedError, match="findings"):
        render(template, name="x", settings={})


def test_text_that_is_no_html_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "s.sh.j2").write_text('echo "${#list[@]}" {{ word }}\n')
    text = templates(tmp_path, html=False).get_template("s.sh.j2").render(word="a<b")
    assert text == 'echo "${#list[@]}" a<b\n'


def test_a_picture_stands_in_the_page(tmp_path: Path) -> None:
    image = Image.new("L", (3, 2))
    assert data_url_of(image).startswith("data:image/png;base64,")
    stream = io.BytesIO()
    image.save(stream, "JPEG")
    (tmp_path / "p.jpg").write_bytes(stream.getvalue())
    assert data_url(tmp_path / "p.jpg").startswith("data:image/jpeg;base64,")


def test_settings_are_shown_without_the_folders_of_this_machine() -> None:
    shown = shown_settings({"a": Setting("/home/me/t.csv", "file"), "b": Setting(3, "preset")})
    assert shown["a"].value == "t.csv"
    assert shown["b"].value == 3
