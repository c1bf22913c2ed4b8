"""The how-to page, the workflow and `.env.example` fit the commands they speak of."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from deepsynth.cli import build_app
from deepsynth.data.registry import known_sources
from deepsynth.hub.account import Account
from deepsynth.verbs.publish import publish

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/howto/hub.md").read_text(encoding="utf-8")
WORKFLOW = (ROOT / ".github/workflows/generate-datasets.yml").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ deepsynth (publish .*)$", PAGE, re.MULTILINE)


@pytest.fixture
def app():
    return build_app()


def test_the_page_shows_publishing():
    assert len(COMMANDS) == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_page_are_understood(app, command):
    function, bound, _ = app.parse_args(shlex.split(command))
    assert function is publish
    assert bound.arguments["repo"]


def test_python_of_the_page_names_what_exists():
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        for line in block.splitlines():
            if line.startswith(("from ", "import ")):
                exec(line, {})


def test_switches_named_in_the_text_exist(app, capsys):
    app(["publish", "--help"])
    offered = capsys.readouterr().out
    for switch in ("--dry-run", "--tag", "--revision-date", "--transport", "--public"):
        assert switch in PAGE
        assert switch in offered


def test_the_workflow_offers_the_known_sources_and_keeps_inputs_out_of_its_scripts():
    job = yaml.safe_load(WORKFLOW)
    inputs = job[True]["workflow_dispatch"]["inputs"]  # YAML reads the key `on` as true
    assert inputs["dataset"]["options"] == list(known_sources())
    for step in job["jobs"]["generate"]["steps"]:
        assert "${{" not in step.get("run", "")


def test_the_example_file_names_the_variables_that_are_read(tmp_path):
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert re.findall(r"^(\w+)=$", text, re.MULTILINE) == ["HF_TOKEN", "HF_USERNAME", "HF_ENDPOINT"]
    (tmp_path / ".env").write_text(text)
    assert Account.from_environment({}, folder=tmp_path) == Account()
