"""Folders published and fetched, on a disk and on a real S3."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from deepsynth import durable, storage
from deepsynth.storage.fetching import fetch_file
from deepsynth.storage.publishing import _upload
from deepsynth.storage.stores import join, open_store
from tests.storage.conftest import write_folder


def test_a_published_folder_comes_back_byte_for_byte(place: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", mebibytes=20)
    published = storage.publish(folder, place)
    back = storage.fetch(place, tmp_path / "back")
    assert durable.digest(back) == durable.digest(folder) == published.files


def test_publishing_the_same_again_changes_nothing(place: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run")
    assert storage.publish(folder, place) == storage.publish(folder, place)


def test_another_folder_takes_the_place_only_when_asked(place: str, tmp_path: Path) -> None:
    one, two = write_folder(tmp_path / "one", 1), write_folder(tmp_path / "two", 2)
    storage.publish(one, place)
    with pytest.raises(storage.LocationError, match="another folder is published there"):
        storage.publish(two, place)
    storage.publish(two, place, replace=True)
    assert (storage.fetch(place, tmp_path / "back") / "model/config.json").read_text() == (
        '{"seed": 2}'
    )


def test_only_what_is_wanted_is_fetched(place: str, tmp_path: Path) -> None:
    storage.publish(write_folder(tmp_path / "run"), place)
    back = storage.fetch(place, tmp_path / "back", only=lambda name: name.endswith(".json"))
    assert list(durable.digest(back)) == ["model/config.json"]


def test_a_folder_in_use_is_not_touched(place: str, tmp_path: Path) -> None:
    storage.publish(write_folder(tmp_path / "run"), place)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(storage.LocationError, match="something already"):
        storage.fetch(place, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_an_upload_without_its_last_object_is_nothing(place: str, tmp_path: Path) -> None:
    """What a writer that died before the end left behind is not read by anybody."""
    import obstore

    published = storage.publish(write_folder(tmp_path / "run"), place)
    obstore.delete(*open_store(join(place, "published.json")))
    assert storage.read_publication(place) is None
    with pytest.raises(storage.LocationError, match="nothing is published"):
        storage.fetch(place, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    assert storage.publish(tmp_path / "run", place) == published


def test_what_is_removed_leaves_nothing_and_nobody_else_s(place: str, tmp_path: Path) -> None:
    import obstore

    one = storage.publish(write_folder(tmp_path / "one", 1), place)
    two = storage.publish(write_folder(tmp_path / "two", 2), place, replace=True)
    storage.remove(one)
    assert storage.read_publication(place) == two
    assert durable.digest(storage.fetch(place, tmp_path / "back")) == two.files
    storage.remove(two)
    assert storage.read_publication(place) is None
    assert [meta for page in obstore.list(*open_store(f"{place}/")) for meta in page] == []


def test_a_file_that_changes_while_it_is_sent_is_not_published(place: str, tmp_path: Path) -> None:
    import obstore

    path = write_folder(tmp_path / "run") / "model" / "config.json"
    known = durable.digest(path)[path.name]
    path.write_text('{"seed": 1}')
    url = join(place, "config.json")
    with pytest.raises(storage.StorageError, match="changed while it was sent"):
        _upload(url, path, known)
    with pytest.raises(FileNotFoundError):
        obstore.head(*open_store(url))


def test_damage_is_found(place: str, tmp_path: Path) -> None:
    import obstore

    published = storage.publish(write_folder(tmp_path / "run"), place)
    obstore.put(*open_store(join(published.location, "model/config.json")), b'{"seed": 9}')
    with pytest.raises(storage.StorageError, match="its checksum is another one"):
        storage.fetch(place, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    assert not list(tmp_path.glob(".back*"))


def test_a_manifest_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    published = storage.publish(write_folder(tmp_path / "run"), f"file://{tmp_path}/store")
    pointer = tmp_path / "store" / "published.json"
    told = json.loads(pointer.read_text())
    told["files"]["../../escaped"] = told["files"]["empty"]
    pointer.write_text(json.dumps(told))
    with pytest.raises(storage.StorageError, match="outside its folder"):
        storage.fetch(published.url, tmp_path / "a" / "b")
    assert not (tmp_path / "escaped").exists()


def test_two_writers_of_different_folders_never_mix(place: str, tmp_path: Path) -> None:
    folders = [write_folder(tmp_path / str(seed), seed, mebibytes=2) for seed in range(4)]
    refused: list[Exception] = []

    def write(folder: Path) -> None:
        try:
            storage.publish(folder, place)
        except storage.LocationError as error:
            refused.append(error)

    writers = [threading.Thread(target=write, args=(folder,)) for folder in folders]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(refused) == 3
    back = durable.digest(storage.fetch(place, tmp_path / "back"))
    assert back in [durable.digest(folder) for folder in folders]


def test_a_copy_is_fetched_once_and_anew_when_changed(
    place: str, home: Path, tmp_path: Path
) -> None:
    import obstore

    url = join(place, "data/tickets.csv")
    obstore.put(*open_store(url), b"text,label\n")
    first = storage.local_copy(url)
    assert first.name == "tickets.csv"
    assert first.read_bytes() == b"text,label\n"
    stamp = first.stat().st_mtime_ns
    assert storage.local_copy(url).stat().st_mtime_ns == stamp
    obstore.put(*open_store(url), b"text,label\nhello,greeting\n")
    assert storage.local_copy(url).read_bytes().endswith(b"greeting\n")
    assert [path.name for path in storage.local_copy(join(place, "data")).iterdir()] == [
        "tickets.csv"
    ]


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("ftp://host/x", "no location in storage"),
        ("s3://", "no location in storage"),
        ("s3://key:secret@bucket/x", "without options, passwords"),
        ("s3://bucket/a/../b", "without options, passwords"),
        ("file://relative/x", "starts with file:///"),
    ],
)
def test_a_bad_location_is_refused_and_its_secrets_not_repeated(url: str, what: str) -> None:
    with pytest.raises(storage.LocationError, match=what) as error:
        storage.local_copy(url)
    assert "secret" not in str(error.value)
    assert error.value.exit_code == 2


def test_what_is_not_there_is_said(place: str, home: Path, tmp_path: Path) -> None:
    with pytest.raises(storage.LocationError, match="there is nothing there"):
        storage.local_copy(join(place, "nowhere"))
    with pytest.raises(storage.LocationError, match="there is no such object"):
        fetch_file(join(place, "nothing"), tmp_path / "x")
