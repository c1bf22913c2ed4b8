"""What the tasks of a generated workflow call: do one step here, or call the steps in order.

A task is given folders in storage and a key. It puts the folders where the step expects them,
does the step with the same command line as every other runner, and publishes what the step made.
The key must come out of the bytes that arrived, so a folder that was damaged or changed on the way
is refused.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from functools import cached_property
from pathlib import Path
from typing import Any

from flyte.io import Dir, File

from deepsynth import durable, storage
from deepsynth.errors import EXIT_STOPPED, DeepSynthError
from deepsynth.home import data_folder
from deepsynth.run import receipts
from deepsynth.run.run import Run
from deepsynth.run.step import Plan, Step
from deepsynth.runners.flyte.checkpoints import Checkpoints
from deepsynth.runners.flyte.failure import as_flyte
from deepsynth.runners.flyte.layout import (
    expected_key,
    makers,
    parameter,
    source_parameter,
)
from deepsynth.runners.flyte.process import WATCH, alone, run_step
from deepsynth.runners.flyte.workflow import JOB_FILES
from deepsynth.storage.stores import join


class FlyteJob:
    """The job a workflow was generated for.

    Args:
        module: File of the workflow; job, resolved job and plan lie beside it.
        name: Of the run; reports show it.
        store: Folder in storage that keeps what steps make.
        concurrency: Elements of a sharded step done at once.
        checkpoint_minutes: Time between two copies of a step's checkpoints to the store.
    """

    def __init__(
        self, module: str, name: str, store: str, concurrency: int, checkpoint_minutes: float
    ) -> None:
        self.folder = Path(module).resolve().parent
        self.name = name
        self.store = store
        self.concurrency = concurrency
        self.checkpoint_minutes = checkpoint_minutes

    @cached_property
    def plan(self) -> Plan:
        """The steps."""
        return Plan.model_validate_json((self.folder / "plan.json").read_bytes())

    async def do(self, name: str, key: str, index: int = 0, **given: Dir | list[Dir]) -> Dir:
        """Do one element of a step, and publish what it made.

        Args:
            name: The step.
            key: What decides its outputs; see `receipts.step_key`.
            index: Which element of a sharded step.
            given: The sources of the step and what other steps made, by parameter name.

        Returns:
            The folder of the step's outputs, its receipt, log and record.
        """
        step = self.plan.step(name)
        try:
            return await self._do(step, key, index, given)
        except DeepSynthError as error:
            # A pod is asked to end when its machine is needed or goes: another one goes on.
            again = WATCH.run is None and error.exit_code == EXIT_STOPPED
            raise as_flyte(error, again=again) from None

    async def _do(self, step: Step, key: str, index: int, given: dict[str, Any]) -> Dir:
        work = data_folder() / "flyte" / "work" / f"{key[:32]}-{index}"
        work.mkdir(parents=True, exist_ok=True)
        with alone(work) as lock:
            run = Run(work / "run")
            await asyncio.to_thread(self._stage, run, step, given)
            if receipts.step_key(run, step) != key:
                # What lies here may be of an earlier attempt that was cut short.
                shutil.rmtree(run.path)
                await asyncio.to_thread(self._stage, run, step, given)
            if receipts.step_key(run, step) != key:
                raise storage.StorageError(
                    "what the step was given is not what its key says.",
                    where=f"step {step.name}",
                    hint="A folder in the store was changed. Do the steps before it again.",
                )
            checkpoints = self._checkpoints(run, step, f"{key[:32]}-{index}")
            if checkpoints:
                await asyncio.to_thread(checkpoints.restore)
            await run_step(self._named(run), step, index, lock, checkpoints)
            location = await asyncio.to_thread(self._publish, work, step, key, index)
            if "report.html" in step.outputs:
                await _show_report(work / "made" / "report.html")
            if checkpoints:
                await asyncio.to_thread(checkpoints.discard)
        shutil.rmtree(work, ignore_errors=True)
        return Dir.from_existing_remote(location, dir_cache_key=location)

    def _named(self, run: Run) -> Run:
        """The same folder under the name of the run, which differs where the work is shared."""
        named = run.path.with_name("named") / self.name
        named.parent.mkdir(exist_ok=True)
        named.unlink(missing_ok=True)
        named.symlink_to(run.path)
        return Run(named)

    def _checkpoints(self, run: Run, step: Step, name: str) -> Checkpoints | None:
        """The copy of the checkpoints in the store; None where the work folder outlives us."""
        if WATCH.run is not None:
            return None
        url = join(self.store, "checkpoints", step.name, name)
        return Checkpoints(run, step, url, 60 * self.checkpoint_minutes)

    def _stage(self, run: Run, step: Step, given: dict[str, Any]) -> None:
        """Make a run folder that holds what the step reads, and nothing else."""
        for folder in ("steps", "logs", "sources"):
            (run.path / folder).mkdir(parents=True, exist_ok=True)
        for name in JOB_FILES:
            shutil.copyfile(self.folder / name, run.path / name)
        for name, original in step.sources.items():
            _stage_source(run, name, Path(original).name, given[source_parameter(name)].path)
        for maker in makers(self.plan, step):
            for made in _listed(given[parameter(maker.name)]):
                self._stage_made(run, step, made)

    def _stage_made(self, run: Run, step: Step, made: Dir) -> None:
        def wanted(name: str) -> bool:
            return any(name == path or name.startswith(f"{path}/") for path in step.inputs)

        publication = storage.read_publication(parent(made.path))
        names = [name for name in publication.files if wanted(name)] if publication else []
        if publication and all((run.path / name).exists() for name in names):
            return
        fetched = run.path / f".{uuid.uuid4().hex[:8]}"
        storage.fetch(parent(made.path), fetched, only=wanted)
        for name in names:
            target = run.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (fetched / name).replace(target)
        shutil.rmtree(fetched)

    def _publish(self, work: Path, step: Step, key: str, index: int) -> str:
        run, made = Run(work / "run"), work / "made"
        shutil.rmtree(made, ignore_errors=True)
        receipt = receipts.receipt_path(run, step, index)
        log = run.path / "logs" / f"{step.name}.log"
        for path in (*(run.path / o for o in receipts.outputs_of(step, index)), receipt, log):
            target = made / path.relative_to(run.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            # Copied by link, so that an attempt cut short here still finds its outputs.
            durable.link_or_copy(path, target)
        (made / "record").mkdir()
        for name in ("events.jsonl", "metrics.jsonl"):
            if (run.path / name).exists():
                durable.link_or_copy(run.path / name, made / "record" / name)
        attempt = f"{key[:20]}-{index}-{uuid.uuid4().hex[:8]}"
        return storage.publish(made, join(self.store, "steps", step.name, attempt)).location

    async def call(self, task: Any, name: str, **given: Dir | list[Dir]) -> Any:
        """Call the task of a step for each of its elements, some of them at once.

        Args:
            task: The Flyte task.
            name: The step.
            given: As for `do`.

        Returns:
            What the step made; of a sharded step, a list of what each element made.
        """
        step = self.plan.step(name)
        key = await asyncio.to_thread(self._key, step, given)
        places = asyncio.Semaphore(self.concurrency)

        async def element(index: int) -> Dir:
            which = {} if step.array == 1 else {"index": index}
            async with places:
                made = await task(key=key, **which, **given)
                if storage.read_publication(parent(made.path)) is None:
                    # The cache remembers a folder that was since removed from the store.
                    made = await task.override(cache="disable")(key=key, **which, **given)
            return made

        made = await asyncio.gather(*(element(index) for index in range(step.array)))
        return made if step.array > 1 else made[0]

    def by_element(self, **made: Dir | list[Dir]) -> dict[str, Dir]:
        """What steps made, by `STEP/ELEMENT`."""
        names = {parameter(step.name): step.name for step in self.plan.steps}
        return {
            f"{names[name]}/{index}": folder
            for name, folders in made.items()
            for index, folder in enumerate(_listed(folders))
        }

    async def show_report(self, made: Dir) -> None:
        """Make `report.html` of what a step made the report of the calling task."""
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "page"
            storage.fetch(parent(made.path), page, only=lambda name: name == "report.html")
            await _show_report(page / "report.html")

    def _key(self, step: Step, given: dict[str, Any]) -> str:
        sources = {name: _files([given[source_parameter(name)]]) for name in step.sources}
        files: dict[str, dict[str, Any]] = {}
        for maker in makers(self.plan, step):
            files |= _files(_listed(given[parameter(maker.name)]))
        return expected_key(step, sources, files)


def parent(location: str) -> str:
    """Where the folder at `location` was published."""
    return location.rstrip("/").rpartition("/")[0]


def folder_in(made: Dir, path: str) -> Dir:
    """A folder among what a step made."""
    return Dir.from_existing_remote(join(made.path, path))


def file_in(made: Dir, path: str) -> File:
    """A file among what a step made."""
    return File.from_existing_remote(join(made.path, path))


def _stage_source(run: Run, name: str, called: str, location: str) -> None:
    """Put a source where `Run.source` looks for it: below its own name, in a folder for it."""
    place = run.path / "sources" / name
    if place.exists():
        return
    temporary = run.path / "sources" / f".{name}"
    shutil.rmtree(temporary, ignore_errors=True)
    published = storage.read_publication(parent(location))
    is_file = published is not None and list(published.files) == [called]
    storage.fetch(parent(location), temporary if is_file else temporary / called)
    temporary.rename(place)


def _listed(given: Dir | list[Dir]) -> list[Dir]:
    return given if isinstance(given, list) else [given]


def _files(folders: list[Dir]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for folder in folders:
        publication = storage.read_publication(parent(folder.path))
        if publication is None:
            raise as_flyte(storage.LocationError("this is no longer there.", where=folder.path))
        found |= publication.files
    return found


async def _show_report(page: Path) -> None:
    import flyte.report

    await flyte.report.replace.aio(page.read_text(encoding="utf-8"))
    await flyte.report.flush.aio()
