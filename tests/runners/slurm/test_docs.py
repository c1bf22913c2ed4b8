"""The how-to: its site is one, its commands are few, and both languages say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deepsynth.runners.slurm.site import load_site

DOCS = Path(__file__).parents[3] / "docs" / "howto"
PAGES = [DOCS / "slurm-centre.md", DOCS / "slurm-centre.fr.md"]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_site_of_the_page_is_one(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = blocks(page, "yaml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "deepsynth").mkdir()
    (tmp_path / "deepsynth" / "sites.yaml").write_text(text)
    site = load_site("hpc")
    assert (site.partition, site.gres, site.time) == ("publicgpu", "gpu:1", "8:00:00")


def test_ten_commands_at_the_most_and_the_same_in_both_languages() -> None:
    commands = [re.findall(r"^\$ (.*)", "".join(blocks(page, "console")), re.M) for page in PAGES]
    assert commands[0] == commands[1]
    assert len(commands[0]) <= 10
