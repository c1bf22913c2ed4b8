"""What a warm process forks is what `subprocess` would have started; and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepsynth.run.warm import Forked, NotWarm, WarmProcess
from tests.run.test_execution import has_ended
from tests.support.tickets import wait_until

LOOK = """
import gc, json, os, sys, threading

def status():
    lines = open("/proc/self/status").read().splitlines()
    return {k: v.strip() for k, v in (line.split(":", 1) for line in lines)}

def descriptors():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            place = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
        if int(name) < 3 or "pipe" in place:
            found[name if int(name) < 3 else "kept"] = place, os.get_inheritable(int(name))
    return found

def look():
    told = status()
    return {
        "leads": [os.getpid() == os.getsid(0) == os.getpgid(0), os.getppid() == int(sys.argv[1])],
        "environment": {k: v for k, v in os.environ.items() if k != "TOY_PIPE"},
        "pipe": os.readlink("/proc/self/fd/" + os.environ.get("TOY_PIPE", "1")),
        "folder": os.getcwd(), "path": sys.path[:2], "arguments": sys.argv[1:],
        "program": sys.argv[0], "name": __name__, "spec": __spec__.name,
        "main": sys.modules["__main__"].__dict__ is globals(),
        "signals": [told[name] for name in ("SigBlk", "SigIgn", "SigCgt")],
        "threads": [told["Threads"], threading.active_count()],
        "collects": [gc.isenabled(), gc.get_threshold()],
        "there": "wave" in sys.argv and "wave" in sys.modules,
        "umask": told["Umask"], "descriptors": descriptors(),
        "unbuffered": [sys.stdout.write_through, sys.stdout.encoding, sys.stdin.read()],
    }

if __name__ == "__main__":
    print(json.dumps(look()))
"""
ENDS = """
import os, signal, sys, time
def end(how):
    if how == "raise": raise ValueError("a surprise")
    if how == "kill": os.kill(os.getpid(), signal.SIGKILL)
    if how == "interrupt": os.kill(os.getpid(), signal.SIGINT)
    if how == "terminate": os.kill(os.getpid(), signal.SIGTERM)
    if how == "wait": time.sleep(60)
    if how.isdigit(): sys.exit(int(how))
    if how == "words": sys.exit("it is over")
if __name__ == "__main__":
    end(sys.argv[1])
