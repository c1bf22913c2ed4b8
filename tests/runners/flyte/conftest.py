"""A home of its own for Flyte's cache, and runs of small steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deepsynth import durable
from deepsynth.families import get_family, load_job
from deepsynth.run import receipts
from deepsynth.run.run import Run
from deepsynth.run.step import Plan, Step
from deepsynth.runners.flyte.local import prepare_flyte
from tests.support import tickets

pytest.importorskip("flyte", exc_type=ImportError)
prepare_flyte()

COUNT = """
import sys
from pathlib import Path
from deepsynth.run.run import Run
run = Run(Path(sys.argv[1]))
lines = run.source(run.plan.step("count"), "text").read_text().splitlines()
(run.path / "data").mkdir()
(run.path / "data" / "n").write_text(str(len(lines)))
"""


OWN = Path("config/deepsynth/flyte.yaml")
"""In the home: the user's own settings."""


@pytest.fixture(autouse=True)
def flyte_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No cache, no configuration and no store of whoever runs the tests."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("FLYTECTL_CONFIG", "UCTL_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    (home / OWN).parent.mkdir(parents=True)
    monkeypatch.setenv("DEEPSYNTH_HOME", str(home / "deepsynth"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(home)
    _forget_cache()
    return home


def _forget_cache() -> None:
    """Flyte keeps its configuration and the connection to its cache for the life of a process."""
    from flyte._persistence._db import LocalDB
    from flyte.config._reader import get_config_file

    LocalDB.close_sync()
    get_config_file.cache_clear()


@pytest.fixture(scope="session")
def trained_here(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A whole classify run by the local runner, with its job in the folder `job` beside it.

    The model is a saved one, since the vocabulary of a fresh one is another in every process.
    """
    folder = tmp_path_factory.mktemp("trained")
    job = tickets.write_job(folder / "job", {"model": str(finished / "model")})
    done = tickets.deepsynth("run", job, "--runs", folder, "--name", "here")
    assert done.returncode == 0, done.stderr
    return Run(folder / "here")


def made(run: Run, steps: list[Step] | None = None) -> dict[str, object]:
    """Digests of everything that steps of a run, or all of them, made."""
    return {
        output: durable.digest(run.path / output)
        for step in steps or run.plan.steps
        for index in range(step.array)
        for output in receipts.outputs_of(step, index)
    }


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """A run of these steps, or of the whole plan of a job."""

    def make(name: str, *steps: Step, job: Path | None = None) -> Run:
        loaded = load_job(job or tickets.write_job(tmp_path / "job"))
        family = get_family(loaded.job.family)
        resolved = family.resolve(loaded) if job else loaded
        plan = Plan(steps=list(steps)) if steps else family.plan(resolved)
        return Run.create(tmp_path / name, resolved, plan)

    return make


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file a job reads."""
    path = tmp_path / "texts.txt"
    path.write_text("one\ntwo\nthree\n")
    return path


@pytest.fixture
def chain(source: Path) -> list[Step]:
    """Three small steps: count lines, do two pieces, put them together."""
    return small_chain(source)


def small_chain(source: Path, message: str = "") -> list[Step]:
    """The steps of `chain`; with a message, the second says it and fails."""
    fail = f'echo "{message}" >&2; exit 3' if message else "true"
    steps = [
        {
            "name": "count",
            "argv": ["{python}", "-c", COUNT],
            "sources": {"text": str(source)},
            "outputs": ["data"],
        },
        {
            "name": "shard",
            "argv": [
                "bash",
                "-ec",
                f'{fail}; mkdir -p "$0/shards"; echo "$1 of $(cat "$0/data/n")"; '
                'echo "$1 of $(cat "$0/data/n")" > "$0/shards/$1.txt"',
            ],
            "after": ["count"],
            "inputs": ["data"],
            "outputs": ["shards/{index}.txt"],
            "array": 2,
        },
        {
            "name": "merge",
            "argv": ["bash", "-ec", 'cat "$0"/shards/* > "$0/merged.txt"'],
            "after": ["shard"],
            "inputs": ["shards"],
            "outputs": ["merged.txt"],
        },
    ]
    for step in steps:
        step["argv"] = [*step["argv"], "{run}", *(["{index}"] if step["name"] == "shard" else [])]
        step["resources"] = {"cpus": 1, "memory_gb": 0.5, "minutes": 5}
    return [Step.model_validate(step) for step in steps]
