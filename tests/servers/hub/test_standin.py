"""The real client against the stand-in, on both transports: what the library's tests stand on."""

import os
import urllib.error

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from .running import StandIn

# hub 2.4 sends its LFS parts through a deprecated argument of its own HTTP library
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
OPTIONS = ("--page-size", "7", "--multipart-over", "3000000", "--part-size", "1000000")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with StandIn(tmp_path_factory.mktemp("standin"), *OPTIONS) as running:
        yield running


@pytest.fixture
def api(hub):
    return HfApi(endpoint=hub.url, token="hf_alice_write")


@pytest.fixture
def repo(hub, api, request):
    hub.clear()
    # a name of its own for each test: the stand-in lives as long as this module
    name = "alice/" + "".join(c if c.isalnum() else "-" for c in request.node.name).strip("-")
    name = name.replace("--", "-")
    api.create_repo(name, repo_type="dataset", private=True)
    yield name
    hub.clear()
    assert hub.control("verify")["bad"] == []


@pytest.fixture(params=["xet", "lfs"])
def transport(request, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", request.param == "lfs")
    return request.param


def test_a_private_repository_is_hidden_from_others_and_read_tokens_cannot_write(hub, repo):
    for token in (False, "hf_bob_write"):
        with pytest.raises(RepositoryNotFoundError):
            HfApi(endpoint=hub.url, token=token).repo_info(repo, repo_type="dataset")
    reader = HfApi(endpoint=hub.url, token="hf_alice_read")
    assert reader.repo_info(repo, repo_type="dataset").private
    with pytest.raises(HfHubHTTPError, match="403"):
        reader.upload_file(
            path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=repo, repo_type="dataset"
        )


def test_a_large_file_goes_up_and_comes_down_over_either_transport(
    hub, api, repo, transport, tmp_path
):
    big = os.urandom(4_200_000)
    api.upload_file(
        path_or_fileobj=big, path_in_repo="d/big.bin", repo_id=repo, repo_type="dataset"
    )
    if transport == "xet":
        assert hub.requests("/_cas/v1/shards")
    else:
        assert len(hub.requests("/_s3/part/")) == 5
    path = api.hf_hub_download(repo, "d/big.bin", repo_type="dataset", cache_dir=tmp_path)
    with open(path, "rb") as copy:  # noqa: PTH123
        assert copy.read() == big
    assert not any(r["auth"] for r in hub.requests("/_s3/"))  # the token never goes to storage


def test_a_folder_pages_keeps_history_and_makes_no_empty_commit(api, repo, tmp_path):
    for number in range(20):
        (tmp_path / f"f{number:02d}.txt").write_text(str(number))
    for _ in range(2):
        api.upload_folder(
            repo_id=repo, folder_path=tmp_path, repo_type="dataset", ignore_patterns=["f0*"]
        )
    assert len(api.list_repo_files(repo, repo_type="dataset")) == 11
    titles = [c.title for c in api.list_repo_commits(repo, repo_type="dataset")]
    assert titles == ["Upload folder using huggingface_hub", "initial commit"]


def test_a_stale_parent_is_412_and_a_lost_answer_still_commits(hub, api, repo):
    def commit(name, **extra):
        operations = [CommitOperationAdd(name, name.encode())]
        api.create_commit(repo, operations, commit_message=name, repo_type="dataset", **extra)

    with pytest.raises(HfHubHTTPError, match="412"):
        commit("a.txt", parent_commit="0" * 40)
    hub.fault("POST .*/commit/", lost_response=True, drop="fin")
    with pytest.raises(Exception, match="disconnected"):
        commit("b.txt")
    assert api.file_exists(repo, "b.txt", repo_type="dataset")


def test_storage_faults_happen_as_asked(hub, api, repo, transport, tmp_path):
    (tmp_path / "x.bin").write_bytes(os.urandom(2_000_000))
    hub.fault("POST /_cas/v1/xorbs|PUT /_s3/put", drop="rst", upload=True, after_bytes=300_000)
    api.upload_folder(repo_id=repo, folder_path=tmp_path, repo_type="dataset")
    faulty = [r for r in hub.log() if r["fault"]]
    assert [r["status"] for r in faulty] == ["dropped:rst"]
    assert "x.bin" in api.list_repo_files(repo, repo_type="dataset")


@pytest.mark.parametrize("front_matter", ["license: [", "license: my-own", "language: no"])
def test_a_card_the_hub_would_refuse_is_refused(api, repo, front_matter):
    with pytest.raises(Exception, match=r"(?i)invalid|license|language"):
        api.upload_file(
            path_or_fileobj=f"---\n{front_matter}\n---\n".encode(),
            path_in_repo="README.md",
            repo_id=repo,
            repo_type="dataset",
        )


def test_a_corrupted_download_differs_in_one_bit(hub, api, repo, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    api.upload_file(
        path_or_fileobj=b"\0" * 1000, path_in_repo="z.bin", repo_id=repo, repo_type="dataset"
    )
    hub.fault("GET /_s3/get", corrupt=True)
    path = api.hf_hub_download(repo, "z.bin", repo_type="dataset", cache_dir=tmp_path)
    with open(path, "rb") as copy:  # noqa: PTH123
        assert copy.read() == b"\x01" + b"\0" * 999


def test_an_unknown_control_is_an_error(hub):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        hub.control("nonsense")
