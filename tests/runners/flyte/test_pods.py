"""Leaf tasks as pods run them: their exact command, in an empty directory, against a real S3."""

from __future__ import annotations

import shutil
import signal
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepsynth import storage
from deepsynth.run import receipts
from deepsynth.run.run import Run
from deepsynth.run.step import Step
from deepsynth.runners.flyte.absorb import absorb, published_sources
from deepsynth.runners.flyte.failure import told
from deepsynth.runners.flyte.layout import makers, parameter, source_parameter
from deepsynth.runners.flyte.local import load_workflow
from deepsynth.runners.flyte.settings import FlyteSettings
from deepsynth.runners.flyte.workflow import write_workflow
from deepsynth.runners.local.runner import LocalRunner
from deepsynth.storage.stores import open_store
from tests.runners.flyte.conftest import made, small_chain
from tests.servers.s3 import Ceph
from tests.support import tickets, toy
from tests.support.pods import Cluster, End, Result

EXAMPLES = Path(__file__).parents[3] / "examples"
TASKS = {"prepare": "download_dataset", "check": "tokenize_dataset"}


class Pods:
    """The leaf tasks of a run, one after the other, each in a pod of its own."""

    def __init__(
        self, ceph: Ceph, run: Run, root: Path, settings: FlyteSettings | None = None
    ) -> None:
        root.mkdir()
        self.run, self.store = run, f"s3://tests/{uuid.uuid4().hex[:8]}"
        module = write_workflow(run, run.plan.steps, settings or FlyteSettings(), self.store)
        self.cluster = Cluster(ceph, load_workflow(module), module.parent, root)
        self.sources = published_sources(run, run.plan.steps, self.store)
        self.made: dict[str, Any] = {}

    def kept(self) -> object:
        """What the store keeps of the checkpoints of a pod that has not ended well."""
        import obstore

        pages = obstore.list(*open_store(f"{self.store}/checkpoints"))
        return next((meta for page in pages for meta in page), None)

    def given(self, step: Step) -> dict[str, Any]:
        from flyte.io import Dir

        given: dict[str, Any] = {
            source_parameter(name): Dir.from_existing_remote(self.sources[name])
            for name in step.sources
        }
        return given | {parameter(m.name): self.made[m.name] for m in makers(self.run.plan, step)}

    def do(self, step: Step, end: End | None = None) -> Result:
        module, given = self.cluster.module, self.given(step)
        key = module.JOB._key(step, given)
        task = getattr(module, TASKS.get(step.name, ""), None) or getattr(
            module, f"{step.name}_step"
        )
        indices = [{"index": index} for index in range(step.array)] if step.array > 1 else [{}]
        results = [self.cluster.pod(task, end=end, key=key, **index, **given) for index in indices]
        if all(result.code == 0 for result in results):
            folders = [result.outputs for result in results]
            self.made[step.name] = folders if step.array > 1 else folders[0]
            for index, folder in enumerate(folders):
                absorb(self.run, step, index, folder.path, 0.0, live=False)
        return results[-1]


def test_small_steps_in_pods_make_what_the_local_runner_makes(
    ceph: Ceph, make_run: Callable[..., Run], chain: list[Step], tmp_path: Path
) -> None:
    here, run = make_run("here", *chain), make_run("pods", *chain)
    LocalRunner().run(here, chain, lambda: None)
    pods = Pods(ceph, run, tmp_path / "cluster")
    for step in chain:
        assert pods.do(step).code == 0
    assert (run.path / "merged.txt").read_bytes() == (here.path / "merged.txt").read_bytes()
    for step in chain:
        assert receipts.is_done(run, step, receipts.step_key(run, step))


def test_a_failing_task_leaves_its_message(
    ceph: Ceph, make_run: Callable[..., Run], source: Path, tmp_path: Path
) -> None:
    steps = small_chain(source, message="no more paper")
    pods = Pods(ceph, make_run("bad", *steps), tmp_path / "cluster")
    assert pods.do(steps[0]).code == 0
    result = pods.do(steps[1])
    assert result.has("error.pb")
    assert not result.has("outputs.pb")
    code, message, again = result.error()
    assert again
    error = told(code, message)
    assert "no more paper" in error.what
    assert "step shard" in str(error)
    assert "no more paper" in result.output
    assert "deepsynthsecret" not in result.output + message