"""
OWNER = """
import os, sys
from deepsynth.run.warm import take
if __name__ == "__main__":
    warm = take()
    print(warm is not None, "ends" in sys.modules, flush=True)
    if len(sys.argv) > 1:
        child = warm.start("ends", ["5"], environment=os.environ)
        print(child.wait(), os.getppid() != child.pid, flush=True)
        warm.close()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place of small modules."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "look.py").write_text(LOOK)
    (folder / "ends.py").write_text(ENDS)
    (folder / "owner.py").write_text(OWNER)
    (folder / "broken.py").write_text("import no_such_module")
    (folder / "speaks.py").write_text("print('a warning')")
    (folder / "listens.py").write_text("import speaks")
    (folder / "threaded.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    )
    return folder


@pytest.fixture(scope="module")
def environment(folder: Path) -> dict[str, str]:
    """The variables of the processes here."""
    named = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
    return named | {"PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module")
def warm(environment: dict[str, str]) -> Iterator[WarmProcess]:
    with WarmProcess(["look", "ends", "owner"], environment=environment) as warm:
        yield warm


def told(process: Forked, log: Path) -> str:
    process.wait(timeout=20)
    return log.read_text()


def test_a_fork_is_as_a_process_that_was_started(
    warm: WarmProcess,
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = environment | {"DEEPSYNTH_STEP": "first"}
    arguments = [str(os.getpid()), "two words"]
    reader, writer = os.pipe()
    with (tmp_path / "log").open("wb") as log:
        forked = warm.start(
            "look", arguments, environment=environment, stdout=log.fileno(),
            stderr=log.fileno(), named={"TOY_PIPE": reader},
        )  # fmt: skip
    found = json.loads(told(forked, tmp_path / "log"))
    with (tmp_path / "log").open("wb") as log:
        subprocess.run(
            [sys.executable, "-m", "look", *arguments],
            env=environment | {"TOY_PIPE": str(reader)},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            pass_fds=[reader], start_new_session=True, check=True,
        )  # fmt: skip
    os.close(reader)
    os.close(writer)
    expected = json.loads((tmp_path / "log").read_text())
    assert expected["leads"] == [True, True]
    for key, value in expected.items():
        assert found[key] == value, key


@pytest.mark.parametrize("how", ["0", "3", "words", "raise", "kill", "interrupt", "terminate"])
def test_it_ends_as_a_process_that_was_started(
    warm: WarmProcess, environment: dict[str, str], tmp_path: Path, how: str
) -> None:
    with (tmp_path / "log").open("wb") as log:
        code = warm.start("ends", [how], stdout=log.fileno(), stderr=log.fileno()).wait(20)
    expected = subprocess.run(
        [sys.executable, "-m", "ends", how], env=environment, capture_output=True, check=False
    )
    assert code == expected.returncode
    assert told_last(tmp_path / "log") == expected.stderr.decode().splitlines()[-1:]


def told_last(log: Path) -> list[str]:
    return log.read_text().splitlines()[-1:]


def test_orphans_of_others_are_not_adopted(warm: WarmProcess) -> None:
    warm.start("ends", ["0"]).wait(20)
    told = subprocess.run(
        ["sh", "-c", "sleep 20 >/dev/null & echo $!"], capture_output=True, text=True, check=True
    )
    orphan = int(told.stdout)
    found = subprocess.run(
        ["ps", "-o", "ppid=", "-p", str(orphan)], capture_output=True, check=True
    )
    os.kill(orphan, signal.SIGKILL)
    assert int(found.stdout) != os.getpid()


def test_waiting_has_a_limit_and_signals_arrive(warm: WarmProcess) -> None:
    process = warm.start("ends", ["wait"])
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.05)
    process.terminate()
    assert process.wait(20) == -signal.SIGTERM
    process.kill()  # has ended: nobody is hit


def test_what_it_needs_is_imported_before(warm: WarmProcess, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = warm.start("look", ["0", "wave"], needs=["wave"], stdout=log.fileno())
    assert json.loads(told(process, tmp_path / "log"))["there"] is True


def test_what_importing_printed_is_in_the_log_of_each(
    environment: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with WarmProcess([], environment=environment) as warm, log.open("ab") as stream:
        for _ in range(2):
            warm.start("listens", stdout=stream.fileno(), stderr=stream.fileno()).wait(20)
    assert log.read_text() == "a warning\n" * 2


@pytest.mark.parametrize(
    ("module", "why"), [("broken", "no_such_module"), ("threaded", "threads: python")]
)
def test_what_cannot_be_forked_is_refused(
    environment: dict[str, str], module: str, why: str
) -> None:
    with WarmProcess([], environment=environment) as warm:
        with pytest.raises(NotWarm, match=why):
            warm.start(module)
        with pytest.raises(NotWarm, match=why):
            warm.start("ends", ["0"])


def test_variables_that_importing_may_have_read_must_be_the_same(
    warm: WarmProcess, environment: dict[str, str]
) -> None:
    assert warm.fits(environment | {"DEEPSYNTH_HOME": "x", "TOKENIZERS_PARALLELISM": "false"})
    assert not warm.fits(environment | {"HF_HOME": "x"})
    with pytest.raises(NotWarm, match="environment variables"):
        warm.start("ends", ["0"], environment=environment | {"HF_HOME": "x"})


def test_it_ends_with_its_maker_and_what_it_forked_goes_on(
    environment: dict[str, str], tmp_path: Path
) -> None:
    script = (
        "import sys, time; from deepsynth.run.warm import WarmProcess\n"
        "warm = WarmProcess([]); child = warm.start('ends', ['wait'])\n"
        "print(warm._process.pid, child.pid, flush=True); time.sleep(60)\n"
    )
    maker = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert maker.stdout
    server, child = map(int, maker.stdout.readline().split())
    maker.kill()
    maker.wait()
    maker.stdout.close()
    wait_until(lambda: has_ended(server), 10, "the warm process to end")
    assert not has_ended(child)
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: has_ended(child), 10)


def test_it_may_be_killed_while_what_it_forked_works(environment: dict[str, str]) -> None:
    with WarmProcess([], environment=environment) as warm:
        process = warm.start("ends", ["wait"])
        os.kill(warm._process.pid, signal.SIGKILL)
        with pytest.raises(NotWarm, match="ended with code -9"):
            warm.start("ends", ["0"])
        assert process.poll() is None
        process.kill()
        assert process.wait(20) == -signal.SIGKILL


def test_closing_does_not_wait_for_imports(environment: dict[str, str], folder: Path) -> None:
    (folder / "slow.py").write_text("import time; time.sleep(60)")
    began = time.monotonic()
    with WarmProcess(["slow"], environment=environment):
        pass
    assert time.monotonic() - began < 10


def test_a_command_line_has_a_warm_process_of_its_own(
    warm: WarmProcess, environment: dict[str, str], tmp_path: Path
) -> None:
    def run(*arguments: str, own: bool = True) -> str:
        with (tmp_path / "log").open("wb") as log:
            process = warm.start(
                "owner", arguments, own=own, stdout=log.fileno(), stderr=log.fileno()
            )
        assert process.wait(20) == 0
        return (tmp_path / "log").read_text()

    assert run() == "True True\n"
    assert run("and uses it") == "True True\n5 True\n"
    assert run(own=False) == "False True\n"
