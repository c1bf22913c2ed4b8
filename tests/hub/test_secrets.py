"""The token is in no output, no argument list, no log and no folder."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from deepsynth.cli import build_app
from deepsynth.hub.account import Account
from tests.support.folders import make_dataset, seed_of


def run(arguments, folder, **variables):
    environment = {k: v for k, v in os.environ.items() if k not in ("HF_TOKEN", "HF_ENDPOINT")}
    return subprocess.Popen(
        [sys.executable, "-c", "from deepsynth.cli import main; main()", *arguments],
        cwd=folder,
        env=environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def seen_in_processes(token, stop, found):
    """Look into every argument list until told to stop."""
    while not stop.is_set():
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if token.encode() in line.read_bytes():
                    found.append(line)
            except OSError:
                continue
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("token", "transport"),
    [  # the two that are refused never come to a transport
        ("hf_alice_write", "xet"),
        ("hf_alice_write", "lfs"),
        ("hf_alice_read", "lfs"),
        ("hf_revoked_secret", "lfs"),
    ],
)
def test_the_token_shows_up_nowhere(hub, repo, tmp_path, token, transport):
    folder = make_dataset(tmp_path / "d", seed=seed_of(repo))
    (tmp_path / ".env").write_text(f"HF_TOKEN={token}\nHF_ENDPOINT={hub.url}\n")
    stop, found = threading.Event(), []
    watcher = threading.Thread(target=seen_in_processes, args=(token, stop, found))
    watcher.start()
    output = b""
    commands = [["publish", str(folder), "--repo", repo, "--transport", transport]]
    if transport == "lfs":
        commands.append(["doctor"])
    for arguments in commands:
        process = run(arguments, tmp_path)
        output += process.communicate(timeout=120)[0]
    stop.set()
    watcher.join()
    assert (b"verified" in output) == (token == "hf_alice_write"), output
    assert b"Traceback" not in output
    assert token.encode() not in output
    assert found == []
    for file in tmp_path.rglob("*"):
        if file.is_file() and file.name != ".env":
            assert token.encode() not in file.read_bytes(), file


def test_an_account_hides_its_token():
    account = Account(token="hf_secret_thing")
    assert "secret" not in repr(account)
    assert account.redact("x hf_secret_thing y hf_AnotherOne1 z") == "x hf_*** y hf_*** z"
    assert Account(token="other-form").redact("x other-form z") == "x hf_*** z"


def test_the_environment_wins_over_the_file(tmp_path):
    (tmp_path / ".env").write_text("HF_TOKEN=hf_from_file\nHF_USERNAME=me\n")
    account = Account.from_environment({"HF_TOKEN": "hf_from_env"}, folder=tmp_path)
    assert (account.token, account.username) == ("hf_from_env", "me")
    assert account.endpoint == "https://huggingface.co"


def test_publish_is_a_command_with_the_guides_switches(capsys):
    build_app()(["publish", "--help"], console=None)
    text = capsys.readouterr().out
    for switch in ("--repo", "--private", "--public", "--transport", "--tag", "--dry-run"):
        assert switch in text
