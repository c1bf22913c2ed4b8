from __future__ import annotations

from pathlib import Path

import pytest

from deepsynth.checks import Finding, Severity, worst
from deepsynth.checks.report import (
    by_severity,
    measured_findings,
    read_findings,
    record_measured,
    refuse_errors,
    write_findings,
)
from deepsynth.errors import DataError
from deepsynth.run.run import Run

INFO = Finding(Severity.INFO, "a-fact", "data", "It is so.")
WARNING = Finding(Severity.WARNING, "a-doubt", "a.csv:3", "Not good.", "Mend it.", ("x", "é"))
ERROR = Finding(Severity.ERROR, "a-fault", "a.csv:4", "It is broken.", "Mend it.")


def test_findings_are_shown_worst_first_and_otherwise_as_made() -> None:
    second = Finding(Severity.WARNING, "b", "", "")
    assert by_severity([INFO, WARNING, ERROR, second]) == [ERROR, WARNING, second, INFO]
    assert worst([INFO, WARNING]) is Severity.WARNING
    assert worst([]) is Severity.INFO


def test_findings_survive_their_file(tmp_path: Path) -> None:
    write_findings(tmp_path / "checks", [INFO, WARNING, ERROR])
    assert read_findings(tmp_path / "checks") == [ERROR, WARNING, INFO]
    assert read_findings(tmp_path) == []
    assert WARNING.as_dict()["severity"] == "warning"


def test_what_the_clock_says_is_kept_out_of_the_file(tmp_path: Path) -> None:
    run, timed = Run(tmp_path), Finding(Severity.INFO, "time", "cpu", "3 s.", measured=True)
    for attempt in range(2):
        run.event("step_started", step="check", index=attempt)
        record_measured(run, "check", [INFO, timed])
        write_findings(tmp_path / "checks", [INFO, timed])
    assert read_findings(tmp_path / "checks") == [INFO]
    assert measured_findings(run, "check") == [timed]
    assert measured_findings(run, "train") == []


def test_an_error_finding_is_a_refusal_with_its_place() -> None:
    refuse_errors([INFO, WARNING])
    with pytest.raises(DataError) as caught:
        refuse_errors([WARNING, ERROR, ERROR])
    assert str(caught.value).startswith("a.csv:4: It is broken.\n  Mend it. 1 more error")
