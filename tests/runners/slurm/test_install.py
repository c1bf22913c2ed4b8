"""Environments at a site: a venv or image of the centre is used, and wheels are there for all."""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from deepsynth.checks import Severity
from deepsynth.errors import DeepSynthError
from deepsynth.runners.slurm.doctor import examine
from deepsynth.runners.slurm.install import gather
from deepsynth.runners.slurm.runner import SlurmRunner
from deepsynth.runners.slurm.site import SiteEnvironment
from tests.support.toy import counted, counting, make_run

HERE = [str(sys.version_info[0]), str(sys.version_info[1]), "x86_64"]

BACKEND = """
import zipfile
NAME = "{wheel}"
def build_wheel(folder, config=None, metadata=None):
    with zipfile.ZipFile(f"{{folder}}/{{NAME}}", "w") as wheel:
        wheel.writestr("purely.py", "")
        info = "purely-1.0.dist-info"
        about = "Metadata-Version: 2.1\\nName: purely\\nVersion: 1.0\\n"
        wheel.writestr(f"{{info}}/METADATA", about)
        wheel.writestr(f"{{info}}/WHEEL", "Wheel-Version: 1.0\\nTag: {tag}\\n")
        wheel.writestr(f"{{info}}/RECORD", "")
    return NAME
"""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place pip takes packages from, instead of any other."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def publish_source(index: Path, tag: str) -> None:
    """Put `purely-1.0` there as source only; it needs nothing to be built."""
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: purely\nVersion: 1.0\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\n'
        'backend-path = ["."]\n',
        "backend.py": BACKEND.format(wheel=f"purely-1.0-{tag}.whl", tag=tag),
    }
    with tarfile.open(index / "purely-1.0.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"purely-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))


def publish_wheel(index: Path, name: str, needs: str = "") -> None:
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(index / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        required = f"Requires-Dist: {needs}\n" if needs else ""
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{required}"
        wheel.writestr(f"{info}/METADATA", about)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def test_what_is_published_as_source_and_what_pins_lack_become_wheels(
    index: Path, tmp_path: Path
) -> None:
    publish_source(index, "py3-none-any")
    publish_wheel(index, "plain", needs="unpinned")
    publish_wheel(index, "unpinned")
    (tmp_path / "wheels").mkdir()
    gather(tmp_path / "wheels", ["plain==1.0", "purely==1.0"], HERE)
    made = sorted(path.name.partition("-")[0] for path in (tmp_path / "wheels").glob("*.whl"))
    assert made == ["plain", "purely", "unpinned"]


def test_what_was_built_for_this_machine_is_not_sent(index: Path, tmp_path: Path) -> None:
    publish_source(index, f"cp3{HERE[1]}-cp3{HERE[1]}-linux_x86_64")
    (tmp_path / "wheels").mkdir()
    with pytest.raises(DeepSynthError, match=r"purely==1\.0 is published as source only"):
        gather(tmp_path / "wheels", ["purely==1.0"], HERE)


def test_a_venv_of_the_centre_is_the_environment_of_a_step(
    hpc: SlurmRunner, tmp_path: Path
) -> None:
    own = SiteEnvironment(venv=sys.prefix)
    hpc.site = hpc.site.model_copy(update={"environments": {"this": own, "htr": own}})
    run = make_run(tmp_path / "run", counting(2, environment="htr"))
    hpc.run(run, run.plan.steps)
    assert (run.path / "model" / "weights").read_text() == counted(2)
    (found,) = [f for f in examine("hpc", hpc.site) if f.where == "environments.htr"]
    assert (found.severity, "lacks kraken" in found.what) == (Severity.ERROR, True)
