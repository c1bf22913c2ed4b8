from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from deepsynth.errors import DeepSynthError
from deepsynth.run.run import Run
from deepsynth.training.callbacks import RunCallback, StopSwitch
from deepsynth.training.checkpoints import is_complete, last_complete
from deepsynth.training.fitting import fit
from tests.support import tickets
from tests.support.toy import make_run, shell


class Line(torch.nn.Module):
    """A straight line through 24 points, with dropout so that the random state matters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(1, 1)
        self.dropout = torch.nn.Dropout(0.3)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        out = self.layer(self.dropout(x))
        return {"loss": ((out - y) ** 2).mean(), "out": out}


POINTS = [{"x": torch.tensor([n / 10]), "y": torch.tensor([n / 5])} for n in range(24)]


class At(TrainerCallback):
    """Does something once an update is made."""

    def __init__(self, update: int, act: Callable[[], Any]) -> None:
        self._update = update
        self._act = act

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self._update - 1:
            self._act()


def trainer(run: Run, switch: StopSwitch, *others: TrainerCallback, **changes: Any) -> Trainer:
    """24 points in batches of 2, 3 epochs: 36 updates, a point of the curve every fourth."""
    arguments = {
        "output_dir": str(run.work("train")),
        "num_train_epochs": 3,
        "per_device_train_batch_size": 2,
        "learning_rate": 0.1,
        "logging_steps": 5,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "label_names": ["y"],
        "disable_tqdm": True,
        "report_to": "none",
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "seed": 3,
    } | changes
    made = Trainer(
        model=Line(),
        args=TrainingArguments(**arguments),
        train_dataset=POINTS,
        eval_dataset=POINTS[:4],
        callbacks=[*others, RunCallback(run, "train", switch, "loss")],
    )
    made.remove_callback(PrinterCallback)
    return made


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", shell("train", "true"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    """The curve of a training that nothing interrupts."""
    run = make_run(tmp_path_factory.mktemp("whole") / "run", shell("train", "true"))
    trainer(run, StopSwitch()).train()
    return tickets.curve(run.path)


def go_on(run: Run) -> None:
    checkpoint = last_complete(run.work("train"))
    assert checkpoint
    run.rewind_metrics("train", int(checkpoint.name[11:]))
    trainer(run, StopSwitch()).train(resume_from_checkpoint=str(checkpoint))


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("update", [13, 20, 24, 36])
def test_killed_anywhere_the_curve_is_that_of_an_uninterrupted_training(
    run: Run, whole: list[tuple[Any, ...]], update: int
) -> None:
    def kill() -> None:
        raise Killed

    with pytest.raises(Killed):
        trainer(run, StopSwitch(), At(update, kill)).train()
    go_on(run)
    # Points stand every 5 updates and at every checkpoint (12, 24, 36).
    assert tickets.curve(run.path) == whole


@pytest.mark.parametrize("update", [3, 12, 19, 36])
def test_stopped_anywhere_the_training_ends_as_an_uninterrupted_one(
    run: Run, whole: list[tuple[Any, ...]], update: int
) -> None:
    switch = StopSwitch()
    made = trainer(run, switch, At(update, lambda: setattr(switch, "pressed", True)))
    made.train()
    assert made.state.global_step == update
    saved = run.work("train") / f"checkpoint-{update}"
    assert is_complete(saved)
    go_on(run)
    found = tickets.curve(run.path)
    judged = [point for point in found if "eval_loss" in dict(point)]
    assert judged == [point for point in whole if "eval_loss" in dict(point)]
    assert dict(found[-2])["update"] == 36
    assert len(judged) == 3


def test_a_loss_that_is_not_a_number_ends_the_training(run: Run) -> None:
    made = trainer(run, StopSwitch(), learning_rate=1e38, logging_nan_inf_filter=False)
    with pytest.raises(DeepSynthError, match="not a number any more at update"):
        made.train()


def test_signals_press_the_switch_and_nothing_else() -> None:
    switch = StopSwitch().install()
    assert not switch.pressed
    os.kill(os.getpid(), signal.SIGTERM)
    assert switch.pressed


@pytest.mark.parametrize("patience", [2, 3])
def test_killed_after_early_stopping_had_ended_it_no_update_is_added(
    run: Run, patience: int
) -> None:
    settings = {
        "metric_for_best_model": "loss",
        "greater_is_better": True,  # the first evaluation stays the best, so patience runs out
        "num_train_epochs": 9,
        "restore_callback_states_from_checkpoint": True,
    }

    def made() -> Trainer:
        return trainer(run, StopSwitch(), EarlyStoppingCallback(patience), **settings)

    fit(made(), run.work("train"), None)
    checkpoint = last_complete(run.work("train"))
    assert checkpoint is not None
    assert checkpoint.name == f"checkpoint-{12 * (1 + patience)}"
    again = made()
    fit(again, run.work("train"), checkpoint)
    assert again.state.global_step == 12 * (1 + patience)
    assert again.state.best_global_step == 12
    earlier = made()
    fit(earlier, run.work("train"), checkpoint.with_name("checkpoint-24"))
    assert earlier.state.global_step == 12 * (1 + patience)
