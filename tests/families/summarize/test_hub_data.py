"""Pages on the Hub: by address or by name, pinned, only what is needed, in shares."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from deepsynth.errors import DataError, JobError, RequestError
from deepsynth.families import get_family, load_job
from deepsynth.families.summarize.job import Data
from deepsynth.families.summarize.prepare import main
from deepsynth.families.summarize.prepared import read_samples, rows_of
from deepsynth.families.summarize.sources import fetched_rows
from deepsynth.hub.account import Account, dataset_repo_name
from deepsynth.hub.publish import publish
from deepsynth.run.run import Run
from tests.families.summarize.test_prepare import texts, write
from tests.servers.hub import StandIn

SHARD = 30


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A Hub with pages of two sources, three shards of training rows each, and a dated copy."""
    with StandIn(tmp_path_factory.mktemp("hub")) as hub:
        for number, name in enumerate(("mlsum_fr", "mlsum_es")):
            folder = tmp_path_factory.mktemp(name)
            for shard in range(3):
                start = 1000 * number + SHARD * shard
                write(folder / "data" / f"train-{shard}.parquet", texts(SHARD, start))
            write(folder / "data" / "test-0.parquet", texts(4, 1000 * number + 500))
            put(hub, folder, dataset_repo_name(name))
        put(hub, folder, dataset_repo_name(name, "2026-11"))
        yield hub


def put(hub: StandIn, folder: Path, repo: str) -> None:
    from deepsynth import durable

    files = []
    for path in sorted((folder / "data").iterdir()):
        rows = 4 if path.name.startswith("test") else SHARD
        files.append(
            {
                "path": f"data/{path.name}",
                "split": path.name.split("-")[0],
                "rows": rows,
                "bytes": path.stat().st_size,
                "sha256": durable.sha256_file(path),
            }
        )
    manifest = {"splits": {"train": 3 * SHARD, "test": 4}, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n\nPages\n")
    account = Account(token="hf_alice_write", endpoint=hub.url)
    publish(folder, repo=repo, account=account, transport="lfs")


@pytest.fixture
def hub(server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    server.clear()
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "HF_TOKEN": "hf_alice_write",
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(tmp_path / "hf"),
        "DEEPSYNTH_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HF_USERNAME", raising=False)
    return server


def make_run(folder: Path, data: Any) -> Run:
    job = {"family": "summarize", "data": data, "model": "scratch:deepseek-ocr-2-tiny"}
    (folder / "job.yaml").write_text(json.dumps(job))
    family = get_family("summarize")
    resolved = family.resolve(load_job(folder / "job.yaml"))
    return Run.create(folder / "run", resolved, family.plan(resolved))


def test_an_address_is_pinned_and_only_the_shards_needed_travel(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = f"alice/{dataset_repo_name('mlsum_fr')}"
    run = make_run(tmp_path, f"hub:{repo}@main")
    ((place, _),) = run.plan.step("prepare").settings["places"]
    sha = place.removeprefix(f"{repo}@")
    assert len(sha) == 40
    assert run.settings["data.hub"].where == "job.yaml:1"
    assert run.settings["data.revision"].value == sha
    place = tmp_path / "few"
    place.mkdir()
    few = make_run(place, {"hub": repo, "revision": sha, "max_train_samples": 20})
    hub.clear()
    main(few)
    assert rows_of(few)["train"] == 20
    fetched = {Path(r["req"].split()[1]).name for r in hub.requests("/resolve/")}
    assert {name for name in fetched if name.endswith("parquet")} == {
        "train-0.parquet",
        "test-0.parquet",
    }

    # the token counts even though all is cached
    monkeypatch.setenv("HF_TOKEN", "hf_revoked")
    with pytest.raises(RequestError, match="token was not accepted"):
        main(few)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.clear()
    shutil.rmtree(few.path / "data")
    main(few)
    assert rows_of(few)["train"] == 20
    again = tmp_path / "again"
    again.mkdir()
    same = make_run(again, {"hub": f"{repo}@main", "max_train_samples": 20})
    assert same.settings["data.revision"].value == sha
    assert hub.log() == []


def test_names_mean_ones_own_and_weights_are_shares(hub: StandIn, tmp_path: Path) -> None:
    run = make_run(
        tmp_path, {"datasets": ["mlsum_fr", "mlsum_es"], "weights": [1, 3], "test_share": 0}
    )
    places = [place for place, _ in run.plan.step("prepare").settings["places"]]
    assert [place.split("@")[0] for place in places] == [
        "alice/deepsynth-mlsum-fr-images",
        "alice/deepsynth-mlsum-es-images",
    ]
    main(run)
    rows = read_samples(run, "train", "train").summaries()
    spanish = {text[:20] for text in texts(3 * SHARD, 1000)}
    share = Counter(summary in spanish for summary in rows)
    assert len(set(rows)) == len(rows)
    assert share[True] / len(rows) == pytest.approx(0.75, abs=0.1)


def test_all_is_every_undated_one_and_those_made_here_come_first(
    hub: StandIn, tmp_path: Path
) -> None:
    run = make_run(tmp_path, {"datasets": ["all"]})
    places = [place for place, _ in run.plan.step("prepare").settings["places"]]
    assert [place.split("/")[1].split("@")[0] for place in places] == [
        "deepsynth-mlsum-es-images",
        "deepsynth-mlsum-fr-images",
    ]
    here = tmp_path / "datasets" / "mlsum_es"
    write(here / "train-0.parquet", texts(12))
    (here / "manifest.json").write_text("{}")
    (tmp_path / "second").mkdir()
    run = make_run(tmp_path / "second", {"datasets": ["all"]})
    places = [place for place, _ in run.plan.step("prepare").settings["places"]]
    assert places[0] == str(here)
    assert places[1].startswith("alice/deepsynth-mlsum-fr-images@")


def test_what_is_not_there_is_told_with_what_is(hub: StandIn, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        make_run(tmp_path, {"datasets": ["mlsum_de"]})
    assert "alice/deepsynth-mlsum-fr-images" in str(caught.value)
    assert "deepsynth generate mlsum_de --publish" in str(caught.value)
    with pytest.raises(DataError, match="bob has published no dataset"):
        make_run(tmp_path, {"datasets": ["mlsum_fr"], "hf_dataset_prefix": "bob"})
    for wrong in ({"weights": [1]}, {"weights": [1, -1]}, {"revision": "main"}):
        with pytest.raises(JobError):
            make_run(tmp_path, {"datasets": ["mlsum_fr", "mlsum_es"], **wrong})


def test_nobody_in_particular_is_asked_for_a_token(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(RequestError, match=r"without a token(.|\n)*deepsynth generate mlsum_fr"):
        make_run(tmp_path, {"datasets": ["mlsum_fr"]})


def test_as_many_rows_are_fetched_as_may_be_needed() -> None:
    def rows(**more: Any) -> dict[str, int]:
        return fetched_rows(Data.model_validate({"hub": "a/b", **more}))

    assert rows() == {}
    assert rows(max_train_samples=100, validation_share=0.1, test_share=0.1)["train"] == 138
    assert rows(max_train_samples=900)["test"] == 900
    assert rows(max_train_samples=9, max_val_samples=5)["validation"] == 5
