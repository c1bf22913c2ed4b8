from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deepsynth.errors import DeepSynthError, MissingDependency
from deepsynth.run.environments import build_managed, get_environment, image, managed_folder, site


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEEPSYNTH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_this_environment_is_the_interpreter_that_runs() -> None:
    assert get_environment("this").command(["{python}", "-c", "{x}"]) == [
        sys.executable,
        "-c",
        "{x}",
    ]


def test_the_lines_of_a_site_come_before_the_command() -> None:
    argv = site("kraken", "export SITE='a b'").command(["printenv", "SITE"])
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "a b\n"


def test_a_site_line_that_fails_stops_before_the_command() -> None:
    argv = site("kraken", "false").command(["echo", "started"])
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stdout == ""


def test_arguments_cross_the_shell_unchanged() -> None:
    argv = site("kraken", "true").command(["printf", "%s|", "a b", "$HOME", "'", "*"])
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == "a b|$HOME|'|*|"


def test_an_image_is_run_by_apptainer() -> None:
    assert image("kraken", "kraken.sif").command(["{python}", "-V"]) == [
        "apptainer",
        "exec",
        "kraken.sif",
        "python3",
        "-V",
    ]


@pytest.mark.parametrize("link", ["bin/python", "lib/python3.11/site-packages/deepsynth"])
def test_an_environment_whose_links_lead_nowhere_says_how_to_mend_it(
    link: str, tmp_path: Path
) -> None:
    folder = managed_folder("htr")
    (folder / link).parent.mkdir(parents=True)
    (folder / "complete.json").write_text("{}", encoding="utf-8")
    (folder / link).symlink_to(tmp_path)
    assert get_environment("htr").python == str(folder / "bin" / "python")
    (folder / link).unlink()
    (folder / link).symlink_to(tmp_path / "moved")
    with pytest.raises(MissingDependency, match="moved, which is not there any more") as caught:
        get_environment("htr")
    assert caught.value.hint == "Mend it: deepsynth setup htr"


def test_a_managed_environment_that_was_not_built_says_how() -> None:
    with pytest.raises(MissingDependency) as caught:
        get_environment("htr")
    assert caught.value.hint == "Install it once: deepsynth setup htr"
    assert caught.value.where == str(managed_folder("htr"))


@pytest.mark.slow
def test_a_managed_environment_is_built_once_and_again_when_its_lock_changes(
    tmp_path: Path,
) -> None:
    lock, log = tmp_path / "toy.lock", tmp_path / "pip.log"
    lock.write_text("# nothing\n")
    built = build_managed("toy", lock, log=log)
    assert Path(built.python).exists()
    assert get_environment("toy") == built
    mark = managed_folder("toy") / "mark"
    mark.touch()
    assert build_managed("toy", lock, log=log) == built
    assert mark.exists()
    lock.write_text("./no-such-folder\n")
    with pytest.raises(DeepSynthError, match="could not be installed"):
        build_managed("toy", lock, log=log)
    assert not mark.exists()
    with pytest.raises(MissingDependency):
        get_environment("toy")
    assert "no-such-folder" in log.read_text()
