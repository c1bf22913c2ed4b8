"""A classifier's data can live on the Hub: pinned to a commit, read with the caller's token."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml
from huggingface_hub import HfApi

from tests.servers.hub import StandIn

TICKETS = Path(__file__).resolve().parents[3] / "examples" / "tickets" / "tickets.csv"


def deepsynth(
    hub: StandIn, folder: Path, token: str, *argv: str
) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment |= {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": token,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DEEPSYNTH_HOME": str(folder / "home"),
    }
    return subprocess.run(
        [sys.executable, "-m", "deepsynth.cli", *argv],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_hub_dataset_is_pinned_and_a_revoked_token_is_an_error(
    hub_server: StandIn, tmp_path: Path
) -> None:
    hub = hub_server
    api = HfApi(endpoint=hub.url, token="hf_alice_write")
    api.create_repo("alice/tickets", repo_type="dataset", private=True)
    rows = TICKETS.read_bytes().splitlines(keepends=True)[:91]
    api.upload_file(
        path_or_fileobj=b"".join(rows),
        path_in_repo="train.csv",
        repo_id="alice/tickets",
        repo_type="dataset",
    )
    sha = api.dataset_info("alice/tickets").sha
    (tmp_path / "job.yaml").write_text(
        "family: classify\ndata: hub:alice/tickets@main\nmodel: scratch:tiny\n"
    )
    done = deepsynth(hub, tmp_path, "hf_alice_write", "prepare", "job.yaml", "--name", "one")
    assert done.returncode == 0, done.stderr
    resolved = yaml.safe_load((tmp_path / "runs" / "one" / "resolved.yaml").read_text())
    assert resolved["data"]["revision"]["value"] == sha
    assert (tmp_path / "runs" / "one" / "data" / "train.parquet").exists()

    refused = deepsynth(hub, tmp_path, "hf_revoked", "prepare", "job.yaml", "--name", "two")
    assert refused.returncode in (1, 2)
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "runs" / "two").exists()

    # everything is cached, but the cache answers only when it is asked for by name
    argv = ["prepare", "job.yaml", f"data.revision={sha}", "--name", "three"]
    refused = deepsynth(hub, tmp_path, "hf_revoked", *argv)
    assert refused.returncode == 2
    assert "token was not accepted" in refused.stderr
    hub.clear()
    done = deepsynth(hub, tmp_path, "hf_revoked", *argv, "--offline")
    assert done.returncode == 0, done.stderr
    assert hub.log() == []
    nowhere = deepsynth(hub, tmp_path, "hf_alice_write", *argv, "--offline", "--on", "flyte")
    assert nowhere.returncode == 2
    assert "--offline" in nowhere.stderr
