"""What makes training fast changes neither the loss nor a single gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from deepsynth.families.summarize.batches import (
    IGNORED,
    PageCollator,
    batch_loss,
    bytes_fit,
    generate,
)
from deepsynth.families.summarize.features import (
    FeatureStore,
    encode_pages,
    page_encoder,
    release_encoder,
)
from deepsynth.families.summarize.job import LoraSettings
from deepsynth.families.summarize.lora import place_lora
from deepsynth.families.summarize.model import load_model, load_processor, page_view
from deepsynth.families.summarize.samples import PageSamples
from deepsynth.families.summarize.session import _recompute_activations
from deepsynth.training import get_lora_preset
from tests.support.pages import page, rows


class Bench:
    """A model with moved adapters, and its batches by each way."""

    def __init__(self, folder: Path, preset: str, cache: Path, side: int = 192) -> None:
        torch.manual_seed(1)
        self.model = place_lora(
            load_model(str(folder)), LoraSettings(dropout=0.0).filled(get_lora_preset(preset))
        ).eval()
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(0, 0.02)
        self.processor = load_processor(str(folder))
        self.samples = PageSamples(rows(4), "rows")
        self.view = page_view(self.processor, (side, side))
        self.plain = self.collator("pixels")
        hidden = self.model.config.get_text_config().hidden_size
        self.store = FeatureStore(cache, ["test", preset], hidden, torch.float32)
        encode_pages(
            self.samples,
            self.store,
            page_encoder(self.model, self.plain, torch.enable_grad),
            batch_size=2,
        )

    def collator(self, pages: Any) -> PageCollator:
        store = self.store if pages == "features" else None
        return PageCollator(self.processor, self.view, "Summarise.", pages=pages, features=store)

    def measure(
        self, pages: Any, target_only: bool, batches: tuple[tuple[int, ...], ...] = ((0, 1, 2, 3),)
    ) -> tuple[float, dict[str, torch.Tensor]]:
        """Loss and every gradient of all four samples, each token counting the same."""
        self.model.zero_grad()
        total = sum(len(self.plain.target_ids(text)) for text in self.samples.summaries())
        loss = torch.tensor(0.0)
        for indices in batches:
            batch = self.collator(pages)([self.samples[i] for i in indices])
            share = int((batch["labels"] != IGNORED).sum()) / total
            part = batch_loss(self.model, batch, self.processor, target_only) * share
            part.backward()
            loss += part.detach()
        gradients = {
            name: weight.grad.clone()
            for name, weight in self.model.named_parameters()
            if weight.grad is not None
        }
        return float(loss), gradients


@pytest.fixture(scope="module")
def bench(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tiny, "high_capacity_moe", tmp_path_factory.mktemp("cache"))


def assert_same(
    found: tuple[float, dict[str, torch.Tensor]], wanted: tuple[float, dict[str, torch.Tensor]]
) -> None:
    assert found[0] == pytest.approx(wanted[0], rel=1e-6)
    assert found[1].keys() == wanted[1].keys()
    assert wanted[1]
    for name, gradient in wanted[1].items():
        torch.testing.assert_close(found[1][name], gradient, atol=2e-5, rtol=2e-4, msg=name)


@pytest.mark.parametrize("pages", ["pixels", "bytes", "features"])
@pytest.mark.parametrize("target_only", [False, True])
def test_each_lever_gives_the_plain_loss_and_gradients(
    bench: Bench, pages: str, target_only: bool
) -> None:
    assert_same(bench.measure(pages, target_only), bench.measure("pixels", False))


@pytest.mark.parametrize("experts", ["eager", "grouped_mm", "batched_mm"])
def test_each_way_to_compute_experts_gives_the_same(bench: Bench, experts: str) -> None:
    core = bench.model.get_base_model()
    wanted = bench.measure("features", True)
    core.set_experts_implementation(experts)
    try:
        assert_same(bench.measure("features", True), wanted)
    finally:
        core.set_experts_implementation("grouped_mm")


def test_recomputed_activations_give_the_same(tiny: Path, tmp_path: Path) -> None:
    bench = Bench(tiny, "balanced", tmp_path)
    wanted = bench.measure("features", True)
    bench.model.train()
    _recompute_activations(bench.model.get_base_model())
    assert_same(bench.measure("features", True), wanted)


@pytest.mark.parametrize("architecture", ["tiny", "llava"])
def test_a_model_without_its_encoder_trains_the_same_on_cached_features(
    architecture: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bench = Bench(request.getfixturevalue(architecture), "balanced", tmp_path)
    wanted = bench.measure("features", True)
    core = bench.model.get_base_model()
    before = sum(p.numel() for p in core.parameters())
    assert release_encoder(core) > 0
    assert sum(p.numel() for p in core.parameters()) < before
    assert_same(bench.measure("features", True), wanted)


def test_how_samples_are_batched_and_padded_changes_no_gradient(bench: Bench) -> None:
    """What grouping by length does: other batches, less padding, the same sum."""
    one_by_one = ((0,), (1,), (2,), (3,))
    assert_same(bench.measure("features", True, one_by_one), bench.measure("features", True))
    assert_same(bench.measure("features", True, ((2, 0), (3, 1))), bench.measure("pixels", False))


def test_summaries_from_cached_features_are_those_from_pixels(bench: Bench) -> None:
    indices = [0, 1, 2, 3]
    texts = [
        generate(bench.model, bench.collator(way), bench.samples, indices, max_new_tokens=6)
        for way in ("pixels", "bytes", "features")
    ]
    assert texts[0] == texts[1] == texts[2]


def test_a_second_architecture_takes_the_same_levers(llava: Path, tmp_path: Path) -> None:
    bench = Bench(llava, "balanced", tmp_path)
    wanted = bench.measure("pixels", False)
    assert_same(bench.measure("features", True), wanted)
    assert_same(bench.measure("pixels", True), wanted)


def test_pages_are_sent_as_bytes_only_where_that_is_exact(tiny: Path, llava: Path) -> None:
    samples = PageSamples(
        [
            {"images": [page("grey")], "summary": "a"},
            {"images": [page("colour", mode="RGB")], "summary": "a"},
            {"images": [page("large", side=400)], "summary": "a"},
        ],
        "rows",
    )
    processor = load_processor(str(tiny))
    fits = [
        bytes_fit(processor, page_view(processor, s.pages[0].size), s.pages[0])
        for s in (samples[0], samples[1], samples[2])
    ]
    assert fits == [True, False, False]
    other = load_processor(str(llava))
    assert not bytes_fit(other, page_view(other, (192, 192)), samples[0].pages[0])
