"""Environments: where the command line of a step finds its interpreter and its programs.

Families whose dependencies clash live apart. A step names its environment; the runner asks for
it here and gets back the argv to start:

- `this`: the environment DeepSynth itself runs in;
- a managed one (`htr`): a virtual environment built from a lock file by `build_managed`;
- `site(...)`: lines of shell a computing centre wants first, such as `module load kraken`;
- `image(...)`: a container image, run by apptainer.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from deepsynth import durable
from deepsynth.errors import DeepSynthError, MissingDependency
from deepsynth.home import data_folder
from deepsynth.processors import available
from deepsynth.run.installer import install


@cache
def our_variables() -> Mapping[str, str]:
    """Variables of every interpreter we start, the same for all that one process starts."""
    # What lies in the working folder is nobody's module, for it may be a stranger's.
    ours = {"PYTHONSAFEPATH": "1"}
    # Threads that spin while they wait are a quarter faster where a core is free for each, and make
    # a training up to six times slower where others want the cores.
    if "OMP_WAIT_POLICY" not in os.environ and os.getloadavg()[0] > available() / 2:
        ours["OMP_WAIT_POLICY"] = "PASSIVE"
    return ours


ENTERED = "DEEPSYNTH_ENTERED"
"""Set by a runner to the environment of the step it starts, when this process is in it already:
a virtual environment or an image of a computing centre, wherever they lie."""


@dataclass(frozen=True)
class Environment:
    """How to start a command line.

    Attributes:
        name: As a step names it.
        python: Interpreter put in place of `{python}`.
        prelude: Shell lines run before the command, in a login shell.
        image: Container image the command runs in, or empty.
    """

    name: str
    python: str
    prelude: tuple[str, ...] = ()
    image: str = ""

    def command(self, argv: list[str]) -> list[str]:
        """`argv`, with `{python}` filled in, as it has to be started here."""
        argv = [part.replace("{python}", self.python) for part in argv]
        if self.image:
            argv = ["apptainer", "exec", self.image, *argv]
        if self.prelude:
            script = "\n".join(["set -euo pipefail", *self.prelude, f"exec {shlex.join(argv)}"])
            argv = ["bash", "-lc", script]
        return argv


def get_environment(name: str) -> Environment:
    """The environment a step names.

    Raises:
        MissingDependency: It is a managed environment that was not built, or was built by a Python
            or for a DeepSynth that is not there any more.
    """
    if name in ("this", os.environ.get(ENTERED)):
        return Environment(name, sys.executable)
    folder = managed_folder(name)
    if not (folder / "complete.json").is_file():
        raise MissingDependency(
            f"the environment {name} is not installed.",
            where=folder,
            hint=f"Install it once: deepsynth setup {name}",
        )
    environment = Environment(name, str(folder / "bin" / "python"))
    packages = folder.glob("lib/python3*/site-packages")
    for link in (Path(environment.python), *(path / "deepsynth" for path in packages)):
        if link.is_symlink() and not link.exists():
            raise MissingDependency(
                f"the environment {name} needs {link.readlink()}, which is not there any more.",
                where=link,
                hint=f"Mend it: deepsynth setup {name}",
            )
    return environment


def site(name: str, *setup: str) -> Environment:
    """An environment made by a site's own shell lines, such as `module load kraken`."""
    return Environment(name, "python3", prelude=setup)


def image(name: str, reference: str) -> Environment:
    """An environment inside a container image."""
    return Environment(name, "python3", image=reference)


def managed_folder(name: str) -> Path:
    """Where the managed environment `name` lies: below `DEEPSYNTH_HOME` or the XDG data folder."""
    return data_folder() / "environments" / name


def build_managed(name: str, lock: Path, *, log: Path | None = None) -> Environment:
    """Build (or find) the managed environment `name` from a requirements lock file.

    Args:
        name: The environment.
        lock: Pinned requirements; its digest is recorded, and a changed lock rebuilds.
        log: Where the installer's output goes; the terminal when None.

    Raises:
        DeepSynthError: The installer failed; the log says why.
    """
    folder = managed_folder(name)
    wanted = durable.sha256_file(lock)
    built = durable.read_json(folder / "complete.json")
    python = folder / "bin" / "python"
    if built and built["lock"] == wanted and python.exists():
        return Environment(name, str(python))
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=False)
    with log.open("ab") if log else nullcontext() as output:
        if made.returncode or install(python, [f"-r {lock}"], output=output):
            raise DeepSynthError(
                f"the environment {name} could not be installed.",
                where=log or folder,
                hint="Read what the installer said, then run the same command again.",
            )
    durable.write_json(folder / "complete.json", {"lock": wanted})
    return get_environment(name)
