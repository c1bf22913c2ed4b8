"""The runner `flyte`: the tasks on the cluster that Flyte is configured for."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth import durable
from deepsynth.errors import DeepSynthError, JobError, RequestError, RunError, Stopped
from deepsynth.home import config_folder
from deepsynth.run.run import Run
from deepsynth.run.step import Step
from deepsynth.runners.flyte.absorb import absorb, published_sources
from deepsynth.runners.flyte.doctor import examine, wrong
from deepsynth.runners.flyte.failure import told
from deepsynth.runners.flyte.layout import source_parameter
from deepsynth.runners.flyte.local import load_workflow, prepare_flyte
from deepsynth.runners.flyte.settings import FILE, FlyteSettings, load_settings
from deepsynth.runners.flyte.workflow import (
    version_of,
    workflow_name,
    workflow_text,
    write_workflow,
)
from deepsynth.runners.runner import Runner

if TYPE_CHECKING:
    from deepsynth.checks import Finding, Severity

POLL_SECONDS = 5.0
REACH_SECONDS = 5.0
DONE = ("succeeded", "recovered")


def quiet() -> None:
    """A tick nobody watches."""


def connect(settings: FlyteSettings, folder: Path) -> str:
    """Sign in to the configured cluster; returns its endpoint.

    Raises:
        RequestError: No cluster is configured.
        DeepSynthError: It cannot be reached.
    """
    prepare_flyte()
    import flyte
    from flyte.config import auto

    endpoint = auto().platform.endpoint
    if not endpoint:
        raise RequestError(
            "no Flyte cluster is configured.",
            where="--on flyte",
            hint="flyte create config --endpoint dns:///HOST --project PROJECT --domain DOMAIN\n"
            "  writes .flyte/config.yaml; --on flyte:local needs no cluster.",
        )
    _reach(endpoint)
    with explained(endpoint):
        flyte.init_from_config(root_dir=folder, project=settings.project, domain=settings.domain)
    return endpoint


def _reach(endpoint: str) -> None:
    """Fail fast and plainly where the SDK would try for long."""
    host, _, port = endpoint.partition("://")[2].strip("/").partition(":")
    if os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"):
        return
    try:
        socket.create_connection((host, int(port or 443)), REACH_SECONDS).close()
    except (OSError, ValueError) as error:
        raise DeepSynthError(
            f"the Flyte cluster cannot be reached: {error}.",
            where=endpoint,
            hint="Check the endpoint in Flyte's configuration, and the network or VPN.",
        ) from None


@contextmanager
def explained(where: str) -> Generator[None]:
    """Turn what the SDK raises inside the block into one sentence and where it came from.

    Raises:
        DeepSynthError: Whatever it was.
    """
    try:
        yield
    except (DeepSynthError, KeyboardInterrupt):
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DeepSynthError(f"Flyte says: {first[:300]}", where=where) from error


class FlyteRunner(Runner):
    """Runs on a cluster; what a run is there is kept in `flyte/run.json` of the run folder."""

    def run(self, run: Run, steps: list[Step], tick: Callable[[], None] = quiet) -> None:
        """Submit the steps, or find them submitted, and follow them to the end.

        Raises:
            StepFailed: A step failed.
            Stopped: Ctrl-C; the run goes on at the cluster.
        """
        with run.lock():
            if not self._goes_on(run):
                self.submit(run, steps)
            try:
                self.follow(run, tick)
            except (KeyboardInterrupt, Stopped):
                raise Stopped(f"the run goes on: {_record(run)['url']}", where=run.path) from None

    def dry_run(self, run: Run, steps: list[Step]) -> str:
        """The Flyte module that would be submitted; nothing is sent."""
        settings = load_settings()
        return workflow_text(run, steps, settings, store_of(settings))

    def submit(self, run: Run, steps: list[Step]) -> str:
        """Send the sources to the store and start the pipeline; returns its address.

        Raises:
            JobError: flyte.yaml names no store the cluster could reach.
            RequestError: No cluster is configured.
            DeepSynthError: The cluster or the store failed.
        """
        settings = load_settings()
        store = store_of(settings)
        endpoint = connect(settings, run.path / "flyte")
        import flyte
        from flyte.io import Dir

        module = load_workflow(write_workflow(run, steps, settings, store))
        given = {
            source_parameter(name): Dir.from_existing_remote(location, dir_cache_key=location)
            for name, location in published_sources(run, steps, store).items()
        }
        since = time.time()
        with explained(endpoint):
            context = flyte.with_runcontext(
                mode="remote", version=version_of(run), copy_style="all", raw_data_path=store
            )
            started: Any = context.run(module.pipeline, **given)
        record = {"name": started.name, "url": started.url, "since": since, "endpoint": endpoint}
        record["steps"] = [step.name for step in steps]
        durable.write_json(run.path / "flyte" / "run.json", record)
        run.begin("flyte", url=started.url)
        return started.url

    def follow(self, run: Run, tick: Callable[[], None] = quiet) -> None:
        """Wait until the pipeline ended, and take over what it made.

        Raises:
            StepFailed: A step failed.
        """
        following, asked = self._remote(run), 0.0
        while not following.done():
            if time.monotonic() - asked > POLL_SECONDS:
                following, asked = self._remote(run), time.monotonic()
                self._show(run)
            tick()
            time.sleep(0.1)
        self.fetch(run)

    def fetch(self, run: Run, *, everything: bool = False) -> None:
        """Take over what a pipeline that ended made, in any case everything.

        Raises:
            RunError: It has not ended.
            StepFailed: It failed; says what the step said.
        """
        record, following = _record(run), self._remote(run)
        if not following.done():
            raise RunError(
                "it still runs.", where=record["url"], hint=f"deepsynth logs {run.path} -f"
            )
        with explained(record["url"]):
            if following.phase not in DONE:
                failed = following.first_failure()
                details = failed.error_info if failed else None
                said = details.message if details else f"it ended as {following.phase}"
                error = told(getattr(details, "code", ""), said)
                run.event("run_failed", error=error.as_dict())
                raise error
            made = following.outputs()[0]
        for name in record["steps"]:
            step = run.plan.step(name)
            for index in range(step.array):
                location = made[f"{name}/{index}"].path
                absorb(run, step, index, location, record["since"], live=False)
        run.event("run_done")

    def lines(self, run: Run) -> list[str]:
        """How each task stands at the cluster, for people."""
        record = _record(run)
        with explained(record["url"]):
            return [f"{a.task_name or a.name}: {a.phase}" for a in self._actions(run)]

    def stop(self, run: Run) -> None:
        """Abort the pipeline at the cluster.

        Raises:
            RunError: It was not submitted, or has ended.
        """
        following = self._remote(run)
        if following.done():
            raise RunError("nothing is running there.", where=_record(run)["url"])
        with explained(_record(run)["url"]):
            following.abort("stopped by deepsynth stop")

    def logs(self, run: Run, step: str, *, follow: bool) -> Iterator[str]:
        """What the task of a step printed; with `follow`, until it ends."""
        record = _record(run)
        with explained(record["url"]):
            found = [a for a in self._actions(run) if _is_task_of(run, a.task_name, step)]
            if not found:
                raise RunError(f"the step {step} has not started yet.", where=record["url"])
            for action in found:
                yield from action.get_logs()

    def doctor(self) -> Iterator[Finding]:
        """Whether the cluster answers, and whether its machines can reach the store."""
        yield from examine()
        try:
            settings = load_settings()
            store_of(settings)
            endpoint = connect(settings, Path.cwd())
        except DeepSynthError as error:
            yield wrong("flyte-cluster", error)
        else:
            yield Finding(Severity.INFO, "flyte-cluster", endpoint, "The cluster answers.")

    def _goes_on(self, run: Run) -> bool:
        known = (run.path / "flyte" / "run.json").exists()
        return known and (not (following := self._remote(run)).done() or following.phase in DONE)

    def _remote(self, run: Run) -> Any:
        record = _record(run)
        connect(load_settings(), run.path / "flyte")
        from flyte.remote import Run as RemoteRun

        with explained(record["url"]):
            return RemoteRun.get(record["name"])

    def _actions(self, run: Run) -> list[Any]:
        record = _record(run)
        connect(load_settings(), run.path / "flyte")
        from flyte.remote import Action

        actions: Any = Action.listall(for_run_name=record["name"])
        return list(actions)

    def _show(self, run: Run) -> None:
        """Record which steps have begun, for whoever looks at the run folder."""
        begun = {event["step"] for event in run.events() if event["kind"] == "step_started"}
        with explained(_record(run)["url"]):
            for action in self._actions(run):
                for step in run.plan.steps:
                    running = action.phase == "running" and _is_task_of(
                        run, action.task_name, step.name
                    )
                    if running and step.name not in begun:
                        run.event("step_started", step=step.name, index=0)


def _is_task_of(run: Run, task: str | None, step: str) -> bool:
    return (task or "").startswith(f"{workflow_name(run)}-{step}.")


def _record(run: Run) -> dict[str, Any]:
    record = durable.read_json(run.path / "flyte" / "run.json")
    if record is None:
        raise RunError(
            "this run was not submitted to a Flyte cluster.",
            where=run.path,
            hint=f"Submit it: deepsynth run --resume {run.path} --on flyte",
        )
    return record


def store_of(settings: FlyteSettings) -> str:
    """The store of `settings`, which must be one that machines of a cluster can reach.

    Raises:
        JobError: It is missing, or a folder of this machine.
    """
    if settings.store is None or settings.store.startswith("file:"):
        raise JobError(
            "a cluster needs a store that its machines can reach.",
            where=config_folder() / FILE,
            hint="Write there: store: s3://BUCKET/NAME",
        )
    return settings.store
