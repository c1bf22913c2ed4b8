"""Publishing: one verified commit, whatever was there before, and nothing that must not go."""

import json
import threading

import pytest
from huggingface_hub import HfApi

from deepsynth.errors import DataError, DeepSynthError, RequestError, RunError
from deepsynth.hub.account import Account
from deepsynth.hub.failure import HubError
from deepsynth.hub.model_card import ModelCard
from deepsynth.hub.publish import publish
from deepsynth.hub.remote import Remote
from tests.hub import fault_table
from tests.hub.conftest import QUICK
from tests.support.folders import make_dataset, make_run, seed_of
from tests.support.tickets import wait_until

CARD = ModelCard("text-classification", "transformers", "sorts texts", 'load(model="{repo}")')


@pytest.fixture
def put(alice, repo):
    def call(folder, **options):
        options = {"repo": repo, "account": alice, "retry": QUICK, "transport": "lfs"} | options
        options.setdefault("said", CARD)
        return publish(folder, **options)

    return call


@pytest.fixture
def api(hub):
    return HfApi(endpoint=hub.url, token="hf_alice_write")


def files_of(alice, done):
    return Remote(alice, done.repo).state().files


@pytest.mark.parametrize("transport", ["lfs", "xet"])
def test_a_dataset_arrives_as_one_commit(hub, put, repo, tmp_path, transport):
    folder = make_dataset(tmp_path / "d", seed=seed_of(repo))
    done = put(folder, transport=transport)
    assert done.repo == f"alice/{repo}"
    assert (done.transport, done.new_commit, done.sent_files) == (transport, True, 7)
    assert len(hub.requests("/commit/main")) == 1
    assert not (folder / ".publish-journal").exists()
    again = put(folder, transport=transport)
    assert again.sha == done.sha
    assert not again.new_commit
    assert len(hub.requests("/commit/main")) == 1


def test_a_new_version_replaces_the_old_shards_and_keeps_them_in_the_history(
    alice, api, put, tmp_path
):
    old = put(make_dataset(tmp_path / "a"))
    new = put(make_dataset(tmp_path / "b", seed=1, splits={"train": (2, 20)}))
    data = sorted(path for path in files_of(alice, new) if path.startswith("data/"))
    assert data == ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]
    assert "data/test-00000-of-00001.parquet" in api.list_repo_files(
        old.repo, repo_type="dataset", revision=old.sha
    )


def test_other_columns_than_the_published_are_refused_before_a_byte_moves(hub, put, tmp_path):
    import pyarrow.parquet as pq

    put(make_dataset(tmp_path / "a"))
    folder = make_dataset(tmp_path / "b", splits={"train": (1, 5)})
    shard = folder / "data/train-00000-of-00001.parquet"
    pq.write_table(pq.read_table(shard).rename_columns(["image", "body", "summary"]), shard)
    describe_again(folder)
    hub.clear()
    with pytest.raises(DataError, match=r"text is missing; body is new"):
        put(folder)
    assert hub.sent() == 0
    assert not hub.requests("/commit/")


def describe_again(folder):
    """Make the manifest fit files changed by a test."""
    import hashlib

    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["files"]:
        data = (folder / entry["path"]).read_bytes()
        entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_shard_that_is_not_the_manifests_is_refused(hub, put, tmp_path):
    folder = make_dataset(tmp_path / "d")
    shard = folder / "data/train-00001-of-00003.parquet"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DataError, match="not the one the manifest describes"):
        put(folder)
    assert hub.sent() == 0


@pytest.mark.parametrize("licence", ["cc-by-nc-4.0", "other"])
def test_a_licence_that_forbids_it_is_never_made_public(hub, put, tmp_path, licence):
    folder = make_dataset(tmp_path / "d", licence=licence)
    with pytest.raises(RequestError, match="may not be public"):
        put(folder, private=False)
    assert not hub.requests("/repos/create")
    assert put(folder).new_commit


def test_visibility_of_an_existing_repository_is_never_changed(api, put, tmp_path):
    done = put(make_dataset(tmp_path / "d"), private=False)
    assert not api.repo_info(done.repo, repo_type="dataset").private
    with pytest.raises(RequestError, match="is public, and private was asked for"):
        put(tmp_path / "d")


def test_who_may_not_write_is_told_before_anything_happens(hub, put, tmp_path):
    folder = make_dataset(tmp_path / "d")
    reader = Account(token="hf_alice_read", endpoint=hub.url)
    bob = Account(token="hf_bob_write", endpoint=hub.url)
    with pytest.raises(RequestError, match="may only read"):
        put(folder, account=reader)
    with pytest.raises(RequestError, match="bob may not write to acme"):
        put(folder, account=bob, repo="acme/x")
    with pytest.raises(RequestError, match="no access token"):
        put(folder, account=Account(endpoint=hub.url))
    assert put(folder, repo="acme/x").repo == "acme/x"


