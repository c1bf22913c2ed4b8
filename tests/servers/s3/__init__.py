"""A real object store on loopback, for tests: Ceph's gateway over one store in memory."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from tests.support.ports import reserved_ports

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


@contextmanager
def running_ceph() -> Iterator[Ceph]:
    """Run a store, its state in a folder of its own whose path is short enough for sockets."""
    short = tempfile.TemporaryDirectory(prefix="ceph-", ignore_cleanup_errors=True)
    with short as above, reserved_ports() as first:
        folder, log = Path(above, "ceph"), Path(above, "start.log")
        ports = {"PORT": str(first), "MON_PORT": str(first + 1), "OSD_PORT": str(first + 2)}
        try:
            with log.open("w") as output:
                done = subprocess.run(
                    ["bash", HERE / "start.sh", folder],
                    env=os.environ | ports,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    check=False,
                )
            assert done.returncode == 0, log.read_text()
            yield Ceph(folder, first)
        finally:
            subprocess.run(["bash", HERE / "stop.sh", folder], check=False)
