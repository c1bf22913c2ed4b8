"""The same job becomes the right command line for each version of ketos."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from deepsynth.errors import MissingDependency, RequestError, StepFailed
from deepsynth.families.htr.job import HtrJob
from deepsynth.families.htr.kraken.ketos import DIALECTS, dialect_of, train_command
from deepsynth.families.htr.kraken.ketos_training import (
    advise,
    best_of,
    find_dialect,
    read_log_line,
)


def job(**changes) -> HtrJob:
    train = {"batch_size": 8, "learning_rate": 0.001, "epochs": 30} | changes.pop("train", {})
    data = {"ground_truth": "gt", "normalization": "NFD"}
    return HtrJob.model_validate({"family": "htr", "data": data, "train": train} | changes)


def command(major: int, job: HtrJob, base: str | None = None) -> list[str]:
    return train_command(
        DIALECTS[major],
        job,
        ketos="ketos",
        training=Path("t.txt"),
        validation=Path("v.txt"),
        base=Path(base) if base else None,
        output=Path("out"),
    )


@pytest.mark.parametrize(
    ("told", "major"),
    [
        ("ketos, version 4.3.13", 4),
        ("ketos, version 5.3.0", 5),
        ("ketos, version 6.0.3\n", 6),
        ("ketos, version 7.1.1", 7),
    ],
)
def test_versions_are_recognised(told: str, major: int):
    assert dialect_of(told).major == major


@pytest.mark.parametrize("told", ["ketos, version 3.0.13", "ketos, version 4.1", "9.0", ""])
def test_unknown_versions_are_refused(told: str):
    with pytest.raises(MissingDependency, match="not a version known here"):
        dialect_of(told)


@pytest.mark.parametrize("major", [4, 5, 6, 7])
def test_options_stand_where_the_version_wants_them(major: int):
    argv = command(major, job(train={"mixed_precision": "bf16"}), "base.mlmodel")
    split = argv.index("train")
    assert ("-d" in argv[:split]) is (major >= 6)
    assert ("--workers" in argv[:split]) is (major >= 6)
    assert ("--threads" in argv) is (major >= 5)
    assert argv[argv.index("--precision") + 1] == ("bf16" if major < 6 else "bf16-mixed")
    assert argv[argv.index("-o") + 1] == ("out" if major == 7 else "out/model")
    assert argv[argv.index("--optimizer") + 1] == ("AdamW" if major == 7 else "Adam")
    assert argv[argv.index("-i") + 1] == "base.mlmodel"
    assert "--random-split" not in argv
    assert argv[argv.index("-w") + 1] == "0.0"


@pytest.mark.parametrize(("major", "word"), [(4, "dumb"), (5, "fixed"), (6, "fixed"), (7, "fixed")])
def test_no_early_stopping_always_comes_with_an_end(major: int, word: str):
    argv = command(major, job(train={"patience": 0}))
    assert argv[argv.index("-q") + 1] == word
    assert argv[argv.index("-N") + 1] == "30"


def test_what_a_version_cannot_do_is_refused_before_it_starts():
    with pytest.raises(RequestError, match="freezes by a count"):
        command(7, job(train={"freeze": "backbone"}))
    with pytest.raises(RequestError, match="does not know AdamW"):
        command(5, job(train={"weight_decay": 0.1}))
    with pytest.raises(RequestError, match=r"cannot read \.safetensors"):
        command(6, job(), "base.safetensors")
    segmentation = job(task="segmentation", segmentation={"line_classes": {"a": "b", "c": "c"}})
    with pytest.raises(RequestError, match="configuration file"):
        command(7, segmentation)
    argv = command(6, segmentation)
    assert argv[argv.index("segtrain") :].count("-vb") == 2
    assert argv[argv.index("-mb") + 1] == "b:a"


def test_a_missing_ketos_says_what_to_load(tmp_path: Path):
    lacking = job(kraken={"toolchain": "site", "ketos": str(tmp_path / "ketos")})
    with pytest.raises(MissingDependency, match="does not run here") as refused:
        find_dialect(lacking)
    assert "module load kraken" in str(refused.value)


def test_a_module_is_loaded_before_ketos_is_asked(tmp_path: Path):
    (tmp_path / "ketos").write_text('#!/bin/sh\necho "ketos, version $KRAKEN"\n')
    (tmp_path / "ketos").chmod(0o755)
    loaded = job(
        kraken={
            "toolchain": "site",
            "setup": ["export KRAKEN=5.2.9", f"export PATH={tmp_path}:$PATH"],
        }
    )
    assert find_dialect(loaded).major == 5


def test_the_log_is_read():
    line = "[1/2/26] INFO  validation run: total chars 641 errors 12 accuracy 0.9812 vgsl.py:400"
    assert read_log_line(line) == {"cer": pytest.approx(0.0188)}
    line = "INFO validation run: accuracy 0.95 mean_acc 0.91 mean_iu 0.62 freq_iu 0.7"
    assert read_log_line(line) == {"mean_iou": 0.62, "pixel_accuracy": 0.95}
    assert read_log_line("stage 3/∞ ━━━ 100%") is None


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def coreml(path: Path, accuracy: list[list[float]], task: str = "recognition") -> Path:
    """A CoreML file with Kraken's metadata and no network."""
    meta = json.dumps({"accuracy": accuracy, "model_type": task})
    values = {"kraken_meta": meta, "vgsl": "[1,48,0,1 Cr3,3,8]", "codec": json.dumps({"a": [1]})}
    user = b"".join(
        field(100, field(1, key.encode()) + field(2, value.encode()))
        for key, value in values.items()
    )
    path.write_bytes(varint(1 << 3) + varint(4) + field(2, field(100, user)))
    return path