def test_a_tag_names_the_commit_and_is_never_moved(api, put, tmp_path):
    first = put(make_dataset(tmp_path / "a"), tag="2026-11")
    assert put(tmp_path / "a", tag="2026-11").sha == first.sha
    with pytest.raises(HubError, match="already names another commit"):
        put(make_dataset(tmp_path / "b", seed=1), tag="2026-11")
    refs = api.list_repo_refs(first.repo, repo_type="dataset")
    assert [(t.name, t.target_commit) for t in refs.tags] == [("2026-11", first.sha)]
    assert refs.branches[0].target_commit == first.sha


def test_a_date_makes_a_repository_of_its_own(put, repo, tmp_path):
    folder = make_dataset(tmp_path / "d")
    assert put(folder, revision_date="2026-11").repo == f"alice/{repo}-2026-11"
    with pytest.raises(RequestError, match="is not a date"):
        put(folder, revision_date="november")


def test_a_dry_run_changes_nothing(hub, put, tmp_path):
    folder = make_dataset(tmp_path / "d")
    plan = put(folder, dry_run=True)
    assert (plan.dry_run, plan.sent_files, plan.sha) == (True, 7, "")
    asked = {r["req"] for r in hub.log()}
    assert {line for line in asked if not line.startswith("GET ")} == {"POST /api/validate-yaml"}


def test_words_people_wrote_into_the_card_stay(api, put, tmp_path):
    done = put(make_dataset(tmp_path / "a"))
    card = Remote(Account("hf_alice_write", endpoint=api.endpoint), done.repo)
    text = card.read_text(card.state(), "README.md")
    api.upload_file(
        path_or_fileobj=(
            text.replace("---\n\n", "pretty_name: Mine\n---\n\nMy note.\n\n")
        ).encode(),
        path_in_repo="README.md",
        repo_id=done.repo,
        repo_type="dataset",
    )
    put(make_dataset(tmp_path / "b", seed=1))
    merged = card.read_text(card.state(), "README.md")
    assert "My note." in merged
    assert "pretty_name: Mine" in merged
    assert merged.count("# Pages of articles") == 1


def test_data_of_others_is_never_removed(api, put, tmp_path, repo):
    api.create_repo(f"alice/{repo}", repo_type="dataset", private=True)
    api.upload_file(
        path_or_fileobj=b"a,b\n1,2\n", path_in_repo="mine.csv", repo_id=f"alice/{repo}",
        repo_type="dataset",
    )  # fmt: skip
    with pytest.raises(HubError, match=r"did not publish: mine\.csv"):
        put(make_dataset(tmp_path / "d"))
    assert "mine.csv" in api.list_repo_files(f"alice/{repo}", repo_type="dataset")


def while_committing(hub, put, folder, meanwhile):
    """Publish `folder`, its commit held back until `meanwhile` has happened."""
    hub.fault("POST .*/commit/main", hold=True)
    outcome = []

    def run():
        try:
            outcome.append(put(folder))
        except DeepSynthError as error:
            outcome.append(error)

    publisher = threading.Thread(target=run)
    publisher.start()
    wait_until(lambda: hub.requests("/commit/main"), what="a commit")
    meanwhile()
    hub.control("faults", method="DELETE")
    publisher.join()
    return outcome[0]


def test_of_two_publishers_at_once_the_second_is_told_and_nothing_is_lost(
    hub, alice, put, tmp_path
):
    ours, theirs = make_dataset(tmp_path / "a"), make_dataset(tmp_path / "b", seed=1)
    put(make_dataset(tmp_path / "old", seed=9))
    hub.clear()
    landed = []
    refused = while_committing(hub, put, ours, lambda: landed.append(put(theirs)))
    assert isinstance(refused, HubError)
    assert "someone else published here at the same time" in str(refused)
    assert Remote(alice, landed[0].repo).state().head == landed[0].sha
    hub.clear()
    again = put(ours)  # the same command again: nothing of it is sent twice
    assert again.new_commit
    assert hub.sent() == 0
    said = str(refused).split("\n")[0].split(": ", 1)[1].split(" (commit")[0]
    fault_table.record_other(
        "two publishers of different data at once",
        "lfs",
        f"the first lands; the second stops: *{said}*; run again, it replaces the first and sends "
        "nothing twice",
        0,
    )


def test_two_publishers_of_the_same_data_both_succeed_with_one_commit(hub, put, tmp_path):
    first, second = make_dataset(tmp_path / "a"), make_dataset(tmp_path / "b")
    landed = []
    done = while_committing(hub, put, first, lambda: landed.append(put(second)))
    assert done.sha == landed[0].sha
    fault_table.record_other(
        "two publishers of the same data at once", "lfs", "both succeed, with one commit"
    )


def test_an_unrelated_commit_in_between_is_kept(hub, api, alice, put, tmp_path, repo):
    folder = make_dataset(tmp_path / "d")

    def note():
        api.upload_file(
            path_or_fileobj=b"note", path_in_repo="NOTES.md", repo_id=f"alice/{repo}",
            repo_type="dataset",
        )  # fmt: skip

    done = while_committing(hub, put, folder, note)
    assert done.new_commit
    assert {"NOTES.md", "manifest.json"} <= files_of(alice, done).keys()
    fault_table.record_other("an unrelated commit in between", "lfs", "kept; ours goes on top")


