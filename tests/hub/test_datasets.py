"""Short names to repositories, and several datasets as one."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepsynth.errors import DataError, RequestError
from deepsynth.hub.account import Account, dataset_repo_name
from deepsynth.hub.datasets import mix, resolve_datasets
from deepsynth.hub.publish import publish
from deepsynth.hub.remote import list_remote
from tests.hub.conftest import QUICK
from tests.support.folders import make_dataset


@pytest.fixture
def someone(hub, request):
    """A user of this test's own, so that listings hold only what it published."""
    name = f"user{abs(hash(request.node.name)) % 10**8}"
    hub.control("users", {"token": f"hf_{name}_write", "name": name})
    return Account(token=f"hf_{name}_write", username=name, endpoint=hub.url)


def put(account, repo, folder):
    return publish(folder, repo=repo, account=account, retry=QUICK, transport="lfs").repo


def test_names_follow_the_guide():
    assert dataset_repo_name("mlsum_fr") == "deepsynth-mlsum-fr-images"
    assert dataset_repo_name("mlsum_fr", "2026-11") == "deepsynth-mlsum-fr-images-2026-11"


def test_short_names_are_the_callers_repositories_or_someone_elses(hub, someone, alice, tmp_path):
    folder = make_dataset(tmp_path / "d", splits={"train": (1, 3)})
    names = [dataset_repo_name("mlsum_fr"), dataset_repo_name("mlsum_es")]
    mine = [put(someone, name, folder) for name in names]
    put(someone, "unrelated", folder)
    put(someone, dataset_repo_name("mlsum_fr", "2026-11"), folder)
    assert resolve_datasets(["mlsum_fr", "mlsum_es"], account=someone) == mine
    assert resolve_datasets(["all"], account=someone) == sorted(mine)
    assert resolve_datasets(["mlsum_fr@2026-11"], account=someone) == [f"{mine[0]}@2026-11"]
    assert resolve_datasets(["a/b"], account=someone) == ["a/b"]
    listed = [item.repo for item in list_remote(account=someone)]
    assert listed == sorted([*mine, f"{mine[0]}-2026-11"])
    assert list_remote(someone.username, account=alice) == []  # private ones stay hidden
    hub.control("users", {"token": someone.token, "name": someone.username, "role": "read"})
    reader = Account(token=someone.token, username="nobody", endpoint=hub.url)
    assert resolve_datasets(["mlsum_fr"], someone.username, account=reader) == mine[:1]


def test_a_missing_one_lists_what_exists_and_the_command_that_makes_it(someone, tmp_path):
    put(someone, dataset_repo_name("xsum"), make_dataset(tmp_path / "d", splits={"train": (1, 3)}))
    with pytest.raises(DataError) as caught:
        resolve_datasets(["mlsum_de"], account=someone)
    assert f"{someone.username}/deepsynth-xsum-images" in str(caught.value)
    assert "deepsynth generate mlsum_de --publish" in str(caught.value)
    with pytest.raises(DataError, match=r"Did you mean mlsum_fr\?"):
        resolve_datasets(["mlsum_f"], account=someone)
    with pytest.raises(DataError, match=r"Did you mean xsum\?"):
        resolve_datasets(["xsom"], account=someone)
    with pytest.raises(DataError, match="there is none"):
        resolve_datasets(["all"], "nobody-here", account=someone)


@pytest.fixture
def pair(tmp_path):
    splits = {"train": (2, 30)}
    return [make_dataset(tmp_path / name, seed=n, splits=splits) for n, name in enumerate("ab")]


@pytest.fixture(autouse=True)
def datasets_cache(monkeypatch, tmp_path):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


def test_datasets_are_concatenated(pair):
    mixed = mix(pair)
    assert mixed.num_rows == 120
    assert mixed[0]["text"].startswith("texte é 0-")
    assert mixed[119]["text"].startswith("texte é 1001-")


def test_weights_are_shares_and_no_row_comes_twice(pair):
    mixed = mix(pair, weights=[3, 1], seed=7)
    texts = mixed["text"][:]
    assert len(set(texts)) == len(texts)
    first = sum(int(text.split()[-1].split("-")[0]) < 1000 for text in texts)
    assert first == 60
    assert first / len(texts) == pytest.approx(0.75, abs=0.1)
    assert mix(pair, weights=[3, 1], seed=7)["text"][:] == texts


def test_other_columns_or_weights_that_do_not_fit_are_refused(pair):
    with pytest.raises(RequestError, match="need 2 weights"):
        mix(pair, weights=[1])
    with pytest.raises(DataError, match="no split test"):
        mix(pair, split="test")
    pq.write_table(pa.table({"text": ["x"]}), pair[1] / "data/train-00000-of-00002.parquet")
    with pytest.raises(DataError, match=r"image is missing; summary is missing"):
        mix(pair)
