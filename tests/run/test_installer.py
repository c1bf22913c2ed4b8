from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from deepsynth.run import installer
from deepsynth.run.installer import find_uv, install, uv_settings

pytestmark = pytest.mark.skipif(find_uv() is None, reason="uv is not installed: make setup")


@pytest.fixture(autouse=True)
def no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file for pip's settings, in the place of those of the machine."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "pip.conf"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip's settings name."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    return folder


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The interpreter of an empty environment."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    return tmp_path / "env" / "bin" / "python"


def make_wheel(folder: Path, name: str, version: str, needs: str = "") -> None:
    with ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        info = f"{name}-{version}.dist-info"
        head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        wheel.writestr(f"{name}.py", "answer = 42\n")
        wheel.writestr(f"{info}/METADATA", head + (f"Requires-Dist: {needs}\n" if needs else ""))
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


def said(python: Path, *requirements: str, constraint: Path | None = None) -> tuple[int, str]:
    output = python.parents[1] / "output"
    with output.open("wb") as stream:
        code = install(python, list(requirements), constraint=constraint, output=stream)
    return code, output.read_text()


def installed(python: Path) -> set[str]:
    packages = python.parents[1].glob("lib/python3*/site-packages/*.dist-info")
    return {path.name.removesuffix(".dist-info") for path in packages}


def test_the_settings_of_pip_become_those_of_uv(
    no_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_settings.write_text(
        "[global]\nindex-url = https://name:secret@here/simple\ncert = /a.pem\n"
        "extra-index-url = https://one/simple\n  https://two/simple\n"
        "timeout = 5\nprogress-bar = off\n[install]\nfind-links = /a /b\n[wheel]\nno-binary = x\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(no_settings))
    monkeypatch.setenv("PIP_TIMEOUT", "7")
    assert uv_settings() == {
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_DEFAULT_INDEX": "https://name:secret@here/simple",
        "UV_INDEX": "https://one/simple https://two/simple",
        "UV_FIND_LINKS": "/a,/b",
        "UV_HTTP_TIMEOUT": "7",
        "SSL_CERT_FILE": "/a.pem",
    }


def test_a_setting_uv_does_not_know_leaves_it_to_pip(
    wheels: Path, python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(wheels, "toy", "1.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert uv_settings() is None
    code, text = said(python, "toy")
    assert code == 0
    assert "Successfully installed toy-1.0" in text
    assert installed(python) == {"toy-1.0"}
    assert not list(python.parents[1].rglob("toy*.pyc"))


def test_what_comes_is_said_first_and_held_by_the_pins(wheels: Path, python: Path) -> None:
    make_wheel(wheels, "toy", "1.0", needs="other")
    make_wheel(wheels, "toy", "2.0", needs="other")
    make_wheel(wheels, "other", "1.0")
    pins = wheels / "pins.txt"
    pins.write_text("toy==1.0\n")
    code, text = said(python, "toy", constraint=pins)
    assert code == 0
    assert text.startswith("2 packages, 0 MB")
    assert "Installed 2 packages" in text
    assert "+ toy" not in text
    assert installed(python) == {"toy-1.0", "other-1.0"}
    assert not list(python.parents[1].rglob("*.pyc"))


def test_on_a_terminal_the_progress_is_shown_and_the_list_is_not(
    wheels: Path, python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(wheels, "toy", "1.0")
    ours, theirs = pty.openpty()
    with open(theirs, "wb", buffering=0, closefd=False) as terminal:
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(terminal, write_through=True))
        assert install(python, ["toy"]) == 0
        shown = os.read(ours, 65536).decode()
    os.close(ours)
    os.close(theirs)
    assert "\x1b[2K" in shown
    assert "Installed" in shown
    assert "==1.0" not in shown.rpartition("Installed")[2]


@pytest.mark.parametrize("to_be_had", [True, False])
def test_the_torch_for_cpus_is_taken_where_it_can_be_had(
    to_be_had: bool, wheels: Path, python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer, "has_nvidia_gpu", lambda: False)
    make_wheel(wheels, "torch", "9.0", needs="nvidia-toy")
    make_wheel(wheels, "nvidia_toy", "1.0")
    if to_be_had:
        make_wheel(wheels, "torch", "9.0+cpu")
    code, text = said(python, "torch==9.0")
    assert code == 0
    assert ("torch for CPUs." in text) == to_be_had
    assert ("No torch for CPUs can be reached" in text) != to_be_had
    assert installed(python) == (
        {"torch-9.0+cpu"} if to_be_had else {"torch-9.0", "nvidia_toy-1.0"}
    )


def test_what_cannot_be_had_is_named(wheels: Path, python: Path) -> None:
    code, text = said(python, "./no-such-folder")
    assert code != 0
    assert "no-such-folder" in text
    assert installed(python) == set()


def test_uv_stands_beside_the_interpreter() -> None:
    """`make setup` puts it there, so the tests above install by uv unless they say otherwise."""
    assert find_uv() is not None
