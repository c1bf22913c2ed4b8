"""The how-to, typed as it stands: from an export to a fetched model, by a real login node."""

from __future__ import annotations

import json
import re
import shlex
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from examples.manuscript.make_pages import demo_font, write_pages

from tests.conftest import Answer
from tests.runners.slurm.test_docs import PAGES, blocks
from tests.servers.remote import RemoteHost

SMALL = {
    "spec": "[1,24,0,1 Cr3,3,8 Mp2,2 S1(1x0)1,3 Lbx16]",
    "batch_size": 8,
    "epochs": 2,
    "patience": 0,
}


@pytest.mark.slow
@pytest.mark.thorough
def test_the_commands_of_the_page_lead_to_a_model(
    remote_host: RemoteHost,
    hpc: object,
    kraken_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., Answer],
) -> None:
    remote_host.show(kraken_folder)
    (text,) = blocks(PAGES[0], "yaml")
    text = text.replace("workspace: ~/deepsynth ", "workspace: ~/whole\n  memory: 1G #")
    own = f"venv: {sys.prefix}\n    htr: {{venv: {kraken_folder}}}"
    text = text.replace("venv: ~/deepsynth/environments/this", own)
    config = tmp_path / "config" / "deepsynth" / "sites.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(text)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    pages = write_pages(
        tmp_path / "truth", font=demo_font("DejaVuSerif"), pages=12, seed=1, lines=2
    )
    assert pages is None or pages
    with zipfile.ZipFile("export.zip", "w") as export:
        for path in (tmp_path / "truth").iterdir():
            export.write(path, path.name)

    typed = re.findall(r"^\$ (.*)", "".join(blocks(PAGES[0], "console")), re.MULTILINE)
    for line in typed:
        words = shlex.split(line)
        if words[0] == "unzip":
            zipfile.ZipFile(words[1]).extractall(words[3])
            continue
        assert words[0] == "deepsynth"
        if words[1] == "setup":
            continue  # gigabytes; the way they go is tested on its own
        told = command(*words[1:])
        assert told.code == 0, (line, told.err, told.out)
        if words[1] == "init":
            job = yaml.safe_load(Path("letters/job.yaml").read_text())
            job["train"] = SMALL
            Path("letters/job.yaml").write_text(yaml.safe_dump(job))
        if "--dry-run" in words:
            assert "# train, evaluate: one GPU each (gpu:1)" in told.out
    assert Path("runs/letters/report.html").is_file()
    assert json.loads(Path("runs/letters/metrics.json").read_text())["lines"] > 0
    kept = {path.relative_to("letters").as_posix() for path in Path("letters").rglob("letters*")}
    assert "fine_tuned_models/letters.mlmodel" in kept
    assert "scripts/letters" in kept
