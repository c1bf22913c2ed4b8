"""Drawing as a run: what looks at runs looks at it, and it is done once."""

from pathlib import Path

import pytest

from deepsynth.pages.generate import generate
from deepsynth.run.run import Run
from tests.pages.generate.conftest import ARTICLES, digests


@pytest.fixture
def drawn(command, tmp_path, monkeypatch):
    """Six articles in two parts, as a run on this machine; the command line that drew them."""
    monkeypatch.chdir(tmp_path)
    words = ["generate", ARTICLES, "--max-samples", "6", "--licence", "mit", "--mode", "tiny"]
    words += ["--on", "local", "--array", "2", "--quiet"]
    answer = command(*words)
    assert answer.code == 0, answer.err
    assert "train          6       0" in answer.out
    assert "dataset: datasets/articles" in answer.out
    return words


def test_every_verb_that_looks_at_runs_looks_at_it(command, drawn, tmp_path):
    (path,) = (tmp_path / "runs").iterdir()
    status = command("status", path)
    assert (status.code, "done" in status.out, "Drawing pages" in status.out) == (0, True, True)
    assert "articles: rows 0 to 3" in command("logs", path, "pages").out
    assert command("fetch", path).code == 0
    assert command("stop", path).code in (0, 2)
    other = [*drawn[:3], "4", *drawn[4:]]
    assert command(*other, "--output-dir", "fewer").code == 0
    compared = command("compare", *sorted((tmp_path / "runs").iterdir())).out
    assert "articles.documents" in compared
    assert "max_samples" in compared
    settings = Run(path).settings
    assert (settings["pages.mode"].value, settings["pages.mode"].origin) == ("tiny", "flag")
    assert settings["pages.size_px"].origin == "default"
    assert "draws pages" in command("predict", path, "--text", "x").err


def test_the_same_request_draws_nothing_again(command, drawn, tmp_path):
    (path,) = (tmp_path / "runs").iterdir()
    before = digests(tmp_path / "datasets")
    events = (path / "events.jsonl").read_text().count("step_started")
    assert command(*drawn).code == 0
    assert command("run", "--resume", path, "--quiet").code == 0
    assert (path / "events.jsonl").read_text().count("step_started") == events
    assert digests(tmp_path / "datasets") == before


def test_one_part_gives_the_bytes_of_one_machine(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["generate", ARTICLES, "--max-samples", "4", "--mode", "tiny", "--quiet"]
    assert command(*words, "--on", "local", "--revision-date", "2026-11").code == 0
    assert command(*words, "--output-dir", "here", "--revision-date", "2026-11").code == 0
    assert digests(tmp_path / "datasets") == digests(tmp_path / "here")


def test_a_font_goes_along(command, tmp_path, monkeypatch):
    from deepsynth.pages.render.fonts import find_fonts
    from deepsynth.pages.render.settings import PageSettings

    monkeypatch.chdir(tmp_path)
    serif = find_fonts()[0].path.with_name("DejaVuSerif.ttf")
    words = ["generate", ARTICLES, "--max-samples", "1", "--font", serif, "--mode", "tiny"]
    assert command(*words, "--on", "local", "--quiet").code == 0
    pages = PageSettings(mode="tiny", font=str(serif))
    generate(str(ARTICLES), output_dir=Path("here"), workers=1, max_samples=1, pages=pages)
    assert digests(tmp_path / "datasets") == digests(tmp_path / "here")
