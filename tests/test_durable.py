from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deepsynth import durable


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    durable.write_json(path, {"a": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        durable.write_json(path, {"a": 2})
    assert durable.read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_who_reads_the_old_file_reads_it_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    durable.write_json(path, ["old"] * 9)
    with path.open() as stream:
        durable.write_json(path, ["new"])
        assert json.load(stream) == ["old"] * 9
    assert durable.read_json(path) == ["new"]


def test_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        durable.write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("data", [b"", b'{"a": 1', b"\xff\xfe"])
def test_a_file_cut_short_reads_as_absent(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.json").write_bytes(data)
    assert durable.read_json(tmp_path / "x.json") is None


def test_a_line_cut_short_is_left_out_of_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    assert durable.read_lines(path) == []
    path.write_bytes(b'{"a": 1}\n{"a": 2')
    assert durable.read_lines(path) == [{"a": 1}]


def _append(path: Path, name: str) -> None:
    for index in range(300):
        durable.append_line(path, {"name": name * 200, "index": index})


def test_lines_of_two_processes_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    fork = multiprocessing.get_context("spawn")
    writers = [fork.Process(target=_append, args=(path, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for name in "ab":
        own = [line["index"] for line in lines if line["name"].startswith(name)]
        assert own == list(range(300))


def test_a_reader_never_sees_half_a_file_even_if_the_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    script = (
        "import sys; from pathlib import Path; from deepsynth import durable\n"
        "n = 0\nwhile True:\n    n += 1\n"
        "    durable.write_json(Path(sys.argv[1]), [n] * 20000)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", script, str(path)])
    seen = set()
    while len(seen) < 5:
        if path.exists():
            values = json.loads(path.read_text())
            assert len(values) == 20000
            seen |= set(values)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert len(set(json.loads(path.read_text()))) == 1


def test_a_digest_is_of_paths_below_and_their_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "x").write_text("1")
    found = durable.digest(folder)
    assert found == {
        "b/x": {
            "bytes": 1,
            "sha256": "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",
        }
    }
    assert durable.digest(folder / "b" / "x") == {"x": found["b/x"]}
    assert durable.digest(tmp_path / "none") == {}
    assert durable.sha256_value({"a": 1, "b": 2}) == durable.sha256_value({"b": 2, "a": 1})


def test_processes_of_the_same_number_on_two_nodes_do_not_meet(tmp_path: Path) -> None:
    probe = ["unshare", "--pid", "--uts", "--fork", "hostname", "a"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("needs namespaces (unshare), which this machine forbids")
    write = (
        "import os, sys; from pathlib import Path; from deepsynth import durable\n"
        "assert os.getpid() == 1\n"
        "for n in range(150): durable.write_text(Path(sys.argv[1]), str(n) * 1000)"
    )
    isolated = ["unshare", "--pid", "--uts", "--fork", "bash", "-c", 'hostname "$0"; exec "$@"']
    command = [sys.executable, "-c", write, str(tmp_path / "file")]
    nodes = [subprocess.Popen([*isolated, name, *command]) for name in ("node1", "node2")]
    assert [node.wait() for node in nodes] == [0, 0]
    assert (tmp_path / "file").read_text() == "149" * 1000


def test_a_draft_that_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("old")

    def fail(path: Path) -> None:
        with durable.appearing(path) as draft:
            place = draft
            if path is folder:
                draft.mkdir()
                place = draft / "x"
            place.write_text("half")
            raise ValueError("no")

    for path in (file, folder):
        with pytest.raises(ValueError, match="no"):
            fail(path)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_appears_whole_and_never_in_place_of_a_full_one(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with durable.appearing(folder) as draft:
        draft.mkdir()
        (draft / "a").write_text("1")
        assert not list(folder.iterdir())
    assert (folder / "a").read_text() == "1"
    with pytest.raises(OSError, match="not empty"), durable.appearing(folder) as draft:
        draft.mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_lock_is_held_by_one_and_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not durable.is_locked(path)
    hold = (
        "import sys, time; from pathlib import Path; from deepsynth import durable\n"
        "with durable.locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert durable.is_locked(path)
        with pytest.raises(KeyError, match="busy"), durable.locked(path, lambda: KeyError("busy")):
            raise AssertionError("two hold it")
        holder.kill()
        holder.wait()
        with durable.locked(path, lambda: KeyError("busy")):
            assert durable.is_locked(path)
    assert not durable.is_locked(path)


def test_what_is_linked_is_one_file_and_a_folder_keeps_its_shape(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_text("1")
    durable.link_or_copy(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "c" / "b" / "x").samefile(tmp_path / "a" / "b" / "x")
