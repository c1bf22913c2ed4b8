"""Ports of real servers: no other test process is given the same ones."""

from __future__ import annotations

import os
import random
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

FIRSTS = range(17000, 32000, 20)
"""Below the ports that the system gives to outgoing connections."""


@contextmanager
def reserved_ports() -> Iterator[int]:
    """The first of twenty free ports, which are the caller's until the block ends."""
    folder = Path(tempfile.gettempdir(), f"deepsynth-ports-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    for first in random.sample(FIRSTS, len(FIRSTS)):
        lock = FileLock(folder / str(first), timeout=0)
        try:
            lock.acquire()
        except Timeout:
            continue
        try:
            if all(map(_is_free, range(first, first + FIRSTS.step))):
                yield first
                return
        finally:
            lock.release()
    raise RuntimeError("there are no twenty free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
