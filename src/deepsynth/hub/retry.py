"""Trying again: how often, how long between, and when to stop."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from deepsynth.hub.failure import Failure, classify

T = TypeVar("T")


@dataclass(frozen=True)
class Retry:
    """How patient we are with a failure that may pass.

    Attributes:
        attempts: Tries in all.
        base_delay: Seconds before the second try; doubled for each further one, with jitter.
        max_delay: Longest of those waits, in seconds.
        max_wait: Longest wait a server may ask for (`Retry-After`), in seconds; beyond it we stop
            and say when to come back.
    """

    attempts: int = 5
    base_delay: float = 1.0
    max_delay: float = 30.0
    max_wait: float = 600.0

    def delay(self, failure: Failure, attempt: int) -> float | None:
        """Seconds to wait after the failed try number `attempt` (from 1); None: stop."""
        if not failure.transient or attempt >= self.attempts:
            return None
        if failure.retry_after is not None:
            return failure.retry_after if failure.retry_after <= self.max_wait else None
        # two publishers that met once must not meet again in step, hence the jitter
        ceiling = min(self.max_delay, self.base_delay * 2 ** (attempt - 1))
        return ceiling * random.uniform(0.5, 1.0)

    def call(self, function: Callable[[], T]) -> T:
        """`function()`, tried again while its failure may pass.

        Raises:
            Exception: The last failure, as the client raised it.
        """
        attempt = 1
        while True:
            try:
                return function()
            except Exception as error:
                wait = self.delay(classify(error), attempt)
                if wait is None:
                    raise
            time.sleep(wait)
            attempt += 1


PATIENT = Retry()
"""The patience of a command: about a minute of trying, and the waits a server asks for."""
