"""What the check says of pages and summaries that would spoil a training."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deepsynth.checks import Severity
from deepsynth.families.summarize.batches import IGNORED, PageCollator
from deepsynth.families.summarize.check import check_budget
from deepsynth.families.summarize.check_pages import (
    check_geometry,
    check_mask,
    check_pages,
    check_size,
    check_summaries,
)
from deepsynth.families.summarize.model import load_processor, page_view
from deepsynth.families.summarize.recommend import filled
from deepsynth.families.summarize.samples import PageSamples
from deepsynth.families.summarize.tiny_model import save_tiny
from deepsynth.training import TrainerConfig
from tests.support.pages import SUMMARIES, page, rows


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model") / "base", SUMMARIES)


@pytest.fixture(scope="module")
def collator(tiny: Path) -> PageCollator:
    processor = load_processor(str(tiny))
    return PageCollator(processor, page_view(processor, (192, 192)), "Summarise.", 20)


def codes(findings: list[Any]) -> dict[str, Severity]:
    return {finding.code: finding.severity for finding in findings}


def test_sound_pages_have_nothing_said_of_them() -> None:
    assert check_pages(PageSamples(rows(4), "train"), "train") == []


def test_damage_in_the_middle_of_a_picture_is_found_and_placed() -> None:
    broken = rows(4)
    data = bytearray(broken[2]["images"][1])
    data[len(data) // 2] ^= 0xFF
    broken[2]["images"][1] = bytes(data)
    broken[0]["images"] = [b"GIF89a, or so it says"]
    broken[3]["images"] = []
    found = check_pages(PageSamples(broken, "shards"), "train")
    assert codes(found) == {
        "page-unreadable": Severity.ERROR,
        "page-missing": Severity.ERROR,
    }
    places = {finding.code: finding.examples for finding in found}
    assert places["page-unreadable"] == ("shards, row 0", "shards, row 2")
    assert places["page-missing"] == ("shards, row 3",)


def test_pages_of_several_sizes_are_listed() -> None:
    mixed = rows(2)
    mixed[1]["images"] = [page("tall")]
    stream = io.BytesIO()
    Image.new("L", (300, 900), "white").save(stream, format="PNG")
    mixed[1]["images"] = [stream.getvalue()]
    (finding,) = check_pages(PageSamples(mixed, "train"), "train")
    assert finding.code == "page-sizes"
    assert "300x900 (1)" in finding.what


@pytest.mark.parametrize(
    ("side", "tiles", "code", "words"),
    [
        (192, False, "page-tokens", "145 tokens a page"),
        (1024, False, "page-geometry", "shrunk to one view of 192 px, 145 tokens"),
        (64, False, "page-geometry", "enlarged to one view of 192 px"),
        (1024, True, "page-geometry", "cut into tiles, 721 tokens"),
    ],
)
def test_geometry_names_the_tokens_of_a_page(
    side: int, tiles: bool, code: str, words: str, tiny: Path
) -> None:
    view = page_view(load_processor(str(tiny)), (side, side), tiles)
    (finding,) = check_geometry(view, 1.0)
    assert finding.code == code
    assert words in finding.what


def test_empty_and_endless_summaries(collator: PageCollator) -> None:
    given = rows(3)
    given[0]["summary"] = "  "
    given[1]["summary"] = "x y " * 25_000
    found, _ = check_summaries(PageSamples(given, "train"), "train", collator, 24)
    assert codes(found)["summary-empty"] is Severity.WARNING
    assert codes(found)["summary-truncated"] is Severity.WARNING
    truncated = next(f for f in found if f.code == "summary-truncated")
    assert truncated.examples == ("train, row 1",)
    for row in given:
        row["summary"] = ""
    found, _ = check_summaries(PageSamples(given, "train"), "train", collator, 24)
    assert codes(found)["summary-empty"] is Severity.ERROR


def test_the_mask_is_shown_and_a_wrong_one_is_an_error(collator: PageCollator) -> None:
    samples = PageSamples(rows(1), "train")
    (finding,), preview = check_mask(samples, collator)
    assert finding.severity is Severity.INFO
    assert preview["decoded"] == SUMMARIES[0]
    assert preview["learned_tokens"] == len(collator.target_ids(SUMMARIES[0]))

    class Shifted(PageCollator):
        def __call__(self, samples: Any) -> dict[str, Any]:
            batch = super().__call__(samples)
            batch["labels"][:, -1] = -100
            return batch

    wrong = Shifted(collator.processor, collator.view, "Summarise.", 20)
    (finding,), _ = check_mask(samples, wrong)
    assert finding.severity is Severity.ERROR


def test_the_budget_is_counted_without_loading_the_model(tiny: Path) -> None:
    config = filled(TrainerConfig(model_name=str(tiny), preset="balanced", batch_size=3), 20)
    found = check_budget(config, str(tiny), 145, 30)
    assert codes(found) == {"trainable": Severity.INFO, "memory": Severity.INFO}
    assert "attention 32,768" in found[0].what
    assert " 3: " in found[1].what


def test_tokens_that_make_a_character_together_are_shown_together(collator: PageCollator) -> None:
    given = rows(1)
    given[0]["summary"] = "日本 bâtir"
    _, preview = check_mask(PageSamples(given, "train"), collator)
    shown = [piece["text"] for piece in preview["pieces"]]
    assert "\ufffd" not in "".join(shown)
    assert "".join(shown[:-1]) == "日本 bâtir"
    assert preview["pieces"][-1]["end"]
    assert sum(piece["tokens"] for piece in preview["pieces"]) == preview["learned_tokens"]


class OneFurther(PageCollator):
    """The fault: the mask is right, the values of the labels are those one place further."""

    def __call__(self, samples: Any) -> dict[str, Any]:
        batch = super().__call__(samples)
        labels = batch["labels"]
        moved = labels.roll(-1, dims=1)
        batch["labels"] = labels.where((labels == IGNORED) | (moved == IGNORED), moved)
        return batch


def test_labels_of_the_wrong_value_are_seen_though_the_mask_is_right(
    collator: PageCollator,
) -> None:
    faulty = OneFurther(collator.processor, collator.view, collator.prompt, 20)
    found, _ = check_mask(PageSamples(rows(4), "train"), faulty)
    assert codes(found) == {"mask-wrong": Severity.ERROR}


@pytest.mark.parametrize(("same", "severity"), [(4, Severity.ERROR), (2, Severity.WARNING)])
def test_one_summary_under_many_documents_is_said(
    same: int, severity: Severity, collator: PageCollator
) -> None:
    alike = [r | {"summary": "the same"} if n < same else r for n, r in enumerate(rows(4))]
    found, _ = check_summaries(PageSamples(alike, "train"), "train", collator, 24)
    assert codes(found)["summary-alike"] == severity


def test_few_different_summaries_are_like_labels_and_said(collator: PageCollator) -> None:
    labels = [r | {"summary": f"label {n % 8}"} for n, r in enumerate(rows(4) * 10)]
    found, _ = check_summaries(PageSamples(labels, "train"), "train", collator, 24)
    assert codes(found)["summary-alike"] is Severity.WARNING


def test_summaries_longer_than_what_may_be_written_are_said(collator: PageCollator) -> None:
    """The fault: 24 tokens are generated where summaries are longer, and nobody says so."""
    samples = PageSamples(rows(4), "train")
    found, _ = check_summaries(samples, "test", collator, 3)
    finding = next(f for f in found if f.code == "summary-beyond-limit")
    assert finding.severity is Severity.WARNING
    assert finding.examples
    derived = collator.generation_limit(samples.summaries())
    found, _ = check_summaries(samples, "test", collator, derived)
    assert "summary-beyond-limit" not in codes(found)


def test_a_test_split_too_small_for_a_figure_is_said_before_training() -> None:
    (finding,) = check_size(PageSamples(rows(3), "test"), "test", 60)
    assert finding.code == "split-small"
    assert "0.14" in finding.fix
    assert check_size(PageSamples(rows(3), "train"), "train", 3) == []
    assert check_size(PageSamples(rows(8), "test"), "test", 60) == []
