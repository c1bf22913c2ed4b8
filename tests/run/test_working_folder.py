"""A module that lies where somebody works is never imported: the folder may be anybody's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tickets


@pytest.mark.parametrize("how", [["check"], ["prepare", "--cold"]], ids=["warm", "cold"])
def test_a_module_beside_the_job_is_not_imported(how: list[str], tmp_path: Path) -> None:
    job = tickets.write_job(tmp_path)
    mark = tmp_path / "imported"
    for name in ("yaml", "json", "pyarrow"):
        (job.parent / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write(__name__)\n")
    command = Path(sys.executable).with_name("deepsynth")
    done = subprocess.run(
        [command, *how, job.name, "--quiet"],
        cwd=job.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not mark.exists()
    assert done.returncode == 0, done.stderr
