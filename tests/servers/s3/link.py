"""A bad network in front of a server: slow, and cut after so many bytes when asked."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

PIECE = 16 << 10


@dataclass
class Link:
    """A listening port that passes everything on.

    Attributes:
        target: Port of the server on 127.0.0.1.
        bytes_per_second: How much passes in each direction of a connection; 0 for no limit.
        cut_after: Connections are cut once so many bytes came from the server; None for never.
        cuts: How many connections may still be cut.
        sent: Bytes that clients sent so far.
    """

    target: int
    bytes_per_second: float = 0
    cut_after: int | None = None
    cuts: int = 0
    sent: int = 0
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, listener: socket.socket) -> None:
        """Take connections until the listener is closed."""
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except ConnectionRefusedError:
                client.close()
                continue
            for source, drain, up in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass, args=(source, drain, up), daemon=True).start()

    def _pass(self, source: socket.socket, drain: socket.socket, up: bool) -> None:
        passed = 0
        with suppress(OSError):
            while piece := source.recv(PIECE):
                drain.sendall(piece)
                passed += len(piece)
                if up:
                    with self.lock:
                        self.sent += len(piece)
                elif self._cuts(passed):
                    break
                if self.bytes_per_second:
                    time.sleep(len(piece) / self.bytes_per_second)
        for end in (source, drain):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _cuts(self, passed: int) -> bool:
        with self.lock:
            if self.cut_after is None or passed < self.cut_after or not self.cuts:
                return False
            self.cuts -= 1
            return True


@contextmanager
def bad_link(target: int, **faults: float) -> Iterator[Link]:
    """A link to a server on this machine."""
    link = Link(target, **faults)  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link.port = listener.getsockname()[1]
        threading.Thread(target=link.serve, args=(listener,), daemon=True).start()
        yield link
