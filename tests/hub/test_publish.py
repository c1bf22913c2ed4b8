"""Publishing: one verified commit, whatever was there before."""

import pytest

from deepsynth.hub.publish import publish
from tests.hub.conftest import QUICK
from tests.hub.folders import make_dataset


@pytest.mark.parametrize("transport", ["lfs", "xet"])
def test_a_dataset_arrives_as_one_commit(hub, alice, repo, tmp_path, transport):
    folder = make_dataset(tmp_path / "d")
    done = publish(folder, repo=repo, account=alice, retry=QUICK, transport=transport)
    assert done.repo == f"alice/{repo}"
    assert done.transport == transport
    assert done.new_commit
    assert done.sent_files == 7
    assert len(hub.requests("/commit/main")) == 1
    again = publish(folder, repo=repo, account=alice, retry=QUICK, transport=transport)
    assert again.sha == done.sha
    assert not again.new_commit
    assert len(hub.requests("/commit/main")) == 1
