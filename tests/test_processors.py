"""Workers are as many as the cores one has, not as the machine has."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from deepsynth import processors
from deepsynth.families.htr.ground_truth.folder_checks import check_ground_truth
from tests.support.jobs import htr


@pytest.fixture
def big_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node of 64 cores, of which this process may use all."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)


def test_what_slurm_gave_counts(big_node: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "CGROUP", Path("/nonexistent"))
    assert processors.available() == 64
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    assert processors.available() == 4
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 7})
    assert processors.available() == 2


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000", 64), ("250000 100000", 3), ("50000 100000", 1), ("odd", 64)]
)
def test_what_a_container_was_given_counts(
    big_node: None, text: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processors, "CGROUP", tmp_path / "cpu.max")
    (tmp_path / "cpu.max").write_text(text)
    assert processors.available() == cores


def test_pages_are_checked_by_as_many_threads(
    big_node: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "2")
    htr(tmp_path)
    before, seen = threading.active_count(), list[int]()
    check_ground_truth(
        tmp_path / "truth", progress=lambda done, total: seen.append(threading.active_count())
    )
    assert max(seen) - before <= 2
