"""The workflow that generates datasets: its scripts are whole, its commands exist."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from deepsynth.cli import build_app
from deepsynth.hub.account import dataset_repo_name

FILE = Path(__file__).parents[2] / ".github/workflows/generate-datasets.yml"
WORKFLOW = yaml.safe_load(FILE.read_text(encoding="utf-8"))
STEPS = WORKFLOW["jobs"]["generate"]["steps"]


@pytest.mark.parametrize("step", [s for s in STEPS if "run" in s], ids=lambda s: s["name"])
def test_its_scripts_are_whole(step):
    subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True)


def test_its_commands_and_names_are_ours():
    text = "\n".join(step.get("run", "") for step in STEPS)
    for verb in ("generate", "publish"):
        line = next(step["run"] for step in STEPS if f"deepsynth {verb}" in step.get("run", ""))
        command = build_app()[verb]
        known = {
            name for argument in command.assemble_argument_collection() for name in argument.names
        }
        assert set(re.findall(r"(?<=[ (])--[a-z-]+", line)) <= known
    name = subprocess.run(
        ["bash", "-c", 'DATASET=mlsum_fr; echo "deepsynth-${DATASET//_/-}-images"'],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert "deepsynth-${DATASET//_/-}-images" in text
    assert name == dataset_repo_name("mlsum_fr")
