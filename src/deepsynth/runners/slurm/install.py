"""`deepsynth setup --on SITE`: a pinned environment there, with the versions that are used here.

The packages are installed there by pip, or, where the centre's nodes have no network, are
downloaded here as wheels for its machines and sent. A new environment is built beside the old
one and put in its place at the end, so a job that runs keeps what it started with.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
import sys
import tempfile
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from urllib.parse import quote, unquote, urlparse

from deepsynth import DISTRIBUTION, durable
from deepsynth.errors import DeepSynthError, RequestError, install_extra
from deepsynth.printing import say
from deepsynth.runners.slurm.connection import Connection, RemoteError, last_lines
from deepsynth.runners.slurm.script import shell_path
from deepsynth.runners.slurm.site import Site, SiteEnvironment
from deepsynth.runners.slurm.transfer import Transfer

_OF_THE_INSTALLER = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
_PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux_2_12", "linux")

_BUILD = """
set -e
cd {folder}
folder=$PWD/environments/{name}-{key}
if [ ! -e "$folder/complete.json" ]; then
  {setup}
  rm -rf "$folder"
  python3 -m venv "$folder"
  "$folder/bin/python" -m pip install --quiet --no-input --disable-pip-version-check \\
    {options} -r wheels/{key}/requirements.txt >&2
  printf '{{"lock": "%s"}}\\n' {key} >"$folder/complete.json"
