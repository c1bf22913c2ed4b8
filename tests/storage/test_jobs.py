"""Jobs whose data and model are in object storage."""

from __future__ import annotations

import shutil
from pathlib import Path

import obstore
import pytest
import yaml
from examples.manuscript.make_pages import demo_font, write_pages

from deepsynth import durable, storage
from deepsynth.families import get_family, load_job
from deepsynth.run import receipts
from deepsynth.run.execution import execute
from deepsynth.run.run import Run
from deepsynth.storage.stores import join, open_store
from tests.support import tickets

ARTICLES = Path(__file__).parents[2] / "examples" / "articles"


def make_run(path: Path, job: Path) -> Run:
    loaded = load_job(job)
    family = get_family(loaded.job.family)
    resolved = family.resolve(loaded)
    return Run.create(path, resolved, family.plan(resolved))


def put(url: str, file: Path) -> str:
    obstore.put(*open_store(url), file.read_bytes())
    return url


def test_a_job_reads_its_data_and_model_from_storage(
    place: str, home: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = finished / "model"
    job = tickets.write_job(tmp_path / "job", {"model": str(model)})
    rows = put(join(place, "data/tickets.csv"), tmp_path / "job" / "tickets.csv")
    storage.publish(model, join(place, "model"))
    changes = {"data": {"path": rows}, "model": join(place, "model")}
    here = make_run(tmp_path / "here", job)
    far = make_run(tmp_path / "far", tickets.write_job(tmp_path / "elsewhere", changes))
    assert far.plan.step("prepare").sources == {"data": rows}
    assert far.plan.step("train").sources == {"model": join(place, "model")}
    for run in (here, far):
        execute(run, run.plan.step("prepare"))
    assert durable.digest(far.path / "data") == durable.digest(here.path / "data")
    for name in ("prepare", "train"):
        keys = [receipts.step_key(run, run.plan.step(name)) for run in (here, far)]
        assert keys[0] == keys[1]
    # The same run once the object is another one: the step is done again.
    with (tmp_path / "job" / "tickets.csv").open("a") as stream:
        stream.write("thank you for the lovely lamp,comment\n")
    put(rows, tmp_path / "job" / "tickets.csv")
    assert execute(far, far.plan.step("prepare")) == "done"
    assert durable.digest(far.path / "data") != durable.digest(here.path / "data")


def test_every_family_finds_its_data_there(place: str, home: Path, tmp_path: Path) -> None:
    write_pages(tmp_path / "pages", font=demo_font("DejaVuSerif"), pages=4, seed=1, lines=3)
    for file in durable.files_below(tmp_path / "pages"):
        put(join(place, "pages", file.relative_to(tmp_path / "pages").as_posix()), file)
    texts = put(join(place, "articles.jsonl"), ARTICLES / "articles.jsonl")
    summarize = yaml.safe_load((ARTICLES / "job.yaml").read_text())
    summarize["data"] |= {"path": texts}
    jobs = {"htr": {"data": {"ground_truth": join(place, "pages")}}, "summarize": summarize}
    for name, values in jobs.items():
        job = tmp_path / f"{name}.yaml"
        job.write_text(yaml.safe_dump({"family": name} | values))
        run = make_run(tmp_path / name, job)
        first = run.plan.steps[0]
        (url,) = first.sources.values()
        assert url.startswith(place)
        assert receipts.step_key(run, first)


def test_what_is_not_there_ends_before_a_run_is_made(
    place: str, home: Path, tmp_path: Path
) -> None:
    job = tickets.write_job(tmp_path / "job", {"data": {"path": join(place, "none.csv")}})
    with pytest.raises(storage.LocationError, match="there is nothing there") as error:
        make_run(tmp_path / "run", job)
    assert error.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_a_step_needs_nothing_that_fetches(home: Path, tmp_path: Path) -> None:
    """The environment of a step, such as Kraken's, may lack what reads object storage."""
    store = tmp_path / "store"
    store.mkdir()
    job = tickets.write_job(tmp_path / "job")
    shutil.move(tmp_path / "job" / "tickets.csv", store)
    far = {"data": {"path": f"file://{store}/tickets.csv"}}
    run = make_run(tmp_path / "run", tickets.write_job(tmp_path / "job", far))
    prepare = run.plan.step("prepare")
    code = "import sys; sys.modules['obstore'] = None; import runpy; "
    code += "runpy.run_module('deepsynth.families.classify.prepare', run_name='__main__')"
    blind = prepare.model_copy(update={"argv": ["{python}", "-c", code, "{run}"]})
    assert execute(run, blind) == "done"
    assert job.exists()
