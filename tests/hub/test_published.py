"""Short names to repositories, and rows of several in shares."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepsynth.data.published import interleave, resolve_datasets
from deepsynth.errors import DataError, RequestError
from deepsynth.hub.account import Account, dataset_repo_name
from deepsynth.hub.features import same_columns
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


def test_weights_are_shares_and_no_row_comes_twice():
    groups = [list(range(60)), list(range(100, 160))]
    rows = interleave(groups, [3, 1], seed=7)
    assert len(set(rows)) == len(rows)
    first = [row for row in rows if row < 100]
    assert first == groups[0]
    assert len(first) / len(rows) == pytest.approx(0.75, abs=0.1)
    assert interleave(groups, [3, 1], seed=7) == rows


def test_weights_that_do_not_fit_are_refused():
    for weights in ([1], [1, 0]):
        with pytest.raises(RequestError, match="need 2 weights"):
            interleave([[1], [2]], weights, seed=0)


def test_datasets_with_other_columns_are_refused(tmp_path):
    files = [
        make_dataset(tmp_path / name, splits={"train": (1, 3)})
        / "data/train-00000-of-00001.parquet"
        for name in "ab"
    ]
    same_columns(files)
    pq.write_table(pa.table({"text": ["x"]}), files[1])
    with pytest.raises(DataError, match=r"image is missing; summary is missing"):
        same_columns(files)
