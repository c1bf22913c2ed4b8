"""Doctor: each trouble is found, and each finding has a remedy."""

import email.utils
import http.server
import re
import threading
import time

import pytest

from deepsynth.checks import Severity
from deepsynth.hub.account import Account
from deepsynth.hub.doctor import doctor


def by_code(findings):
    return {finding.code: finding for finding in findings}


def test_a_good_machine_has_no_errors(hub, alice):
    findings = doctor(alice)
    assert [f for f in findings if f.severity == Severity.ERROR] == []
    assert "belongs to alice (write)" in by_code(findings)["hub-token"].what
    assert {"hub-cache", "hub-version", "hub-reachable", "torch"} <= by_code(findings).keys()


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("HF_HUB_ENABLE_XET", "1", "hub-variable-without-effect"),
        ("HF_HUB_ENABLE_HF_TRANSFER", "1", "hub-variable-without-effect"),
        ("HF_HUB_OFFLINE", "1", "hub-offline"),
        ("HF_HUB_DISABLE_XET", "1", "hub-xet-off"),
    ],
)
def test_variables_that_matter_or_do_nothing_are_named(hub, alice, name, value, code):
    found = by_code(doctor(alice, environment={name: value}))[code]
    assert found.where == name
    assert found.fix or found.severity == Severity.INFO


@pytest.mark.parametrize(
    ("token", "code", "said"),
    [
        (None, "hub-no-token", "no token"),
        ("hf_nonsense", "hub-token", "was not accepted"),
        ("hf_alice_read", "hub-token", "cannot publish"),
    ],
)
def test_tokens_that_cannot_publish(hub, token, code, said):
    findings = doctor(Account(token=token, endpoint=hub.url))
    found = by_code(findings)[code]
    assert said in found.what
    assert found.fix
    assert "hf_nonsense" not in str(findings)


def test_an_endpoint_that_cannot_be_reached():
    assert "hub-unreachable" in by_code(doctor(Account(endpoint="http://127.0.0.1:9")))


@pytest.mark.parametrize("endpoint", ["huggingface.co", "https://me:geheim@hub.example"])
def test_an_endpoint_that_is_none_is_found_and_its_password_is_not_shown(
    hub, monkeypatch, command, endpoint
):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    answer = command("doctor")
    assert "HF_ENDPOINT" in answer.out
    assert "address" in answer.out
    assert "geheim" not in answer.out + answer.err


class LateClock(http.server.BaseHTTPRequestHandler):
    """Answers 401, and says it is an hour ago."""

    def do_GET(self):
        self.send_response_only(401)
        self.send_header("Date", email.utils.formatdate(time.time() - 3600, usegmt=True))
        self.send_header("Content-Length", "0")
        self.end_headers()


def test_a_clock_that_is_off_is_found():
    with http.server.HTTPServer(("127.0.0.1", 0), LateClock) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        found = by_code(doctor(Account(endpoint=f"http://127.0.0.1:{server.server_port}")))
        server.shutdown()
        thread.join()
    assert re.search(r"36\d\d s ahead", found["hub-clock"].what)


def test_a_gpu_that_torch_does_not_see_has_a_remedy(hub, alice, tmp_path, monkeypatch):
    import torch

    if torch.cuda.is_available():
        pytest.skip("torch sees a GPU here")
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = by_code(doctor(alice))
    assert found["torch"].severity == Severity.WARNING
    assert "does not see the GPU" in found["torch"].what
    assert "nvidia-smi" in found["torch"].fix
