"""A stand-in as a child process, and the handle tests hold on it."""

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[3]
STORAGE = ("/_s3/put/", "/_s3/part/", "/_cas/v1/xorbs")


class StandIn:
    """One running hub: `with StandIn(root) as hub: ... hub.url`.

    A process of its own, not a thread: a test that kills, stalls or fills things must not be able
    to disturb the server, and the client must meet a real socket.
    """

    def __init__(self, root: Path, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            self.root = root
            command = [sys.executable, "-m", "tests.servers.hub", "--root", str(root), *options]
            self._process = subprocess.Popen(
                [*command, "--socket", str(listener.fileno())],
                cwd=REPOSITORY,
                pass_fds=[listener.fileno()],
            )

    def __enter__(self) -> "StandIn":
        try:
            self.control("health")  # the socket takes it, and waits for the process to begin
        except OSError as error:
            self.__exit__()
            raise RuntimeError("the hub stand-in did not start") from error
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.wait()

    def control(self, what: str, data: Any = None, method: str | None = None) -> Any:
        """One call of `/_standin/WHAT`."""
        request = urllib.request.Request(
            f"{self.url}/_standin/{what}",
            method=method or ("GET" if data is None else "POST"),
            data=None if data is None else json.dumps(data).encode(),
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def fault(self, match: str, **fault: Any) -> None:
        """Arrange a fault for the next requests whose line matches."""
        self.control("faults", {"match": match, **fault})

    def clear(self) -> None:
        """Forget the faults and the log."""
        self.control("faults", method="DELETE")
        self.control("log", method="DELETE")

    def log(self) -> list[dict[str, Any]]:
        """Every request since `clear`."""
        return self.control("log")

    def sent(self) -> int:
        """Bytes that reached object storage since `clear`."""
        return sum(r["in"] for r in self.log() if any(part in r["req"] for part in STORAGE))

    def requests(self, part: str) -> list[dict[str, Any]]:
        """The logged requests whose line contains `part`."""
        return [r for r in self.log() if part in r["req"]]
