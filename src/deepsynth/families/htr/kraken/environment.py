"""The managed environment of Kraken: `deepsynth setup htr`.

Kraken's pins clash with those of transformers, so it lives in an environment of its own. The
package `deepsynth` is linked into it, not installed: the steps that run there use its core only.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import deepsynth
from deepsynth import durable
from deepsynth.checks import Finding, Severity
from deepsynth.errors import DeepSynthError
from deepsynth.run.environments import Environment, build_managed, managed_folder

MANAGED = "htr"
"""Name of the environment in which Kraken runs."""

LOCK = Path(__file__).parent / "htr.lock"
_SHIM = Path(__file__).parent / "torchvision_shim.py"
_SHIM_MODULE = "deepsynth_torchvision_shim"


def setup_htr(*, log: Path | None = None) -> Environment:
    """Build the environment, or bring an existing one up to date; safe to call again.

    pip's settings are honoured: to take torch from a place of your own, point `PIP_FIND_LINKS` or
    `PIP_EXTRA_INDEX_URL` at it.

    Args:
        log: Where the installer's output goes; the terminal when None.

    Raises:
        DeepSynthError: The installer failed, or Kraken cannot be imported afterwards.
    """
    environment = build_managed(MANAGED, LOCK, log=log)
    packages = _site_packages(managed_folder(MANAGED))
    shutil.copyfile(_SHIM, packages / f"{_SHIM_MODULE}.py")
    (packages / f"{_SHIM_MODULE}.pth").write_text(f"import {_SHIM_MODULE}\n", encoding="utf-8")
    _link(Path(deepsynth.__file__).parent, packages / "deepsynth")
    probe = subprocess.run(
        [environment.python, "-c", "import kraken.train, deepsynth.families.htr.job"],
        capture_output=True,
        text=True,
        check=False,
    )
    if probe.returncode:
        last = (probe.stderr.strip().splitlines() or ["no message"])[-1]
        raise DeepSynthError(
            f"Kraken was installed but cannot be imported: {last}",
            where=managed_folder(MANAGED),
            hint=f"Remove {managed_folder(MANAGED)} and run `deepsynth setup htr` again.",
        )
    return environment


def probe() -> list[Finding]:
    """Whether there is a ketos here: the managed one, or the one on the path."""
    managed = managed_folder(MANAGED) / "bin" / "ketos"
    ketos = shutil.which("ketos") or (str(managed) if managed.is_file() else None)
    what = f"found at {ketos}" if ketos else "not here: jobs of family htr cannot run."
    return [Finding(Severity.INFO, "ketos", "ketos", what, "" if ketos else "deepsynth setup htr")]


def _site_packages(folder: Path) -> Path:
    return next((folder / "lib").glob("python3*/site-packages"))


def _link(source: Path, target: Path) -> None:
    """Point `target` at `source` in one step, so that a running step never misses it."""
    if target.is_symlink() and target.resolve() == source.resolve():
        return
    with durable.appearing(target) as draft:
        draft.symlink_to(source)
