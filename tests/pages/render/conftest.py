import json
from pathlib import Path

import pytest

from deepsynth.pages.render.renderer import Renderer
from deepsynth.pages.render.settings import PageSettings

ARTICLES = Path(__file__).parents[3] / "examples" / "articles" / "articles.jsonl"


@pytest.fixture(scope="session")
def articles():
    return [json.loads(line) for line in ARTICLES.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def renderer():
    return Renderer(PageSettings())
