"""The parent's side of a transfer: start the worker, watch it, change transport when it fails."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any, Literal

from deepsynth.hub.account import Account
from deepsynth.hub.caches import XET_ROOM, cache_folders, probe
from deepsynth.hub.failure import Failure
from deepsynth.hub.retry import PATIENT, Retry
from deepsynth.run.child import Child, ChildEnded, ChildSilent, module_argv
from deepsynth.run.progress import Progress, Report, silent

Transport = Literal["auto", "xet", "lfs"]
STALL_SECONDS = 300.0
"""Silence after which a worker is taken for hung: as long as the Hub's rate-limit window."""

_FALL_BACK = frozenset({"disk", "network", "server", "stalled", "crashed", "corrupt", "unknown"})


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
        with Child(module_argv("deepsynth.hub.worker"), self._environment(transport)) as worker:
            with contextlib.suppress(ChildEnded):  # it died at once; the next line says why
                worker.send(full)
            while True:
                try:
                    event = worker.receive(self.stall_seconds)
                except ChildSilent:
                    silence = f"{self.stall_seconds:.0f} s"
                    raise TransferFailed(Failure("stalled", silence)) from None
                except ChildEnded as end:
                    said = f"the transfer process ended: {end}"
                    raise TransferFailed(Failure("crashed", said)) from None
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
        """What the worker's environment has beside ours: credentials, transport, our patience."""
        patience = self._xet_patience().items()
        return {
            "HF_TOKEN": self.account.token or "",
            "HF_ENDPOINT": self.account.endpoint,
            # the account's token or none, never one that `hf auth login` stored for another Hub
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
            "HF_HUB_DISABLE_XET": "1" if transport == "lfs" else "0",
            # with bars switched off the Xet part reports nothing, and looks hung
            "HF_HUB_DISABLE_PROGRESS_BARS": "0",
            "HF_HUB_ENABLE_HF_TRANSFER": "0",
            "PYTHONIOENCODING": "utf-8",
            **{name: os.environ.get(name, value) for name, value in patience},
        }

    def _xet_patience(self) -> dict[str, str]:
        """Our patience in the words of the Xet part; its own is up to five minutes a block."""
        return {
            "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": str(self.retry.attempts),
            "HF_XET_CLIENT_RETRY_BASE_DELAY": f"{self.retry.base_delay * 1000:.0f}ms",
            "HF_XET_CLIENT_RETRY_MAX_DURATION": f"{self.retry.max_delay * 1000:.0f}ms",
        }
