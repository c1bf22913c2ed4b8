"""The stand-in without faults, caches of its own, and an account that can write."""

import pytest

from deepsynth.hub.account import Account
from deepsynth.hub.retry import Retry

QUICK = Retry(attempts=4, base_delay=0.05, max_delay=0.2, max_wait=5)


@pytest.fixture
def hub(hub_server, tmp_path, monkeypatch):
    """The stand-in without faults, and an empty cache; the token is not in the environment."""
    hub_server.clear()
    for name in ("HF_TOKEN", "HF_USERNAME", "HF_ENDPOINT", "HF_HUB_CACHE", "HF_XET_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("DEEPSYNTH_HOME", str(tmp_path / "deepsynth"))
    yield hub_server
    hub_server.clear()
    assert hub_server.control("verify")["bad"] == []


@pytest.fixture
def alice(hub):
    return Account(token="hf_alice_write", endpoint=hub.url)


@pytest.fixture
def repo(request):
    """A repository name of this test's own."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[-60:]
    while "--" in name:
        name = name.replace("--", "-")
    return name.strip("-")
