"""What every family must do. A new family is covered by one line in `SMALL`."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import deepsynth
from deepsynth.cli import run_command
from deepsynth.families import FAMILIES, family_names, get_family, load, load_job
from deepsynth.job.job import Job, ResolvedJob, read_settings, typed_job
from deepsynth.job.settings import setting_names
from deepsynth.run.environments import get_environment
from deepsynth.run.receipts import has_receipt
from deepsynth.run.run import Run
from deepsynth.run.status import run_state
from tests.support import tickets
from tests.support.folders import places_named
from tests.support.jobs import SMALL
from tests.support.shared import made_once
from tests.support.tickets import kinds

SOURCE = Path(deepsynth.__file__).parent

every_family = pytest.mark.parametrize("name", family_names())


def resolved(name: str, folder: Path) -> ResolvedJob:
    return load(SMALL[name](folder))


@pytest.fixture(scope="session")
def whole_once(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[[str], Path]:
    """Makes, or finds, the whole run of a family's small job."""

    def make(name: str) -> Path:
        if name == "classify":  # the run that is there anyway
            return Path(request.getfixturevalue("finished"))
        if get_family(name).environment:
            request.getfixturevalue("kraken_folder")

        def fill(folder: Path) -> None:
            job = SMALL[name](folder / "job")
            done = tickets.deepsynth("run", job, "--runs", folder, "--name", "run", "--quiet")
            assert done.returncode == 0, done.stderr

        return made_once(tmp_path_factory, f"whole-{name}", fill) / "run"

    return make


