"""The same tests with the other client: huggingface_hub 1.16, as older environments have it."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

OTHER = "1.16.1"
HERE = Path(__file__).parent
TESTS = ("test_publish.py", "test_load.py", "test_faults.py", "test_kill.py")
# of the faults, those whose handling lies in the client; how long it tries again is not ours
SELECTED = "(not test_faults or storage or body or lost or flipped) and not forever"


@pytest.fixture
def other_client():
    """A folder with the other client and what it needs, made once per machine."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "deepsynth-tests" / f"huggingface_hub-{OTHER}"
    if not (folder / "huggingface_hub").is_dir():
        temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(temporary)]
        subprocess.run([*command, f"huggingface_hub=={OTHER}"], check=True)
        temporary.replace(folder)
    return folder


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_the_other_client_passes_the_same_tests(other_client):
    if importlib.metadata.version("huggingface_hub") == OTHER:
        pytest.skip("this is the other client")
    environment = {**os.environ, "PYTHONPATH": str(other_client)}
    version = "import huggingface_hub; print(huggingface_hub.__version__)"
    run = subprocess.run(
        [sys.executable, "-c", version], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == OTHER
    tests = [str(HERE / name) for name in TESTS]
    options = ["-q", "-m", "", "-k", SELECTED, "-p", "no:cacheprovider", "--tb=short"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        env=environment,
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-6000:]
