"""What is built to be given away: everything that runs, and nothing else."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import deepsynth
from deepsynth import DISTRIBUTION
from tests.support.environment import environment

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="needs the sources of DeepSynth"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    argv = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, env=environment())
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


def tracked(*places: str) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *places],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\n")
    return {name for name in listed if name and (ROOT / name).exists()}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    own = {name for name in names if name.startswith("deepsynth/")}
    assert own == {name.removeprefix("src/") for name in tracked("src")}
    assert "deepsynth/py.typed" in own
    assert "deepsynth/report/base.html.j2" in own
    rest = {name.partition(".dist-info/")[2] for name in names - own}
    files = {"METADATA", "WHEEL", "RECORD", "entry_points.txt"}
    assert rest == {*files, "licenses/LICENSE", "licenses/NOTICE"}


def test_the_sdist_holds_what_the_wheel_is_built_from_and_the_tests(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert tracked("src", "tests", "docs", "examples") <= names
    assert {"pyproject.toml", "README.md", "LICENSE", "NOTICE", "PKG-INFO"} <= names
    kept_home = re.compile(r"^(\.ci|\.github|benchmarks|deploy|runs|\.venv)/|\.env$|__pycache__")
    assert not [name for name in names if kept_home.search(name)]


def test_nothing_given_away_names_a_place_of_this_machine(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            assert os.fsencode(ROOT) not in archive.read(name), name


def test_one_version_stands_everywhere(wheel: Path) -> None:
    version = deepsynth.__version__
    assert wheel.name == f"{DISTRIBUTION.replace('-', '_')}-{version}-py3-none-any.whl"
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == version
    assert f"\n## {version}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_nobody_is_told_to_fetch_deepsynth_by_its_name() -> None:
    by_name = re.compile(
        r"pip3? (install|wheel|download)[^\n]*['\" ]deepsynth(\[|==|['\" ]|$)", re.M
    )
    for name in tracked("src", "docs", "deploy", "examples", "scripts", "README*", "*.md", ".ci"):
        text = (ROOT / name).read_bytes().decode("utf-8", "replace")
        assert not by_name.search(text), name


def test_actions_are_named_by_their_digest() -> None:
    for workflow in (ROOT / ".github" / "workflows").glob("*.yml"):
        for line in re.findall(r"uses: (.*)", workflow.read_text(encoding="utf-8")):
            assert re.match(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+$", line), f"{workflow.name}: {line}"


def test_what_is_sent_to_a_site_is_the_code_that_runs(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(installed), str(wheel)], check=True)
    changed = installed / "deepsynth" / "cli.py"
    changed.write_text(changed.read_text() + "# mended by hand\n")
    script = (
        "import sys; from pathlib import Path\n"
        "from deepsynth.runners.slurm.install import own_wheel\n"
        "print(own_wheel(Path(sys.argv[1])))"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        env=environment(PYTHONPATH=str(installed)),
    ).stdout
    again = tmp_path / "again"
    subprocess.run([*pip, "--target", str(again), said.strip()], check=True)
    assert (again / "deepsynth" / "cli.py").read_text().endswith("# mended by hand\n")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(said.strip()) as second:
        assert {n for n in first.namelist() if n.startswith("deepsynth/")} == {
            n for n in second.namelist() if n.startswith("deepsynth/")
        }
        assert any(n.endswith("entry_points.txt") for n in second.namelist())


def test_everything_that_is_imported_is_installed_with_some_extra() -> None:
    """The environment of the tests has more than that of a user: what only it has is no help."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {k: v for k, v in project["optional-dependencies"].items() if k != "dev"}
    waiting = [*project["dependencies"], *(one for extra in extras.values() for one in extra)]
    given: set[str] = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        if name in given or not (requirement.marker is None or requirement.marker.evaluate()):
            continue
        given.add(name)
        with suppress(PackageNotFoundError):
            waiting += requires(name) or []
    # Quantising is for CUDA alone: who asks for it is told to install this.
    ours = {"deepsynth", "bitsandbytes", *sys.stdlib_module_names}
    known = packages_distributions()
    strange: set[tuple[str, str]] = set()
    for path in (ROOT / "src").rglob("*.py"):
        if "kraken" in path.parts:
            continue  # runs in an environment of its own
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for top in {name.partition(".")[0] for name in names} - ours:
                if not given & {canonicalize_name(one) for one in known.get(top, [])}:
                    strange.add((path.name, top))
    assert strange == set()
