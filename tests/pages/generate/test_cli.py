import json
import os
import pty
import subprocess
import sys

import pytest

from deepsynth.cli import build_app
from deepsynth.errors import RequestError
from tests.pages.generate.conftest import ARTICLES, environment


@pytest.fixture
def app():
    return build_app()


def test_generate_says_what_was_done_and_where_it_went(app, tmp_path, capsys):
    home = str(tmp_path / "out")
    app(["generate", str(ARTICLES), "--max-samples", "5", "--output-dir", home, "--workers", "1"])
    output = capsys.readouterr()
    assert "train          5       0" in output.out
    assert f"dataset: {tmp_path / 'out' / 'articles'}" in output.out
    assert "articles: 5 of 5 rows" in output.err
    again = ["generate", str(ARTICLES), "--max-samples", "5", "--output-dir", home, "--quiet"]
    app(again)
    output = capsys.readouterr()
    assert "5 rows were there already" in output.out
    assert output.err == ""


def test_left_out_rows_chunks_and_estimates_are_told(app, tmp_path, capsys):
    path = tmp_path / "texts.jsonl"
    rows = [{"text": "un texte", "summary": "s"}, {"text": "", "summary": "s"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    home = ["--output-dir", str(tmp_path / "out"), "--workers", "1", "-q"]
    app(["generate", str(path), "--dry-run", *home])
    output = capsys.readouterr().out
    assert "texts: 2 documents, about 1 pages" in output
    assert "1 of them not usable; nothing was written" in output
    app(["generate", str(path), "--end-index", "2", "--chunk-id", "a", "--size-px", "9", *home])
    output = capsys.readouterr().out
    assert "left out 1: empty text" in output
    assert "warning: type of 9 px is hard to read" in output
    assert "deepsynth generate texts --assemble" in output
    app(["generate", "texts", "--assemble", *home])
    assert "dataset: " in capsys.readouterr().out


def test_the_list_names_every_known_source(app, tmp_path, capsys, monkeypatch):
    for name in ("HF_TOKEN", "HF_USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    app(["generate", "--list", "--output-dir", str(tmp_path)])
    output = capsys.readouterr()
    assert [line.split()[0] for line in output.out.splitlines()[1:]] == [
        "mlsum_fr",
        "mlsum_es",
        "mlsum_de",
        "cnn_dailymail",
        "xsum",
        "billsum",
    ]
    assert "missing" in output.out
    assert "set HF_TOKEN" in output.err


def test_public_is_refused_where_the_licence_says_so(app, tmp_path):
    with pytest.raises(RequestError, match="non-commercial"):
        app(["generate", "mlsum_fr", "--public", "--output-dir", str(tmp_path)])
    with pytest.raises(RequestError, match="--list"):
        app(["generate"])


def test_preview_says_where_to_look(app, tmp_path, capsys):
    app(["preview", str(ARTICLES), "--output-dir", str(tmp_path), "--count", "2"])
    output = capsys.readouterr().out
    assert "2 documents, 2 pages" in output
    assert str(tmp_path / "articles.html") in output


def test_a_terminal_gets_a_bar(tmp_path):
    script = (
        "from deepsynth.cli import main\n"
        f"main(['generate', {str(ARTICLES)!r}, '--workers=1', '--output-dir={tmp_path}'])"
    )
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=slave,
        stderr=slave,
        env={**environment(), "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(slave)
    seen = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
    os.close(master)
    assert process.wait() == 0
    assert "━".encode() in seen
    assert b"52 of 52 rows" in seen


def test_the_commands_are_light_to_import():
    script = (
        "import sys, deepsynth.verbs.pages\n"
        "heavy = {'numba', 'pyarrow', 'PIL', 'datasets', 'numpy', 'huggingface_hub', 'pyvips'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
