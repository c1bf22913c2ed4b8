"""`generate --publish` makes a dataset and puts it on the Hub in one go."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from huggingface_hub import HfApi

from tests.servers.hub import StandIn

ARTICLES = Path(__file__).resolve().parents[3] / "examples" / "articles" / "articles.jsonl"


def test_generate_and_publish_in_one_go(hub_server: StandIn, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment |= {
        "HF_ENDPOINT": hub_server.url,
        "HF_TOKEN": "hf_alice_write",
        "HF_HOME": str(tmp_path / "hf"),
        "DEEPSYNTH_HOME": str(tmp_path / "home"),
    }
    argv = [sys.executable, "-m", "deepsynth.cli", "generate", str(ARTICLES)]
    argv += ["--max-samples", "6", "--licence", "apache-2.0", "--workers", "1", "--publish"]
    done = subprocess.run(
        argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{hub_server.url}/datasets/alice/deepsynth-articles-images" in done.stdout
    files = HfApi(endpoint=hub_server.url, token="hf_alice_write").list_repo_files(
        "alice/deepsynth-articles-images", repo_type="dataset"
    )
    assert "manifest.json" in files
    assert any(name.endswith(".parquet") for name in files)
    assert "hf_alice_write" not in done.stdout + done.stderr