fi
rm -rf wheels/{key}
ln -sfn "$folder" environments/{name}.new
mv -T environments/{name}.new environments/{name}
"""


def install(
    site: Site,
    *,
    name: str = "this",
    lock: Path | None = None,
    offline: bool = False,
    say: Callable[[str], None] = say,
) -> str:
    """Build the environment `name` at a site; one that is there already with the same pins stays.

    Args:
        site: The site.
        name: The environment, as steps name it.
        lock: Pinned requirements, such as those of Kraken; None for what is installed here, with
            the extras of DeepSynth that are.
        offline: Download the wheels here and send them; the site needs no network.
        say: Told what happens.

    Returns:
        Its absolute folder there.

    Raises:
        RequestError: Another environment than `this` was named without its lock.
        DeepSynthError: pip failed, here or there.
        ConnectionLost: The site cannot be reached.
    """
    if name != "this" and lock is None:
        raise RequestError(f"there is no environment {name} to set up.", where="setup")
    connection = Connection(site.host)
    workspace = shell_path(site.workspace)
    made = f"mkdir -p {workspace}/environments {workspace}/wheels && cd {workspace} && pwd -P"
    base = connection.check(made, "the workspace cannot be made").removesuffix("\n")
    if not base.startswith("/") or not base.isprintable():
        raise RemoteError(f"the workspace is said to be {base!r}.", where=connection.name)
    own = site.environments.get(name) or site.environments.get("this") or SiteEnvironment()
    setup = "\n  ".join(own.setup) or ":"
    told = connection.check(
        f"{setup}\npython3 -c 'import sys, platform; "
        "print(*sys.version_info[:2], platform.machine())'",
        "python3 does not start there",
    )
    if not re.fullmatch(r"\d{1,2} \d{1,3} \w{1,20}", told.strip()):
        raise RemoteError(f"python3 there tells no version: {told!r}.", where=connection.name)
    version = told.split()
    if tuple(map(int, version[:2])) < (3, 11):
        raise DeepSynthError(
            f"the python3 there is {version[0]}.{version[1]}; DeepSynth needs 3.11 or later.",
            where=connection.name,
            hint=f"Load a newer one: environments: {{{name}: {{setup: [module load python]}}}}",
        )
    with tempfile.TemporaryDirectory(prefix="deepsynth-wheels-") as temporary:
        wheels = Path(temporary) / "wheels"
        wheels.mkdir()
        wheel = own_wheel(wheels)
        pins = sorted(_read_lock(lock) if lock else pinned(DISTRIBUTION, installed_extras()))
        text = "\n".join(pins)
        key = durable.sha256_value([text, durable.sha256_file(wheel), version])[:12]
        there = f"{base}/wheels/{key}"
        folder = f"{base}/environments/{name}"
        built = f"[ -e {shlex.quote(f'{folder}-{key}/complete.json')} ]"
        is_built = connection.run(built).code == 0
        own_line = f"{DISTRIBUTION} @ file://{quote(f'{there}/{wheel.name}')}"
        (wheels / "requirements.txt").write_text(f"{text}\n{own_line}\n")
        if offline and not is_built:
            say(f"Downloading {len(pins)} packages for Python {version[0]}.{version[1]}")
            gather(wheels, pins, version)
        if not is_built:
            size = sum(path.stat().st_size for path in wheels.iterdir()) / 1e6
            say(f"Sending the environment {name} to {connection.name} ({size:.0f} MB)")
            Transfer(connection).send(wheels, there)
    options = f"--no-index --find-links wheels/{key}" if offline else ""
    say(f"Installing it in {folder}")
    connection.check(
        _BUILD.format(folder=shlex.quote(base), name=name, key=key, setup=setup, options=options),
        "the environment cannot be installed",
        timeout=None,
    )
    return folder


def pinned(distribution: str, extras: Iterable[str] = ()) -> Iterator[str]:
    """`name==version` of everything `distribution` needs, as it is installed here.

    Raises:
        DeepSynthError: Something it needs is not installed here, so its version is not known.
    """
    from packaging.requirements import Requirement

    todo = [(distribution, tuple(extras))]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    named: set[str] = set()
    while todo:
        name, wanted = todo.pop()
        canonical = re.sub(r"[-_.]+", "-", name).lower()
        if (canonical, wanted) in seen:
            continue
        seen.add((canonical, wanted))
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise DeepSynthError(
                f"{name} is not installed here, so its version is not known.",
                hint=install_extra("train"),
            ) from None
        for text in found.requires or []:
            need = Requirement(text)
            if need.marker is None or any(
                need.marker.evaluate({"extra": extra}) for extra in (*wanted, "")
            ):
                todo.append((need.name, tuple(sorted(need.extras))))
        if canonical not in named and name != distribution:
            named.add(canonical)
            # A local version such as 2.13.0+cpu is of this machine only.
            yield f"{canonical}=={found.version.partition('+')[0]}"


def installed_extras() -> list[str]:
    """The extras of DeepSynth whose packages are all installed here, but `dev`."""
    found: list[str] = []
    for extra in metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []:
        try:
            list(pinned(DISTRIBUTION, [extra]))
        except DeepSynthError:
            continue
        found.append(extra)
    return [extra for extra in found if extra != "dev"]


def _read_lock(lock: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in lock.read_text().splitlines())
    return [line for line in lines if line]


def own_wheel(folder: Path) -> Path:
    """DeepSynth itself as a wheel of the code that runs; never fetched by its name.

    From the sources, where it was installed to be changed there; else its installed files, put
    together again.
    """
    own = metadata.distribution(DISTRIBUTION)
    told = json.loads(own.read_text("direct_url.json") or "{}")
    if told.get("dir_info", {}).get("editable"):
        _pip("wheel", "--no-deps", "--wheel-dir", str(folder), unquote(urlparse(told["url"]).path))
        return next(folder.glob("*.whl"))
    wheel = folder / f"{DISTRIBUTION.replace('-', '_')}-{own.version}-py3-none-any.whl"
    records: list[str] = []
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as stream:
        for path in own.files or []:
            if ".." in path.parts or path.suffix == ".pyc" or path.name in _OF_THE_INSTALLER:
                continue
            data = path.read_binary()
            stream.writestr(str(path), data)
            digest = urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            records.append(f"{path},sha256={digest},{len(data)}")
        record = f"{wheel.name.removesuffix('-py3-none-any.whl')}.dist-info/RECORD"
        stream.writestr(record, "\n".join([*records, f"{record},,"]) + "\n")
    return wheel


def gather(folder: Path, pins: Sequence[str], version: Sequence[str]) -> None:
    """Put a wheel of everything pinned, and of what that needs besides, into a folder.

    What is published as source only is built here: the site could not fetch what building takes.

    Args:
        folder: Where the wheels go.
        pins: `name==version`.
        version: Of the Python there: major, minor, machine.

    Raises:
        DeepSynthError: pip failed, or what was built here runs on this machine only.
    """
    platforms = [f"--platform={name}_{version[2]}" for name in _PLATFORMS]
    target = [f"--python-version={version[0]}.{version[1]}", *platforms]
    wanted, from_source = list(pins), list[str]()
    while True:
        try:
            # With what they need: pins made elsewhere may lack what only this platform asks for.
            _pip(
                *("download", "--only-binary=:all:", "--dest", str(folder)),
                *("--find-links", str(folder), *target, *wanted),
            )
            return
        except DeepSynthError as error:
            absent = re.search(r"No matching distribution found for (\S+)", error.what)
            if not absent or absent[1] not in pins or absent[1] in from_source:
                raise
            from_source.append(absent[1])
            _pip("wheel", "--no-deps", "--no-binary=:all:", "--wheel-dir", str(folder), absent[1])
            name = re.sub(r"[-_.]+", "_", absent[1].partition("==")[0])
            made = [
                p for p in folder.glob("*.whl") if p.name.lower().startswith(f"{name}-".lower())
            ]
            if not any(path.name.endswith("-none-any.whl") for path in made):
                raise DeepSynthError(
                    f"{absent[1]} is published as source only, and built here it runs here only.",
                    where="setup --offline",
                    hint="Let the centre install it, and name its module in `setup`.",
                ) from None


def _pip(*arguments: str) -> None:
    argv = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeepSynthError(
            f"pip failed: {last_lines(done.stderr)}",
            where="pip " + arguments[0],
            hint="Read what pip said; check the network, then give the same command again.",
        )
