"""A real object store on loopback, for tests: Ceph's gateway over one store in memory."""

from __future__ import annotations

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool", "curl")
KEY, SECRET = "deepsynth", "deepsynthsecret"


def why_not() -> str | None:
    """Why the servers cannot run here, or None when they can."""
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    return f"not installed: {', '.join(absent)}" if absent else None


@dataclass(frozen=True)
class Ceph:
    """A running store.

    Attributes:
        folder: Where its state and logs are.
        port: Port of the gateway on 127.0.0.1.
    """

    folder: Path
    port: int

    def environment(self, port: int | None = None) -> dict[str, str]:
        """What a client finds in its environment."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port or self.port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def make_bucket(self, name: str) -> None:
        """Make a bucket; one that exists already is fine."""
        import obstore
        from obstore.store import S3Store

        store = S3Store(
            name,
            endpoint=f"http://127.0.0.1:{self.port}",
            access_key_id=KEY,
            secret_access_key=SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
        )
        address = obstore.sign(store, "PUT", "", timedelta(minutes=1))
        with urllib.request.urlopen(urllib.request.Request(address, method="PUT")) as answer:
            assert answer.status == 200

    def kill_gateway(self) -> None:
        """End the gateway at once, as a crash does; what is stored stays."""
        pid = int((self.folder / "run" / "client.rgw.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.02)

    def start_gateway(self) -> None:
        """Start the gateway again, and wait until it answers."""
        conf = self.folder / "ceph.conf"
        subprocess.run(["radosgw", "-c", conf, "-n", "client.rgw"], check=True)
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}").close()
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise TimeoutError("the gateway does not answer")


@cache
def shared_ceph() -> Ceph:
    """The store of this test process, started once, ended with the process."""
    folder = Path(tempfile.mkdtemp(prefix="ceph-"))
    first = _free_ports()
    ports = {"PORT": str(first), "MON_PORT": str(first + 1), "OSD_PORT": str(first + 2)}
    log = folder / "start.log"
    atexit.register(_end, folder)
    with log.open("w") as output:
        done = subprocess.run(
            ["bash", HERE / "start.sh", folder / "ceph"],
            env=os.environ | ports,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
    assert done.returncode == 0, log.read_text()
    ceph = Ceph(folder / "ceph", first)
    ceph.make_bucket("tests")
    return ceph


def _end(folder: Path) -> None:
    subprocess.run(["bash", HERE / "stop.sh", folder / "ceph"], check=False)
    shutil.rmtree(folder, ignore_errors=True)


def _free_ports() -> int:
    """The first of eighteen free ports, below those the system gives to outgoing connections."""
    for _ in range(100):
        first = random.randrange(17000, 32000, 20)
        try:
            for port in range(first, first + 18):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise RuntimeError("no free ports")