def test_the_best_model_is_the_one_whose_file_says_so(tmp_path: Path):
    coreml(tmp_path / "model_0.mlmodel", [[1, 0.5]])
    coreml(tmp_path / "model_1.mlmodel", [[1, 0.5], [2, 0.9]])
    coreml(tmp_path / "model_2.mlmodel", [[1, 0.5], [2, 0.9], [3, 0.8]])
    (tmp_path / "model_3.mlmodel").write_bytes(b"\x12\xff\xff\x03cut short")
    assert best_of(tmp_path, []) == (tmp_path / "model_1.mlmodel", 0.9)


def test_no_model_is_a_failure_whatever_the_exit_code(tmp_path: Path):
    with pytest.raises(StepFailed, match="without a model") as failed:
        best_of(tmp_path, ["Traceback", "RuntimeError: CUDA out of memory. Tried to allocate"])
    assert "train.batch_size" in str(failed.value)


@pytest.mark.parametrize(
    ("log", "word"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20 MiB", "batch_size"),
        ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.batch", "workers"),
        ("KrakenInputException: Training data and model codec alphabets mismatch", "union"),
        ("Error: Option `--resize` is set to `fail`", "union"),
        ("Training data and model class mapping differ (bl train: {'line'}", "line_classes"),
        ("ValueError: No training data in dataset. Please supply some.", "deepsynth check"),
        ("Model did not improve during training. Exiting.", "learning_rate"),
        ("Error: No such option: --random-split", "managed"),
        ("Error: Got unexpected extra argument (20)", "managed"),
        ("slurmstepd: error: *** JOB 1 CANCELLED AT 2026 DUE TO TIME LIMIT ***", "--resume"),
        ("RuntimeError: operator torchvision::nms does not exist", "setup htr"),
        ("RuntimeError: Found no NVIDIA driver on your system.", "train.device=cpu"),
        ("Error: Invalid value: Invalid device cuda:0", "train.device=cpu"),
        ("kraken.lib.exceptions.KrakenInvalidModelException: Failure parsing model", ".mlmodel"),
        ("PIL.Image.DecompressionBombError: Image size (900000000 pixels)", "scale it down"),
    ],
)
def test_known_troubles_have_advice(log: str, word: str):
    assert word in str(advise(log))


def test_unknown_troubles_have_none():
    assert advise("all is well") is None


def safetensors(path: Path, tasks: list[str]) -> Path:
    meta = {"m": {"_tasks": tasks, "vgsl": "[1,48,0,1 Cr3,3,8]", "codec": {"é": [1], "b": [2]}}}
    header = {
        "__metadata__": {"kraken_meta": json.dumps(meta)},
        "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    }
    head = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(4))
    return path
