"""Lines are fed to the trainer faster, and the network still sees what Kraken would show it.

In the same process: known troubles bring advice, and a foreign checkpoint runs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deepsynth.families.htr.ground_truth.pages import read_page
from deepsynth.families.htr.lines.compile import compile_split

pytestmark = pytest.mark.slow

PROBE = """
import json
import sys
import torch
from torchvision.transforms import ToTensor
from kraken.lib.dataset import ArrowIPCRecognitionDataset
from kraken.lib.util import is_bitonal as theirs
from pathlib import Path
from deepsynth.errors import RunError, StepFailed
from deepsynth.families.htr.kraken.loader import KeptLines, WidthBatches, collate_even, is_bitonal
from deepsynth.families.htr.kraken.training import fit, last_checkpoint

torch.manual_seed(0)
grey = torch.rand(1, 48, 300)
late = torch.zeros(1, 48, 300)
late[0, 47, 280:] = torch.tensor([1.0] * 19 + [0.5])
images = [grey, (grey > 0.5).float(), late, torch.zeros(1, 48, 300), (grey > 0.5).float() * 0.3]
batches = WidthBatches(torch.rand(30).tolist(), 4, seed=7)
orders = []
for epoch in (0, 1, 0):
    batches.set_epoch(epoch)
    orders.append(list(batches))
class Failing:
    def fit(self, *args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

try:
    fit(Failing(), None, None, None)
except StepFailed as error:
    advice = str(error)
class Attack:
    def __reduce__(self):
        return Path.touch, (Path(sys.argv[2]) / "ran",)

torch.save({"global_step": 3, "loops": Attack()}, Path(sys.argv[2]) / "last.ckpt")
try:
    last_checkpoint(None, Path(sys.argv[2]))
except RunError as error:
    refused = str(error)
fresh = ArrowIPCRecognitionDataset(im_transforms=ToTensor())
fresh.add(sys.argv[1])
fresh.encode()
kept = KeptLines(im_transforms=ToTensor())
kept.add(sys.argv[1])
kept.encode()
kept._room = sum(fresh[row]["image"].nbytes for row in (0, 1))
same = [kept[row]["image"] is kept[row]["image"] for row in range(3)]
equal = all(torch.equal(fresh[row][key], kept[row][key]) for row in range(3) for key in fresh[0])
lines = [{"image": torch.rand(1, 48, w), "target": torch.ones(3)} for w in (200, 260, 230)]
even = collate_even(lines)
print(json.dumps({
    "bitonal": [[is_bitonal(image), theirs(image)] for image in images],
    "orders": orders,
    "lengths": even["seq_lens"].tolist(),
    "shape": list(even["image"].shape),
    "advice": advice,
    "refused": refused,
    "same": same,
    "equal": equal,
    "paper": float(even["image"][2, :, :, 200:].sum()),
}))
"""


def test_loading_changes_only_its_time_and_a_checkpoint_runs_nothing(
    page_folder: Path, tmp_path: Path, kraken: Callable[..., str]
):
    arrow = tmp_path / "lines.arrow"
    compile_split([read_page(page_folder / "p000.xml")], arrow)
    told = json.loads(kraken("-c", PROBE, str(arrow), str(tmp_path)).splitlines()[-1])
    assert told["equal"]
    assert told["same"] == [True, True, False]
    assert all(ours == theirs for ours, theirs in told["bitonal"])
    assert {ours for ours, _ in told["bitonal"]} == {True, False}
    first, second, again = told["orders"]
    assert first == again != second
    for order in (first, second):
        assert sorted(row for batch in order for row in batch) == list(range(30))
    assert told["shape"] == [3, 1, 48, 260]
    assert told["lengths"] == [260, 260, 260]
    assert told["paper"] == 0
    assert "Tried to allocate" in told["advice"]
    assert "halve train.batch_size" in told["advice"]
    assert "last.ckpt" in told["refused"]
    assert not (tmp_path / "ran").exists()


def test_a_training_that_is_to_stop_ends_at_the_next_layer(kraken: Callable[..., str]):
    code = """
import torch
from types import SimpleNamespace as Holder
from deepsynth.errors import Stopped
from deepsynth.families.htr.kraken.callbacks import StopSoon
done = []
class Layer(torch.nn.Identity):
    def forward(self, x):
        done.append(len(done))
        trainer.received_sigterm = len(done) == 2
        return x
nn = torch.nn.Sequential(Layer(), Layer(), Layer(), Layer())
trainer, module = Holder(received_sigterm=False), Holder(net=Holder(nn=nn))
StopSoon().on_fit_start(trainer, module)
try:
    nn(torch.zeros(1))
except Stopped as stopped:
    print(len(done), stopped.what)
"""
    assert kraken("-c", code).startswith("2 stopped")
