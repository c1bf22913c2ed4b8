"""Lint, types, tests and coverage in one go, with one summary of the figures at the end.

python scripts/validate.py                   # everything
python scripts/validate.py tests/checks      # arguments go to pytest
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PARALLEL = ("-n", "logical", "--maxprocesses", "8", "--no-loadscope-reorder")
COVERAGE = ("--cov", "--cov-report=")


def attempt(title: str, *argv: str) -> tuple[bool, str, float]:
    """Run a command, show its output as it comes, and return whether it went well."""
    print(f"== {title}", flush=True)
    started = time.perf_counter()
    lines: list[str] = []
    with subprocess.Popen(
        argv, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    return process.returncode == 0, "".join(lines), time.perf_counter() - started


def main() -> int:
    """Run everything, even after a failure; the exit code is 0 only when all went well."""
    python = str(BIN / "python")
    results = {
        "lint": attempt("lint", str(BIN / "ruff"), "check", "."),
        "format": attempt("format", str(BIN / "ruff"), "format", "--check", "."),
        "types": attempt("types", str(BIN / "basedpyright")),
        "tests": attempt("tests", python, "-m", "pytest", *PARALLEL, *COVERAGE, *sys.argv[1:]),
    }
    subprocess.run([python, "-m", "coverage", "json", "-q", "-o", ".coverage.json"], cwd=ROOT)
    report = ROOT / ".coverage.json"
    covered = json.loads(report.read_text())["totals"]["percent_covered"] if report.exists() else 0
    report.unlink(missing_ok=True)
    figures = {
        "lint": r"(Found \d+ errors?|All checks passed)",
        "format": r"(\d+ files? .*formatted.*)",
        "types": r"(\d+ errors?.*)",
        "tests": r"=+ (.*(?:passed|failed|error).*?) =+",
    }
    print("\nSummary")
    for name, (good, output, seconds) in results.items():
        found = re.findall(figures[name], output)
        detail = found[-1] if found else "said nothing"
        print(f"  {'ok  ' if good else 'FAIL'} {name:9} {seconds:6.1f} s  {detail}")
    print(f"       coverage            {covered:.1f} % of the lines of src")
    return 0 if all(good for good, _, _ in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
