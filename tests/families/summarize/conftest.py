from __future__ import annotations

from pathlib import Path

import pytest

from deepsynth.families.summarize.tiny_model import save_tiny
from tests.support.pages import SUMMARIES, save_llava


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny DeepSeek-OCR-2 with random weights."""
    return save_tiny(tmp_path_factory.mktemp("tiny") / "base", SUMMARIES, seed=0)


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second architecture: a LLaVA of CLIP and Llama, without pad token or experts."""
    return save_llava(tmp_path_factory.mktemp("llava") / "base")
