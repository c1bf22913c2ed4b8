"""The runner `flyte:local`: the same tasks in this process, without a cluster."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from deepsynth.errors import MissingDependency, Stopped, install_extra
from deepsynth.run.execution import GRACE_SECONDS
from deepsynth.run.run import Run
from deepsynth.run.step import Step
from deepsynth.runners.flyte.absorb import absorb, published_sources
from deepsynth.runners.flyte.doctor import examine
from deepsynth.runners.flyte.failure import from_flyte
from deepsynth.runners.flyte.layout import source_parameter
from deepsynth.runners.flyte.settings import load_settings, local_store
from deepsynth.runners.flyte.workflow import MODULE, workflow_text, write_workflow
from deepsynth.runners.local.runner import LocalRunner

if TYPE_CHECKING:
    from deepsynth.checks import Finding

TICK_SECONDS = 0.1


def prepare_flyte() -> None:
    """Make sure that Flyte is installed, and that it does not phone home.

    Raises:
        MissingDependency: It is not installed.
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("FLYTE_DISABLE_TELEMETRY", "1")
    try:
        with warnings.catch_warnings():
            # Flyte defines its types in a way pydantic calls deprecated; nobody here can act on it.
            warnings.simplefilter("ignore", DeprecationWarning)
            importlib.import_module("flyte.io")
    except ImportError:
        raise MissingDependency(
            "running on Flyte needs the package flyte.",
            where="--on flyte",
            hint=install_extra("flyte"),
        ) from None


def load_workflow(path: Path) -> ModuleType:
    """The generated module at `path`, as the module `workflow`."""
    spec = importlib.util.spec_from_file_location(MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    spec.loader.exec_module(module)
    return module


class FlyteLocalRunner(LocalRunner):
    """Runs the tasks of a plan here, with Flyte's own cache; status and stop are as for local."""

    def dry_run(self, run: Run, steps: list[Step]) -> str:
        """The Flyte module whose tasks `run` would do; does nothing."""
        settings = load_settings()
        return workflow_text(run, steps, settings, settings.store or local_store())

    def doctor(self) -> list[Finding]:
        """What is installed, and where it keeps what steps make."""
        return list(examine())

    def run(self, run: Run, steps: list[Step], tick: Callable[[], None]) -> None:
        """Do the tasks of the steps, and take over what they made.

        Raises:
            StepFailed: A step failed.
            Stopped: The work was asked to stop.
        """
        prepare_flyte()
        from deepsynth.runners.flyte.process import WATCH

        settings = load_settings()
        store = settings.store or local_store()
        with run.lock() as lock, WATCH.of(run, lock):
            run.begin("flyte:local", pid=os.getpid())
            began = time.time()
            module = load_workflow(write_workflow(run, steps, settings, store))
            sources = published_sources(run, steps, store)
            work = _Work(module, sources, run.path / "flyte")
            work.start()
            try:
                while not work.ended.wait(TICK_SECONDS):
                    tick()
            except (KeyboardInterrupt, Stopped):
                WATCH.stopping.set()
                work.ended.wait(GRACE_SECONDS)
                raise Stopped("stopped.", where=run.path) from None
            if work.error:
                raise from_flyte(work.error)
            for step in steps:
                for index in range(step.array):
                    absorb(run, step, index, work.made[f"{step.name}/{index}"], began, live=True)
                    tick()
            run.event("run_done")


class _Work(threading.Thread):
    """Flyte's part of a run: its event loop is kept out of the thread that signals reach.

    Attributes:
        made: Where each element of each step was published.
        error: What the pipeline raised.
        ended: Set at the end; unlike `join`, waiting for it survives a signal.
    """

    def __init__(self, module: ModuleType, sources: dict[str, str], folder: Path) -> None:
        super().__init__(name="flyte", daemon=True)
        self.made: dict[str, str] = {}
        self.error: Exception | None = None
        self.ended = threading.Event()
        self._module, self._sources, self._folder = module, sources, folder

    def run(self) -> None:
        """Run the pipeline."""
        import flyte
        from flyte.io import Dir

        given = {
            source_parameter(name): Dir.from_existing_remote(location, dir_cache_key=location)
            for name, location in self._sources.items()
        }
        try:
            flyte.init(root_dir=self._folder, log_level=logging.CRITICAL)
            context = flyte.with_runcontext(
                mode="local",
                raw_data_path=str(self._folder / "raw"),
            )
            made = context.run(self._module.pipeline, **given).outputs()[0]
            self.made = {name: folder.path for name, folder in made.items()}
        except Exception as error:
            self.error = error
        finally:
            self.ended.set()