HUB_BASE = "distilbert/distilbert-base-uncased"


@pytest.mark.parametrize(
    "base",
    [HUB_BASE, "/scratch/me/models/base", "scratch:tiny", "s3://models/base", "zenodo:10.5281/7"],
)
def test_a_model_goes_without_resume_points_and_without_paths_of_this_machine(
    hub, api, put, tmp_path, base
):
    run = make_run(tmp_path / "run", base)
    done = put(run, private=False)
    assert set(api.list_repo_files(done.repo)) == {
        ".gitattributes",
        "README.md",
        "adapter/base.json",
        "adapter/training_config.json",
        "adapter_config.json",
        "config.json",
        "metrics.json",
        "model.safetensors",
        "training_config.json",
    }
    remote = Remote(Account("hf_alice_write", endpoint=hub.url), done.repo, "model")
    state = remote.state()
    texts = {p: remote.read_text(state, p) for p in state.files if p.endswith((".md", ".json"))}
    assert not any(str(tmp_path) in text or "/scratch" in text for text in texts.values())
    config = json.loads(texts["config.json"])
    assert config["separator"] == "/"
    assert json.loads(texts["adapter/training_config.json"])["cache_dir"] == "cache"
    card = texts["README.md"]
    assert "| test.macro_f1 | 0.8125 |" in card
    assert f'model="{done.repo}"' in card
    assert ("base_model:" in card) == (base == HUB_BASE)
    assert "from fresh weights" in card or base != "scratch:tiny"
    settings = json.loads(texts["training_config.json"])["settings"]
    assert settings["train"] == {"epochs": 3, "learning_rate": 5e-05}
    assert settings["data"] == {"path": "tickets.csv"}


def test_a_card_that_names_a_place_on_this_machine_is_refused(put, tmp_path):
    folder = make_dataset(tmp_path / "d")
    card = folder / "README.md"
    card.write_text(card.read_text() + "\nMade from /home/me/articles.csv\n")
    with pytest.raises(DataError, match=r"/home/me/articles\.csv"):
        put(folder)


def test_a_card_the_hub_would_refuse_is_told_before_anything_is_made_there(
    put, api, repo, tmp_path
):
    folder = make_dataset(tmp_path / "d")
    card = folder / "README.md"
    card.write_text(card.read_text().replace("---\n", "---\nbase_model: not a model\n", 1))
    for dry_run in (True, False):
        with pytest.raises(RequestError, match="base_model"):
            put(folder, dry_run=dry_run)
    assert not api.repo_exists(f"alice/{repo}", repo_type="dataset")


def test_images_that_are_only_paths_are_refused(put, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tests.support.folders import IMAGE

    folder = make_dataset(tmp_path / "d", splits={"train": (1, 2)})
    pages = pa.array([[{"bytes": None, "path": "/data/1.png"}]], pa.list_(IMAGE))
    pq.write_table(pa.table({"images": pages}), folder / "data/train-00000-of-00001.parquet")
    describe_again(folder)
    with pytest.raises(DataError, match="a path instead of the image"):
        put(folder)


@pytest.mark.parametrize("make", [make_dataset, make_run])
@pytest.mark.parametrize("name", ["README.md", "model/vocabulary.txt"])
def test_a_link_out_of_the_folder_is_not_followed(hub, put, tmp_path, make, name):
    (tmp_path / "secret").write_text("a key")
    folder = make(tmp_path / "d")
    link = folder / name
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match="leads out") as told:
        put(folder)
    assert told.value.where == str(link)
    assert hub.requests("/commit/") == []


def test_a_run_without_a_model_is_refused(put, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/resolved.yaml").write_text("family: {value: classify, from: file}")
    with pytest.raises(RunError, match="no model yet"):
        put(tmp_path / "run")
    with pytest.raises(DataError, match="neither a dataset"):
        put(tmp_path)


@pytest.mark.parametrize("name", ["a--b", "a/b/c", "../x", "x.git", ""])
def test_a_name_the_hub_would_refuse_is_refused(put, tmp_path, name):
    with pytest.raises(RequestError, match="not a repository name"):
        put(tmp_path, repo=name)


def test_a_model_without_a_licence_is_published_with_a_hint(alice, put, tmp_path):
    run = make_run(tmp_path / "run")
    places = {"places": [["alice/pages@0a1b", ""]]}
    steps = [{"name": "prepare", "argv": ["true"], "settings": places}]
    (run / "plan.json").write_text(json.dumps({"steps": steps}))
    said = []
    done = put(run, progress=lambda p: said.append(p.note))
    assert any("--licence ID" in text for text in said)
    said.clear()
    again = put(run, licence="apache-2.0", progress=lambda p: said.append(p.note))
    assert not any("--licence" in text for text in said)
    assert again.sha != done.sha
    remote = Remote(alice, done.repo, "model")
    card = remote.read_text(remote.state(), "README.md")
    assert "license: apache-2.0" in card
    assert "- alice/pages" in card
    with pytest.raises(RequestError, match="stands in its card"):
        put(make_dataset(tmp_path / "d"), licence="apache-2.0")
