"""The parent's side of a transfer: start the worker, watch it, change transport when it fails."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import IO, Any, Literal

from deepsynth.hub.account import Account
from deepsynth.hub.caches import XET_ROOM, cache_folders, probe
from deepsynth.hub.failure import Failure
from deepsynth.hub.retry import PATIENT, Retry

Transport = Literal["auto", "xet", "lfs"]
STALL_SECONDS = 300.0
"""Silence after which a worker is taken for hung: as long as the Hub's rate-limit window."""

_FALL_BACK = frozenset({"disk", "network", "server", "stalled", "crashed", "corrupt", "unknown"})


@dataclass(frozen=True)
class Progress:
    """One thing to show.

    Attributes:
        stage: preflight, upload, download, commit, verify or notice.
        text: One line for people.
        done_bytes: Bytes done so far, where bytes move.
        total_bytes: Bytes in all; 0 where no bytes move.
    """

    stage: str
    text: str
    done_bytes: int = 0
    total_bytes: int = 0


Report = Callable[[Progress], None]


def silent(_progress: Progress) -> None:
    """A report that shows nothing."""


class TransferFailed(Exception):
    """A transfer ended without a result; carries the `Failure`."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.detail)


@dataclass(frozen=True)
class Mover:
    """Runs transfer tasks for one account.

    Attributes:
        account: Whose token, which endpoint.
        transport: auto: Xet where it can work, else LFS, and LFS when Xet fails on the way.
        retry: Patience with failures that may pass.
        stall_seconds: Silence after which a transfer is ended.
        report: Told of everything worth showing.
    """

    account: Account
    transport: Transport = "auto"
    retry: Retry = PATIENT
    stall_seconds: float = STALL_SECONDS
    report: Report = silent

    def run(
        self, task: dict[str, Any], on_event: Callable[[dict[str, Any]], None]
    ) -> tuple[dict[str, Any], str]:
        """Do `task`; `(result, transport used)`.

        Args:
            task: What `deepsynth.hub.worker` reads; on a change of transport, `task["uploaded"]`
                is expected to have been kept up to date by `on_event`.
            on_event: Called with each `uploaded` and `downloaded` event.

        Raises:
            TransferFailed: It did not succeed, on the last transport allowed.
        """
        first, why = self._choose()
        if why:
            self.report(Progress("notice", why))
        try:
            return self._once(task, first, on_event), first
        except TransferFailed as error:
            again = self.transport == "auto" and first == "xet"
            if not again or error.failure.kind not in _FALL_BACK:
                raise
            said = self.account.redact(error.failure.detail)
            self.report(
                Progress("notice", f"Xet failed ({error.failure.kind}: {said}); going on over LFS")
            )
        return self._once(task, "lfs", on_event), "lfs"

    def _choose(self) -> tuple[str, str]:
        """The transport to begin with, and why it is not Xet where that was possible."""
        if self.transport != "auto":
            return self.transport, ""
        if find_spec("hf_xet") is None:
            return "lfs", "hf_xet is not installed: using LFS"
        if os.environ.get("HF_HUB_DISABLE_XET", "").upper() in ("1", "TRUE", "YES", "ON"):
            return "lfs", "HF_HUB_DISABLE_XET is set: using LFS"
        room = probe(cache_folders()["HF_XET_CACHE"])
        if room.error:
            return "lfs", f"the Xet cache {room.path} cannot be written ({room.error}): using LFS"
        if room.free_bytes < XET_ROOM:
            free = f"{room.free_bytes / 2**20:.0f} MiB free"
            return "lfs", f"the Xet cache {room.path} is nearly full ({free}): using LFS"
        return "xet", ""

    def _once(
        self, task: dict[str, Any], transport: str, on_event: Callable[[dict[str, Any]], None]
    ) -> dict[str, Any]:
        full = {**task, "endpoint": self.account.endpoint, "retry": asdict(self.retry)}
        with _worker(full, self._environment(transport)) as (process, lines, noise):
            while True:
                try:
                    line = lines.get(timeout=self.stall_seconds)
                except queue.Empty:
                    silence = f"{self.stall_seconds:.0f} s"
                    raise TransferFailed(Failure("stalled", silence)) from None
                if line is None:
                    process.wait()
                    raise TransferFailed(Failure("crashed", _last_words(noise, process)))
                event = json.loads(line)
                match event["event"]:
                    case "done":
                        return event["result"]
                    case "failed":
                        raise TransferFailed(Failure(**event["failure"]))
                    case "waiting":
                        text = f"{event['what']}: {event['why']}, trying again"
                        if event["seconds"] >= 1:
                            text += f" in {event['seconds']:.0f} s"
                        self.report(Progress("notice", text))
                    case _:
                        on_event(event)

    def _environment(self, transport: str) -> dict[str, str]:
        """The worker's environment: credentials, transport, and nothing that could surprise it."""
        environment = {
            **os.environ,
            "HF_TOKEN": self.account.token or "",
            "HF_ENDPOINT": self.account.endpoint,
            "HF_HUB_DISABLE_XET": "1" if transport == "lfs" else "0",
            # with bars switched off the Xet part reports nothing, and looks hung
            "HF_HUB_DISABLE_PROGRESS_BARS": "0",
            "PYTHONIOENCODING": "utf-8",
        }
        for name, value in self._xet_patience().items():
            environment.setdefault(name, value)
        environment.pop("HF_HUB_ENABLE_HF_TRANSFER", None)
        return environment

    def _xet_patience(self) -> dict[str, str]:
        """Our patience in the words of the Xet part; its own is up to five minutes a block."""
        return {
            "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": str(self.retry.attempts),
            "HF_XET_CLIENT_RETRY_BASE_DELAY": f"{self.retry.base_delay * 1000:.0f}ms",
            "HF_XET_CLIENT_RETRY_MAX_DURATION": f"{self.retry.max_delay * 1000:.0f}ms",
        }


@contextlib.contextmanager
def _worker(
    task: dict[str, Any], environment: dict[str, str]
) -> Generator[tuple[subprocess.Popen[bytes], queue.Queue[bytes | None], IO[bytes]]]:
    """A worker process, its lines (None at the end) and its stderr; ended on the way out."""
    lines: queue.Queue[bytes | None] = queue.Queue()
    with tempfile.TemporaryFile() as noise:
        process = subprocess.Popen(
            [sys.executable, "-m", "deepsynth.hub.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            env=environment,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        reader = threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True)
        reader.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # it died at once; its last words say why
                process.stdin.write(json.dumps(task).encode() + b"\n")
                process.stdin.flush()
            yield process, lines, noise
        finally:
            process.kill()
            process.wait()
            reader.join()
            process.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


def _read_lines(stream: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _last_words(noise: IO[bytes], process: subprocess.Popen[bytes]) -> str:
    """The last line a dead worker wrote, for the message."""
    noise.seek(0)
    lines = noise.read().decode("utf-8", "replace").strip().splitlines()
    last = lines[-1][-300:] if lines else "no message"
    return f"the transfer process ended with code {process.returncode}: {last}"
