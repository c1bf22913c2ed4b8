"""Faults planted in a training: each is refused, or said, by what a user runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer

from deepsynth.errors import JobError, ModelError, StepFailed
from deepsynth.families.summarize import learn, session, trainer
from deepsynth.families.summarize.batches import IGNORED, PageCollator, batch_loss
from deepsynth.families.summarize.job import LoraSettings, MoeSettings
from deepsynth.families.summarize.lora import adapter_values
from deepsynth.families.summarize.moe import routers
from deepsynth.families.summarize.samples import PageSamples
from deepsynth.families.summarize.trainer import VlmTrainer, make_trainer
from deepsynth.training import create_trainer
from deepsynth.training.fitting import require_best
from tests.families.summarize.test_training import settings
from tests.support.pages import rows

Patch = pytest.MonkeyPatch


def relabelled(patch: Patch, change: Callable[[dict[str, Any], Any], Any]) -> None:
    """Change the labels of each batch on their way to the model."""
    sound = PageCollator.__call__

    def faulty(self: PageCollator, samples: Any) -> dict[str, Any]:
        batch = sound(self, samples)
        batch["labels"] = change(batch, self.processor.tokenizer.eos_token_id)
        return batch

    patch.setattr(PageCollator, "__call__", faulty)


def prompt_in_the_loss(batch: dict[str, Any], end: int) -> Any:
    return batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)


def a_row_ignored(batch: dict[str, Any], end: int) -> Any:
    return torch.cat([batch["labels"][:-1], torch.full_like(batch["labels"][-1:], IGNORED)])


def no_end(batch: dict[str, Any], end: int) -> Any:
    return batch["labels"].masked_fill(batch["labels"] == end, IGNORED)


def one_further(batch: dict[str, Any], end: int) -> Any:
    labels, moved = batch["labels"], batch["labels"].roll(1, dims=1)
    return labels.where((labels == IGNORED) | (moved == IGNORED), moved)


@pytest.mark.parametrize(
    "fault",
    [
        no_end,
        one_further,
        pytest.param(prompt_in_the_loss, marks=pytest.mark.thorough),
        pytest.param(a_row_ignored, marks=pytest.mark.thorough),
    ],
)
def test_labels_that_are_not_the_summary_are_refused(
    fault: Any, tiny: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    relabelled(monkeypatch, fault)
    with pytest.raises(StepFailed, match="is given") as caught:
        create_trainer(settings(tiny, tmp_path)).train(rows(2))
    assert str(caught.value.where).startswith("dataset, row ")


def scheduled(patch: Patch, rate: Callable[[int], float]) -> None:
    def schedule(self: Any, num_training_steps: int, optimizer: Any = None) -> Any:
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, rate)
        return self.lr_scheduler

    patch.setattr(Trainer, "create_scheduler", schedule)


def test_a_rate_of_zero_is_refused(tiny: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    scheduled(monkeypatch, lambda update: 0.0)
    with pytest.raises(StepFailed, match="no trainable weight changed"):
        create_trainer(settings(tiny, tmp_path)).train(rows(2))


def test_a_rate_that_is_zero_after_the_warm_up_is_said(
    tiny: Path, tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    scheduled(monkeypatch, lambda update: float(update < 2))
    create_trainer(settings(tiny, tmp_path)).train(rows(2))
    assert "learning rate was zero at" in capsys.readouterr().out


def test_second_matrices_that_are_frozen_are_refused(
    tiny: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    sound = session.place_lora

    def faulty(model: Any, lora: LoraSettings) -> Any:
        adapted = sound(model, lora)
        for name, parameter in adapted.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and "lora_B" not in name)
        return adapted

    monkeypatch.setattr(session, "place_lora", faulty)
    with pytest.raises(StepFailed, match="did not move"):
        create_trainer(settings(tiny, tmp_path)).train(rows(2))


@pytest.mark.thorough
def test_an_optimiser_that_holds_copies_is_refused(
    tiny: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    def copies(self: Any, *args: Any) -> Any:
        held = [p.detach().clone().requires_grad_() for p in self.model.parameters()]
        self.optimizer = torch.optim.AdamW(held, lr=1e-2)
        return self.optimizer

    monkeypatch.setattr(Trainer, "create_optimizer", copies)
    with pytest.raises(StepFailed, match="no trainable weight changed"):
        create_trainer(settings(tiny, tmp_path)).train(rows(2))


def test_a_router_that_gets_no_gradient_is_refused(
    tiny: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    """Weight decay still shortens it, which is no learning."""

    def masked(module: Any, given: Any, output: Any) -> Any:
        logits, weights, indices = output
        return logits, weights.detach() + 0 * weights, indices

    def faulty(model: Any, moe: MoeSettings) -> list[Any]:
        return [module.register_forward_hook(masked) for _, module in routers(model)]

    monkeypatch.setattr(session, "regularise", faulty)
    more = {"preset": "router_focused", "lora": LoraSettings(dropout=0.0)}
    with pytest.raises(StepFailed, match="unchanged: router"):
        create_trainer(settings(tiny, tmp_path, **more)).train(rows(2))


def test_a_load_balancing_loss_of_the_wrong_sign_is_refused(
    tiny: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    sound = trainer.load_balancing_loss
    monkeypatch.setattr(trainer, "load_balancing_loss", lambda *given: -sound(*given))
    more = {"preset": "router_focused", "moe": MoeSettings(load_balancing=100.0)}
    with pytest.raises(StepFailed, match="negative"):
        create_trainer(settings(tiny, tmp_path, **more)).train(rows(2))


def test_rows_that_are_dropped_are_missed(tiny: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    sound = trainer.trainer_arguments
    monkeypatch.setattr(
        trainer,
        "trainer_arguments",
        lambda *given, **named: sound(*given, **named, dataloader_drop_last=True),
    )
    with pytest.raises(StepFailed, match="another one than planned"):
        create_trainer(settings(tiny, tmp_path)).train(rows(3))


def test_a_training_that_makes_the_model_worse_says_so(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = {"epochs": 3.0, "evaluations": 1}
    first = create_trainer(settings(tiny, tmp_path / "one", **short)).train(rows(2), rows(2))
    second = settings(first.model, tmp_path / "two", learning_rate=1.0, **short)
    capsys.readouterr()
    create_trainer(second).train(rows(2), rows(2))
    assert "made the model worse: loss" in capsys.readouterr().out


def test_weights_that_are_not_written_are_missed_before_training(
    tiny: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    """The fault: the router trains whole and is not among `modules_to_save`."""
    sound = session.place_lora

    def faulty(model: Any, lora: LoraSettings) -> Any:
        adapted = sound(model, lora.model_copy(update={"router": "frozen"}))
        for name, parameter in adapted.named_parameters():
            if name.endswith("mlp.gate.weight"):
                parameter.requires_grad_(True)
        return adapted

    monkeypatch.setattr(session, "place_lora", faulty)
    monkeypatch.setattr(VlmTrainer, "train", lambda *given, **named: pytest.fail("it trained"))
    with pytest.raises(ModelError, match="not written with the adapter"):
        create_trainer(settings(tiny, tmp_path, preset="router_focused")).train(rows(2))


@pytest.mark.parametrize("fault", ["last", "worst"])
def test_a_checkpoint_that_is_not_the_best_is_refused(fault: str) -> None:
    """Losses of a real training: it falls, then it is overfitted."""
    history = [{"step": n, "eval_loss": v} for n, v in ((1, 9.1), (2, 4.0), (3, 5.5))]
    history[1:1] = [{"step": 1, "loss": 8.0}]
    require_best(history, 2, "eval_loss", greater=False)
    chosen = {"last": 3, "worst": 1}[fault]
    with pytest.raises(StepFailed, match="after update 2 is better"):
        require_best(history, chosen, "eval_loss", greater=False)


@pytest.mark.thorough
def test_the_trainer_is_held_to_its_curve(tiny: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    sound = Trainer.train

    def faulty(self: Any, *given: Any, **named: Any) -> Any:
        found = sound(self, *given, **named)
        self.state.best_global_step = self.state.global_step - 2
        return found

    monkeypatch.setattr(Trainer, "train", faulty)
    monkeypatch.setattr("deepsynth.training.fitting.is_complete", lambda folder: True)
    with pytest.raises(StepFailed, match="is better"):
        create_trainer(settings(tiny, tmp_path)).train(rows(2), rows(2))


def built(tiny: Path, folder: Path, count: int = 4, **more: Any) -> VlmTrainer:
    """A trainer as every training makes it."""
    samples = PageSamples(rows(count), "rows")
    opened = session.open_session(settings(tiny, folder, **more), samples, folder / "unused")
    return make_trainer(opened, samples, None, folder / "out")


def test_the_real_loss_and_optimiser_weigh_tokens_and_leave_norms_alone(
    tiny: Path, tmp_path: Path
) -> None:
    """Code-only faults: a mean of means over batches; weight decay on norms; a fixed order."""
    mine = built(tiny, tmp_path, preset="none", epochs=2.0, gradient_accumulation=2, batch_size=1)
    mine.model.eval()
    batches = [mine.collator([mine.samples[n]]) for n in (0, 3)]
    tokens = [int((batch["labels"] != IGNORED).sum()) for batch in batches]
    assert tokens[0] != tokens[1]
    mine.current_gradient_accumulation_steps = 2
    given = {"num_items_in_batch": torch.tensor(sum(tokens))}
    with torch.no_grad():
        summed = sum(float(mine.compute_loss(mine.model, dict(b), **given)) for b in batches)
        plain = [float(batch_loss(mine.model, batch, mine.collator.processor)) for batch in batches]
    wanted = sum(n * loss for n, loss in zip(tokens, plain, strict=True)) / sum(tokens)
    assert summed == pytest.approx(wanted, rel=1e-5)
    assert summed != pytest.approx(sum(plain) / 2, rel=1e-5)

    mine.create_optimizer()
    names = {id(p): name for name, p in mine.model.named_parameters()}
    decayed = [
        names[id(p)]
        for group in mine.optimizer.param_groups  # pyright: ignore[reportOptionalMemberAccess]
        for p in group["params"]
        if group["weight_decay"] > 0
    ]
    assert decayed
    assert not [name for name in decayed if "norm" in name or name.endswith("bias")]

    loader = mine.get_train_dataloader()
    orders: list[list[int]] = []
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        orders.append([int(n) for batch in loader for n in batch["sample_index"]])
    assert sorted(orders[0]) == sorted(orders[1]) == [0, 1, 2, 3]
    assert orders[0] != orders[1]


def test_load_balancing_adds_to_the_loss_and_the_router_gets_its_gradient(
    tiny: Path, tmp_path: Path
) -> None:
    """Code-only faults: the sign of the balance; a router whose gradient is always masked."""
    regular = MoeSettings(gate_dropout=0.5, expert_dropout=0.0, load_balancing=1.0)
    mine = built(tiny, tmp_path, preset="router_focused", moe=regular)
    mine.current_gradient_accumulation_steps = 1
    mine.model.train()
    batch = mine.collator([mine.samples[n] for n in range(4)])
    torch.manual_seed(1)
    with_balance = mine.compute_loss(mine.model, dict(batch))
    mine.config = mine.config.model_copy(
        update={"moe": regular.model_copy(update={"load_balancing": 0.0})}
    )
    torch.manual_seed(1)
    alone = mine.compute_loss(mine.model, dict(batch))
    assert float((with_balance - alone).detach()) > 0.5
    alone.backward()
    gates = [p for n, p in mine.model.named_parameters() if "gate" in n and "modules_to_save" in n]
    assert gates
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in gates)


def test_going_on_keeps_rank_and_dropout_and_refuses_others(tiny: Path, tmp_path: Path) -> None:
    more = {"lora": LoraSettings(dropout=0.3), "epochs": 3.0}
    first = create_trainer(settings(tiny, tmp_path / "one", **more)).train(rows(2))
    for asked, place in (
        ({"preset": "standard"}, "train.preset"),
        ({"preset": "auto", "lora": LoraSettings(rank=8)}, "lora.rank"),
    ):
        with pytest.raises(JobError, match="goes on from has") as caught:
            create_trainer(settings(first.model, tmp_path / "two", **asked)).train(rows(2))
        assert caught.value.where == place
    samples = PageSamples(rows(2), "rows")
    config = settings(first.model, tmp_path / "three", preset="auto")
    opened = session.open_session(config, samples, tmp_path / "unused")
    assert (opened.config.lora.rank, opened.config.preset) == (32, "balanced")
    rates = {m.p for m in opened.model.modules() if isinstance(m, torch.nn.Dropout) and m.p}
    assert rates == {0.3}
    before = adapter_values(opened.model)
    kept = {name: value.clone() for name, value in before.items()}
    learn._leave_zero(opened.model, seed=0)
    after = adapter_values(opened.model)
    assert all(torch.equal(after[name], value) for name, value in kept.items())
