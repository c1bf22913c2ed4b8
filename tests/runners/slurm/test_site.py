"""Sites: found, read strictly, and complained about with file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deepsynth.errors import JobError, RequestError
from deepsynth.home import confirm
from deepsynth.runners.slurm.site import Site, load_site, seconds
from tests.conftest import Answer
from tests.support import tickets
from tests.support.toy import GPU, counting


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "config" / "deepsynth" / "sites.yaml"
    path.parent.mkdir(parents=True)
    return path


def test_the_users_own_site_comes_first(config: Path, tmp_path: Path) -> None:
    (tmp_path / "sites.yaml").write_text("hpc: {host: evil}\nother: {host: other}\n")
    confirm(tmp_path / "sites.yaml")
    assert load_site("hpc", tmp_path).host == "evil"
    config.write_text("hpc: {host: own, time: 8:00:00}\n")
    assert load_site("hpc", tmp_path).host == "own"
    assert load_site("other", tmp_path).host == "other"


def test_a_site_of_a_folder_counts_once_its_file_was_confirmed(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Answer]
) -> None:
    job = tickets.write_job(tmp_path / "letters")
    theirs = job.parent / "sites.yaml"
    theirs.write_text("hpc: {host: near, environments: {this: {setup: [touch PWNED]}}}\n")
    monkeypatch.chdir(job.parent)
    for arguments in (("run", job, "--on", "hpc", "--dry-run"), ("doctor", "--on", "hpc")):
        told = command(*arguments)
        assert told.code == 2
        assert f"deepsynth trust {theirs}" in told.err
    assert not Path("PWNED").exists()

    assert command("trust", theirs).code == 0
    told = command("run", job, "--on", "hpc", "--dry-run")
    assert "# site hpc: near," in told.out
    assert str(theirs) in told.err, "the file that is used is named"
    monkeypatch.chdir(tmp_path)
    assert "# site hpc: near," in command("run", job, "--on", "hpc", "--dry-run").out

    theirs.write_text("hpc: {host: moved}\n")
    assert command("run", job, "--on", "hpc", "--dry-run").code == 2, "it is another one now"


def test_what_cannot_be_trusted_is_told(tmp_path: Path, command: Callable[..., Answer]) -> None:
    told = command("trust", tmp_path / "sites.yaml")
    assert (told.code, "no such file" in told.err) == (2, True)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("hpc:\n  host: a\n  partitoin: x\n", 3, "Did you mean partition?"),
        ("hpc:\n  time: soon\n", 2, "'soon' is not a time limit such as 8:00:00"),
        ("hpc:\n  host: -oProxyCommand=x\n", 2, "host is '-oProxyCommand=x'"),
        ("hpc:\n  gres: 'gpu:1\n\n    rm -rf x'\n", 2, "gres is"),
        ("hpc:\n  environments:\n    htr: {venv: a, moduel: b}\n", 3, "Settings here: setup, venv"),
        ("hpc:\n  environments:\n    this: {setup: module load x}\n", 3, "[module load x]"),
        ("hpc:\n  environments: {this: kraken}\n", 2, "Below it, indented: setup, venv"),
        ("hpc: login.centre.fr\n", 1, "Below it, indented: partition"),
        ("hpc:\n", 1, "hpc has settings of its own"),
    ],
)
def test_mistakes_are_told_with_their_line(config: Path, text: str, line: int, said: str) -> None:
    config.write_text(text)
    with pytest.raises(JobError) as caught:
        load_site("hpc")
    assert f"{config}:{line}: " in str(caught.value)
    assert said in str(caught.value)


def test_an_unknown_site_names_those_there(config: Path) -> None:
    with pytest.raises(RequestError, match="there is no site hpc") as caught:
        load_site("hpc")
    assert "hpc:\n      host:" in str(caught.value.hint)
    assert str(config) in str(caught.value.hint), "it is said where sites are looked for"
    config.write_text("hpc1: {host: a}\n")
    with pytest.raises(RequestError) as caught:
        load_site("hpc")
    assert caught.value.hint == "Did you mean hpc1?"


@pytest.mark.parametrize(
    ("written", "expected"),
    [(10, 600), ("10:30", 630), ("8:00:00", 28800), ("2-12", 216000), ("1-00:30", 88200)],
)
def test_times_are_read_as_sbatch_does(written: str | int, expected: int) -> None:
    assert seconds(written) == expected


@pytest.mark.parametrize(
    ("site", "allocations"),
    [
        (Site(), 1),
        (Site(time="8:00:00"), 1),
        (Site(time=4), 3),
        (Site(time="1:00:00", max_time="2-00:00:00"), 48),
    ],
)
def test_a_long_step_is_given_several_allocations(site: Site, allocations: int) -> None:
    assert site.allocations(counting(1, resources=GPU)) == allocations
