"""The table of `docs/reference/hub-faults.md`: tests compare, `scripts/hub_faults.py` writes it."""

from __future__ import annotations

import json
import os
import re
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/reference/hub-faults.md"
ROWS = "DEEPSYNTH_FAULT_ROWS"
"""Names the file that outcomes are added to, in place of a comparison."""


def record(command, case, transport, seen, sent, again):
    """Compare the outcome of a fault of `fault_cases` with what the page says."""
    message = re.sub(r"^https?://\S+: ", "", seen.message.split("\n")[0]).replace("|", "\\|")
    outcome = f"stops: *{message}*" if message else "goes through"
    _compare(command, case.name, transport, outcome, ratio(sent), ratio(again))


def record_other(trouble, transport, outcome, sent=None):
    """Compare the outcome of a trouble that is no fault of one request."""
    _compare("other", trouble, transport, outcome, "" if sent is None else ratio(sent))


def ratio(value):
    """A multiple rounded so that the page is the same on every machine."""
    return "0" if value == 0 else "under 0.1" if value < 0.1 else f"{value:.1f}"


def _compare(section, name, transport, outcome, *amounts):
    if file := os.environ.get(ROWS):
        with Path(file).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps([section, name, transport, outcome, *amounts]) + "\n")
    elif version("huggingface_hub") in PAGE.read_text(encoding="utf-8"):
        told = rows_of_page()[section, name, transport]
        # amounts depend on where a kill falls, and what a library adds on where a bit flips
        assert told.partition(": *")[0] == outcome.partition(": *")[0], REMEDY
        assert _first_words(told) == _first_words(outcome), REMEDY


REMEDY = "docs/reference/hub-faults.md says otherwise: read it, then run scripts/hub_faults.py"


def _first_words(outcome):
    return outcome.partition(": *")[2].partition(":")[0].strip("*")


def rows_of_page():
    """The outcome of each section, name and transport on the page."""
    found, section = {}, ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = {"Publishing": "publish", "Loading": "load"}.get(line[3:], "other")
        elif line.startswith("| ") and not line.startswith(("| Fault", "| Trouble")):
            name, transport, outcome = re.split(r"(?<!\\) \| ", line[2:])[:3]
            found[section, name, transport] = outcome
    return found
