"""A token goes to no endpoint but the one that stands beside it, and nowhere unencrypted."""

import subprocess
import sys

import pytest

from deepsynth.errors import RequestError
from deepsynth.hub.account import Account, client_token


@pytest.mark.parametrize("line", ["HF_ENDPOINT={url}", "HF_ENDPOINT={url}/${{HF_TOKEN}}"])
@pytest.mark.parametrize("beside", ["", "HF_TOKEN=hf_of_the_folder\n"])
def test_the_folder_never_gets_the_token_of_the_environment(
    hub, tmp_path, monkeypatch, command, line, beside
):
    (tmp_path / ".env").write_text(beside + line.format(url=hub.url) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    for arguments in (["generate", "--list"], ["doctor"]):
        answer = command(*arguments)
        assert "HF_TOKEN comes from the environment" in answer.out + answer.err
    assert hub.log() == []


def test_a_folder_cannot_read_variables_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "geheim")
    (tmp_path / ".env").write_text("HF_TOKEN=${SECRET}\nHF_ENDPOINT=https://h.example/${SECRET}\n")
    account = Account.from_environment({}, folder=tmp_path)
    assert "geheim" not in f"{account.token} {account.endpoint}"


def test_the_token_of_a_folder_does_not_go_to_the_endpoint_of_the_environment(tmp_path):
    (tmp_path / ".env").write_text("HF_TOKEN=hf_x\n")
    with pytest.raises(RequestError, match="HF_TOKEN comes from"):
        Account.from_environment({"HF_ENDPOINT": "https://hub.example"}, folder=tmp_path)


def test_both_from_one_place_and_the_public_hub_are_used(tmp_path):
    (tmp_path / ".env").write_text("HF_TOKEN=hf_x\nHF_ENDPOINT=https://hub.example/\n")
    inside = Account.from_environment({}, folder=tmp_path)
    assert (inside.token, inside.endpoint) == ("hf_x", "https://hub.example")
    both = {"HF_TOKEN": "hf_y", "HF_ENDPOINT": "http://localhost:8080"}
    assert Account.from_environment(both, folder=tmp_path).token == "hf_y"


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://hub.example",
        "http://127.0.0.1.evil.example",
        "http://localhost@evil.example",
        "https://me:geheim@hub.example",
        "https://hub.example?x=1",
        "https://hub.example:99999999",
        "https://hub.exam\x1bple",
        "file:///etc",
        "//hub.example",
        "https://[::1",
    ],
)
def test_endpoints_that_no_token_may_be_sent_to(endpoint):
    with pytest.raises(RequestError) as told:
        Account(token="hf_x", endpoint=endpoint)
    assert told.value.where == "HF_ENDPOINT"
    assert "geheim" not in str(told.value)


@pytest.mark.parametrize("host", ["localhost:80", "127.0.0.1", "127.1.2.3:9", "[::1]:8000"])
def test_this_machine_may_be_spoken_to_in_plain(host):
    assert Account(endpoint=f"http://{host}").endpoint == f"http://{host}"


def test_a_dotenv_that_is_no_text_is_named(tmp_path):
    (tmp_path / ".env").write_bytes(b"HF_TOKEN=\xff\xfe\n")
    with pytest.raises(RequestError, match="text"):
        Account.from_environment({}, folder=tmp_path)


ASK = """
from huggingface_hub import HfApi
from deepsynth.hub.account import client_token
print(HfApi(token=client_token()).whoami()["name"])
"""


def test_the_client_gives_no_stored_token_to_another_endpoint(hub, tmp_path, monkeypatch):
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_alice_write")
    monkeypatch.setenv("HF_ENDPOINT", hub.url)

    def ask(program=ASK):
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert ask(ASK.replace("client_token()", "None")).stdout == "alice\n", "the client would"
    hub.clear()
    assert ask().returncode
    assert hub.requests("whoami") == []
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    assert ask().stdout == "alice\n"


def test_the_client_sends_nothing_unencrypted(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
    with pytest.raises(RequestError, match="encrypted"):
        client_token()