def test_a_wrong_request_is_not_tried_again(
    ceph: Ceph, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    """Exit code 2 says that the job is wrong: a second attempt would say the same."""
    job = tickets.write_job(tmp_path / "job")
    (tmp_path / "job" / "tickets.csv").write_text("text,label\na,b\n")
    prepare = Step.model_validate(
        {
            "name": "prepare",
            "argv": ["{python}", "-m", "deepsynth.families.classify.prepare", "{run}"],
            "sources": {"data": str(job.with_name("tickets.csv"))},
            "outputs": ["data"],
        }
    )
    pods = Pods(ceph, make_run("wrong", prepare), tmp_path / "cluster")
    result = pods.do(prepare)
    code, message, again = result.error()
    assert not again
    error = told(code, message)
    assert error.exit_code == 2
    assert "too few" in error.what


def test_a_folder_that_was_changed_is_refused(
    ceph: Ceph, make_run: Callable[..., Run], chain: list[Step], tmp_path: Path
) -> None:
    pods = Pods(ceph, make_run("changed", *chain), tmp_path / "cluster")
    pods.do(chain[0])
    module = pods.cluster.module
    result = pods.cluster.pod(module.shard_step, key="0" * 64, index=0, **pods.given(chain[1]))
    assert result.has("error.pb")
    assert "not what its key says" in result.error()[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_another_pod_goes_on_from_the_checkpoint_of_one_that_was_ended(
    ceph: Ceph, tmp_path: Path, number: signal.Signals
) -> None:
    """SIGTERM leaves time to save; a node that is gone leaves what was copied to the store."""
    run = toy.make_run(tmp_path / "run", toy.counting(90))
    train = run.plan.step("train")
    settings = FlyteSettings(checkpoint_minutes=0.005 if number == signal.SIGKILL else 60)
    pods = Pods(ceph, run, tmp_path / "cluster", settings)

    def late(pod: Path) -> bool:
        if number == signal.SIGTERM:
            return bool(list(pod.glob("**/train/work/checkpoint")))
        return pods.kept() is not None

    first = pods.do(train, End(number, late))
    assert first.code != 0 or first.error()[2], first.output
    assert not first.has("outputs.pb")
    assert pods.kept() is not None
    second = pods.do(train)
    assert second.code == 0, second.output
    started = [line for line in second.output.splitlines() if line.startswith("from ")]
    assert int(started[0].split()[1]) >= 10
    assert (run.path / "model" / "weights").read_text() == toy.counted(90)
    assert pods.kept() is None


def manuscript(folder: Path) -> Path:
    from examples.manuscript.make_pages import demo_font, write_pages

    write_pages(folder / "pages", font=demo_font("DejaVuSerif"), pages=12, seed=1, lines=3)
    job = folder / "job.yaml"
    job.write_text("family: htr\ndata: {ground_truth: pages}\ntrain: {epochs: 1}\n")
    return job


def articles(folder: Path) -> Path:
    shutil.copy(EXAMPLES / "articles" / "articles.jsonl", folder)
    shutil.copy(EXAMPLES / "articles" / "job.yaml", folder)
    return folder / "job.yaml"


@pytest.mark.slow
@pytest.mark.parametrize("write_job", [manuscript, articles])
def test_a_step_of_every_other_family_in_a_pod(
    ceph: Ceph, make_run: Callable[..., Run], tmp_path: Path, write_job: Callable[[Path], Path]
) -> None:
    (tmp_path / "job").mkdir()
    job = write_job(tmp_path / "job")
    here, run = make_run("same", job=job), make_run("pods", job=job)
    first = run.plan.steps[0]
    LocalRunner().run(here, [first], lambda: None)
    settings = FlyteSettings(images={"htr": "deepsynth-htr:cpu"})
    result = Pods(ceph, run, tmp_path / "cluster", settings).do(first)
    assert result.code == 0, result.output
    assert receipts.is_done(run, first, receipts.step_key(run, first))
    assert made(run, [first]) == made(here, [first])


@pytest.mark.thorough
def test_classify_whole_in_pods(
    ceph: Ceph, trained_here: Run, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    """Four pods that share nothing but S3 end with the files of the local run."""
    run = make_run("here", job=trained_here.path.parent / "job" / "job.yaml")
    pods = Pods(ceph, run, tmp_path / "cluster")
    for step in run.plan.steps:
        result = pods.do(step)
        assert result.code == 0, result.output
    assert result.has("report.html")
    assert made(run) == made(trained_here)
    assert tickets.curve(run.path) == tickets.curve(trained_here.path)
    published = storage.read_publication(pods.made["train"].path.rpartition("/")[0])
    assert published is not None
    assert "model/config.json" in published.files