@pytest.fixture
def whole(name: str, whole_once: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of the whole run of a family's small job."""
    return Path(shutil.copytree(whole_once(name), tmp_path / "whole"))


def test_every_family_has_a_small_job() -> None:
    assert list(SMALL) == list(FAMILIES.ours)


@every_family
def test_a_family_says_what_it_is(name: str) -> None:
    family = get_family(name)
    assert family.name == name
    assert issubclass(family.job_type, Job)
    assert family.summary == family.summary.strip().rstrip(".")
    assert "\n" not in family.summary


@every_family
def test_every_setting_is_described(name: str) -> None:
    def undescribed(model: type, prefix: str = "") -> list[str]:
        missing: list[str] = []
        for key, info in model.model_fields.items():  # type: ignore[attr-defined]
            below = [a for a in (info.annotation,) if hasattr(a, "model_fields")]
            if below:
                missing += undescribed(below[0], f"{prefix}{key}.")
            elif not info.description:
                missing.append(prefix + key)
        return missing

    assert undescribed(get_family(name).job_type) == []


@every_family
def test_what_init_writes_is_a_job(name: str, tmp_path: Path) -> None:
    assert run_command(["init", name, str(tmp_path / "new")]) == 0
    loaded = load_job(tmp_path / "new" / "job.yaml")
    assert loaded.job.family == name
    assert set(loaded.settings) == set(setting_names(get_family(name).job_type))
    comments = [line for line in loaded.text.splitlines() if line.lstrip().startswith("#")]
    assert len(comments) >= 3
    assert run_command(["init", name, str(tmp_path / "new")]) == 2


@every_family
def test_resolving_leaves_a_reason_for_every_preset_and_round_trips(
    name: str, tmp_path: Path
) -> None:
    job = resolved(name, tmp_path)
    presets = [setting for setting in job.settings.values() if setting.origin == "preset"]
    assert presets
    assert all(setting.why for setting in presets)
    assert read_settings(job.to_yaml()) == job.settings
    assert typed_job(type(job.job), job.settings) == job.job


@every_family
def test_a_plan_can_be_done_in_order_and_says_all_it_reads(name: str, tmp_path: Path) -> None:
    job = resolved(name, tmp_path)
    plan = get_family(name).plan(job)
    assert [step.name for step in plan.steps][-1] == "evaluate"
    made: dict[str, str] = {}
    for step in plan.steps:
        for needed in step.inputs:
            assert made[needed.split("/")[0]] in {s.name for s in plan.upto(step.name)}, needed
        made |= {output.split("/")[0]: step.name for output in step.outputs}
        assert "{run}" in step.argv
        assert all(Path(source).is_absolute() for source in step.sources.values())
    assert {"model", "metrics.json", "report.html"} <= set(made)


@every_family
def test_a_plan_depends_on_the_job_and_not_on_where_it_lies(name: str, tmp_path: Path) -> None:
    def keys(folder: Path) -> list[str]:
        steps = get_family(name).plan(resolved(name, folder)).steps
        for step in steps:
            assert str(folder) not in step.model_copy(update={"sources": {}}).model_dump_json()
        return [step.model_copy(update={"sources": {}}).model_dump_json() for step in steps]

    assert keys(tmp_path / "a") == keys(tmp_path / "b")


def test_every_step_is_a_plain_command_line(tmp_path: Path) -> None:
    name = "classify"
    job = resolved(name, tmp_path)
    run = Run.create(tmp_path / "run", job, get_family(name).plan(job))
    for step in run.plan.steps:
        for index in range(step.array):
            argv = [part.format(run=run.path, index=index, python="{python}") for part in step.argv]
            python, option, *module = get_environment(step.environment).command(argv)
            assert (python, option) == (sys.executable, "-m")
            done = tickets.run_module(*module)
            assert done.returncode == 0, done.stderr
            for output in step.outputs:
                assert (run.path / output.format(index=index)).exists(), output
    assert run.final_metrics()
    assert get_family(name).headline(run.final_metrics() or {})


@every_family
def test_receipts_let_a_second_command_skip_everything(name: str, whole: Path) -> None:
    run = Run(whole)
    assert run_state(run).state == "done"
    assert all(has_receipt(run, step) for step in run.plan.steps)
    before = {path: path.stat().st_mtime_ns for path in (whole / "model").rglob("*")}
    assert run_command(["run", "--resume", str(whole), "--quiet"]) == 0
    assert all(kinds(whole, step.name)[-1] == "step_skipped" for step in run.plan.steps)
    assert {path: path.stat().st_mtime_ns for path in (whole / "model").rglob("*")} == before


@every_family
def test_a_report_stands_alone(name: str, whole: Path) -> None:
    page = (whole / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    for outside in ("http://", "https://", '<script src="', "<link ", str(whole.parent)):
        assert outside not in page, outside


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize(("here", "there"), [("families", "runners"), ("runners", "families")])
def test_families_and_runners_do_not_know_each_other(here: str, there: str) -> None:
    files = list((SOURCE / here).rglob("*.py"))
    assert len(files) > 1
    guilty = {
        str(path.relative_to(SOURCE)): sorted(wrong)
        for path in files
        if (wrong := {n for n in _imports(path) if n.startswith(f"deepsynth.{there}")})
    }
    assert guilty == {}


@pytest.mark.parametrize("name", family_names())
def test_a_family_knows_no_other_family(name: str) -> None:
    others = tuple(f"deepsynth.families.{other}" for other in family_names() if other != name)
    for path in (SOURCE / "families" / name).rglob("*.py"):
        assert not {found for found in _imports(path) if found.startswith(others)}, path


def test_the_list_of_verbs_loads_neither_jobs_nor_anything_that_takes_time() -> None:
    script = (
        "import sys\nfrom deepsynth.cli import run_command\nrun_command(['--help'])\n"
        "heavy = {'pydantic', 'yaml', 'markdown_it', 'jinja2', 'numpy', 'PIL', 'torch', 'flyte'}\n"
        "print('loaded:', heavy & sys.modules.keys(), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "loaded: set()"


@every_family
def test_nothing_published_names_a_place_on_this_machine(name: str, whole: Path) -> None:
    assert places_named(whole, str(SOURCE.parent)) == []


def test_the_doctor_asks_every_family_for_its_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DEEPSYNTH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    run_command(["doctor", "--json"])
    found = {finding["where"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert found["ketos"]["fix"] == "deepsynth setup htr"


@every_family
def test_a_model_can_be_published_with_a_card(name: str, whole: Path) -> None:
    family = get_family(name)
    assert family.card
    said = family.card(Run(whole))
    compile(said.loading.format(repo="me/x", base="me/y"), "loading", "exec")
