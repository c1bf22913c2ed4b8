"""The generated module, the settings it is made from, and what a cluster would be asked."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from deepsynth import durable, storage
from deepsynth.errors import DeepSynthError, JobError, RequestError, RunError
from deepsynth.home import confirm
from deepsynth.run import receipts
from deepsynth.run.run import Run
from deepsynth.run.step import Plan, Step
from deepsynth.runners import get_runner
from deepsynth.runners.flyte.cluster import FlyteRunner
from deepsynth.runners.flyte.failure import as_flyte, from_flyte
from deepsynth.runners.flyte.layout import expected_key, makers
from deepsynth.runners.flyte.local import load_workflow
from deepsynth.runners.flyte.settings import FlyteSettings, load_settings
from deepsynth.runners.flyte.workflow import version_of, workflow_text, write_workflow
from tests.conftest import Answer
from tests.runners.flyte.conftest import OWN
from tests.support import tickets

SETTINGS = """
image: ghcr.io/team/deepsynth:cpu
store: s3://bucket/deepsynth
gpu: T4
retries: 1
steps:
  train: {cpu: 4, memory: 16Gi, gpu: "A100:2", disk: 50Gi, minutes: 90, retries: 3}
"""


def step(name: str, **fields: object) -> Step:
    return Step.model_validate({"name": name, "argv": ["true"]} | fields)


def test_the_expected_key_is_the_key_of_the_receipt(
    make_run: Callable[..., Run], source: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "x").write_text("x")
    last = step(
        "last", sources={"text": str(source), "all": str(folder)}, inputs=["data", "n.txt", "no"]
    )
    run = make_run("run", last)
    (run.path / "data" / "deep").mkdir(parents=True)
    (run.path / "data" / "deep" / "y").write_text("y")
    (run.path / "n.txt").write_text("3")
    sources = {name: durable.digest(run.source(last, name)) for name in last.sources}
    assert expected_key(last, sources, durable.digest(run.path)) == receipts.step_key(run, last)


def test_who_feeds_whom() -> None:
    plan = Plan(
        steps=[
            step("shard", outputs=["shards/{index}.txt"], array=2),
            step("model", outputs=["model", "metrics.json"]),
            step("modelling", outputs=["models"]),
            step("use", inputs=["shards", "model/weights"]),
        ]
    )
    assert [maker.name for maker in makers(plan, plan.step("use"))] == ["shard", "model"]


def test_a_task_gets_what_the_job_and_the_settings_say(
    make_run: Callable[..., Run], flyte_home: Path
) -> None:
    (flyte_home / OWN).write_text(SETTINGS)
    gpus = {"cpus": 2, "memory_gb": 8, "gpus": 1, "minutes": 30}
    auto = step("auto", resources=gpus | {"gpus": "auto"})
    run = make_run("run", step("train"), step("other", resources=gpus), step("plain"), auto)
    module = load_workflow(write_workflow(run, run.plan.steps, load_settings(), "s3://b/c"))
    train, other, plain = module.train_step, module.other_step, module.plain_step
    assert (train.retries.count, train.timeout.total_seconds()) == (3, 5400)
    asked = module.train_env.resources
    assert (asked.cpu, asked.memory, asked.gpu, asked.disk) == (4, "16Gi", "A100:2", "50Gi")
    assert module.other_env.resources.gpu == "T4:1"
    assert (other.retries.count, other.timeout.total_seconds()) == (1, 1800)
    assert module.plain_env.resources.gpu is None
    assert module.auto_env.resources.gpu == "T4:1"
    assert module.auto_env.env_vars["DEEPSYNTH_GPUS"] == "asked T4:1"
    assert load_settings().model_copy(update={"gpu": None}).needs(auto).gpu is None
    assert plain.image.uri == "ghcr.io/team/deepsynth:cpu"


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("imag: x", "flyte.yaml:1: imag is not a setting of Flyte", "Did you mean image?"),
        ("steps:\n  train: {cpus: 2}", "flyte.yaml:2: steps.train.cpus", "Did you mean cpu?"),
        ("image: 'x y'", "flyte.yaml:1: image is 'x y'", ""),
        ('gpu: "T4\'+x"', "flyte.yaml:1: gpu", ""),
    ],
)
def test_settings_are_read_strictly(flyte_home: Path, text: str, what: str, hint: str) -> None:
    (flyte_home / OWN).write_text(text)
    with pytest.raises(JobError) as error:
        load_settings()
    assert what in str(error.value)
    assert hint in str(error.value)


def test_the_settings_of_a_folder_count_once_they_were_confirmed(flyte_home: Path) -> None:
    theirs = flyte_home / "flyte.yaml"
    theirs.write_text("image: evil\n")
    with pytest.raises(RequestError, match="not confirmed") as caught:
        load_settings()
    assert f"deepsynth trust {theirs}" in str(caught.value)
    confirm(theirs)
    assert load_settings().image == "evil"
    (flyte_home / OWN).write_text("image: own\n")
    assert load_settings().image == "own"


def test_what_a_plan_says_is_no_python(make_run: Callable[..., Run]) -> None:
    title = 'Training""" + exit(1) + """\\'
    run = make_run("run", step("train", title=title))
    text = workflow_text(run, run.plan.steps, FlyteSettings(), "s3://b/c")
    (docstring,) = [
        ast.get_docstring(node)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.AsyncFunctionDef) and node.name == "train_step"
    ]
    assert docstring == f"{title}: the step train."
    with pytest.raises(ValueError, match="task"):
        step("train", task="f(): exit(1)\ndef g")


def test_an_environment_without_an_image_is_named(make_run: Callable[..., Run]) -> None:
    run = make_run("run", step("compile", environment="htr"))
    with pytest.raises(JobError, match="no image is named for the environment htr"):
        workflow_text(run, run.plan.steps, FlyteSettings(), "s3://b/c")


def test_the_ticket_pipeline_has_the_names_people_know(
    tickets_job: Path, make_run: Callable[..., Run]
) -> None:
    run = make_run("run", job=tickets_job)
    module = load_workflow(write_workflow(run, run.plan.steps, FlyteSettings(), "s3://b/c"))
    for name in ("download_dataset", "tokenize_dataset", "train_and_eval", "pipeline"):
        assert getattr(module, name).func.__name__ == name
    assert module.evaluate_step.report
    assert module.train_and_eval.report
    kinds = [kind.__name__ for kind in module.train_and_eval.native_interface.outputs.values()]
    assert kinds == ["Dir", "Dir", "Dir", "File", "File"]


def test_the_version_changes_with_the_job(make_run: Callable[..., Run], tmp_path: Path) -> None:
    one = make_run("one", job=tickets.write_job(tmp_path / "a", {"seed": 1}))
    two = make_run("two", job=tickets.write_job(tmp_path / "a", {"seed": 2}))
    assert version_of(one) == version_of(one) != version_of(two)


def test_a_dry_run_of_deploy_needs_no_network(
    tickets_job: Path, flyte_home: Path, command: Callable[..., Answer]
) -> None:
    (flyte_home / OWN).write_text(SETTINGS)
    told = command("flyte", "deploy", tickets_job, "seed=7", "--dry-run").out
    assert "async def download_dataset(key: str, source_data: Dir) -> Dir:" in told
    assert "store='s3://bucket/deepsynth'" in told
    assert "would register deepsynth-classify-train.train_step version" in told
    compile(told, "workflow.py", "exec")


def test_a_cluster_needs_a_store_it_can_reach(make_run: Callable[..., Run]) -> None:
    run = make_run("run", step("one"))
    with pytest.raises(JobError, match="a cluster needs a store"):
        FlyteRunner().submit(run, run.plan.steps)


def test_a_cluster_that_is_not_configured_is_told(
    make_run: Callable[..., Run], flyte_home: Path
) -> None:
    (flyte_home / OWN).write_text(SETTINGS)
    run = make_run("run", step("one"))
    with pytest.raises(RequestError, match="no Flyte cluster is configured") as error:
        get_runner("flyte").run(run, run.plan.steps, lambda: None)
    assert "flyte create config" in str(error.value)


def test_a_cluster_out_of_reach_is_told_at_once(
    make_run: Callable[..., Run], flyte_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (flyte_home / OWN).write_text(SETTINGS)
    config = flyte_home / "config.yaml"
    config.write_text("admin:\n  endpoint: dns:///127.0.0.1:9\n  insecure: true\n")
    monkeypatch.setenv("FLYTECTL_CONFIG", str(config))
    run = make_run("run", step("one"))
    with pytest.raises(DeepSynthError, match="cannot be reached") as error:
        FlyteRunner().submit(run, run.plan.steps)
    assert "dns:///127.0.0.1:9" in str(error.value)


@pytest.mark.parametrize("ask", ["stop", "fetch", "lines"])
def test_a_run_that_was_not_submitted_is_told(make_run: Callable[..., Run], ask: str) -> None:
    with pytest.raises(RunError, match="not submitted to a Flyte cluster"):
        getattr(FlyteRunner(), ask)(make_run("run", step("one")))


def test_errors_keep_their_place_remedy_and_exit_code() -> None:
    for error in (
        JobError("it is wrong.", where="job.yaml:3", hint="Write it."),
        storage.StorageError("it broke: badly.", where="s3://b/x"),
        DeepSynthError("no place"),
    ):
        back = from_flyte(as_flyte(error))
        assert str(back) == str(error)
        assert back.exit_code == error.exit_code


def test_another_detail_is_refused() -> None:
    with pytest.raises(RequestError, match="nothing after a colon but local"):
        get_runner("flyte:moon")


def test_without_flyte_its_absence_is_told(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "flyte.io", None)
    run = make_run("run", step("one"))
    with pytest.raises(RequestError, match="needs the package flyte") as error:
        get_runner("flyte:local").run(run, run.plan.steps, lambda: None)
    assert ".[flyte]" in str(error.value)


def test_nothing_is_told_to_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    from deepsynth.runners.flyte.local import prepare_flyte

    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    prepare_flyte()
    from flyte import _sentry

    assert _sentry._is_disabled()


def test_the_steps_a_cluster_runs_are_seen(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the SDK says of the tasks becomes events, so that status shows it."""
    run = make_run("run", step("one"), step("two"))
    durable.write_json(_folder(run) / "run.json", {"url": "u", "name": "n", "steps": ["one"]})
    actions = [
        SimpleNamespace(task_name="deepsynth-classify-one.one_step", phase="running"),
        SimpleNamespace(task_name="deepsynth-classify-driver.pipeline", phase="running"),
        SimpleNamespace(task_name="deepsynth-classify-two.two_step", phase="queued"),
    ]
    runner = FlyteRunner()
    monkeypatch.setattr(runner, "_actions", lambda run: actions)
    runner._show(run)
    runner._show(run)
    assert [e["step"] for e in run.events() if e["kind"] == "step_started"] == ["one"]
    assert runner.lines(run)[0] == "deepsynth-classify-one.one_step: running"


def _folder(run: Run) -> Path:
    folder = run.path / "flyte"
    folder.mkdir()
    return folder
