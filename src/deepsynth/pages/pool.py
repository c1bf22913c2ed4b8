"""Worker processes side by side, and what happens when one dies."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import IO, Any

from deepsynth.errors import DeepSynthError, StepFailed
from deepsynth.pages.shards import Receipt, ShardRange
from deepsynth.pages.worker import THREADS

ATTEMPTS = 3
"""A shard whose worker dies this often is given up: the cause is in the shard or the machine."""


class _WorkerDied(Exception):
    pass


class _Worker:
    """One process; started when first needed."""

    def __init__(self, job: str) -> None:
        environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "deepsynth.pages.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            text=True,
        )
        self._send(job)

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise _WorkerDied from error

    def draw(self, shard: ShardRange, progress: Callable[[int], None]) -> Receipt:
        """Have one shard drawn; `progress` gets the rows done in it so far."""
        self._send(json.dumps(asdict(shard)))
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            if "done" in answer:
                progress(answer["done"])
            elif "receipt" in answer:
                return Receipt.from_dict(answer["receipt"])
            else:
                error = answer["error"]
                raise StepFailed(
                    error["what"],
                    where=error["where"],
                    hint=error["hint"],
                    exit_code=error["exit_code"],
                )
        raise _WorkerDied

    def last_words(self) -> str:
        """How it ended, with the end of what it wrote to stderr."""
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return f"{how}: {lines[-1]}" if lines else how

    def close(self) -> None:
        """End the process and wait for it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            try:
                if stream:
                    stream.close()
            except BrokenPipeError:
                pass


def draw_all(
    shards: list[ShardRange],
    job: dict[str, Any],
    workers: int,
    on_rows: Callable[[int], None],
    on_receipt: Callable[[Receipt], None],
) -> None:
    """Have all shards drawn by `workers` processes; a dead worker is replaced.

    Args:
        shards: What is left to do.
        job: What every worker is told first.
        workers: Number of processes.
        on_rows: Called with the number of rows newly done, from several threads.
        on_receipt: Called with each finished shard's receipt, from several threads.

    Raises:
        DeepSynthError: A shard cannot be written, or keeps killing its worker.
    """
    text = json.dumps(job)
    waiting: queue.SimpleQueue[ShardRange] = queue.SimpleQueue()
    for shard in shards:
        waiting.put(shard)
    failures: list[DeepSynthError] = []
    running: list[_Worker] = []
    lock = threading.Lock()
    stopping = threading.Event()

    def start() -> _Worker:
        worker = _Worker(text)
        with lock:
            running.append(worker)
        return worker

    def work() -> None:
        worker: _Worker | None = None
        while not stopping.is_set():
            try:
                shard = waiting.get_nowait()
            except queue.Empty:
                break
            for attempt in range(1, ATTEMPTS + 1):
                done = 0

                def advance(rows: int) -> None:
                    nonlocal done
                    on_rows(rows - done)
                    done = rows

                try:
                    worker = worker or start()
                    receipt = worker.draw(shard, advance)
                    on_receipt(receipt)
                    break
                except _WorkerDied:
                    on_rows(-done)
                    words = worker.last_words() if worker else "never started"
                    worker = None
                    if stopping.is_set():
                        return
                    if attempt == ATTEMPTS:
                        failures.append(
                            StepFailed(
                                f"its worker died {ATTEMPTS} times ({words})",
                                where=f"{shard.split} rows {shard.start} to {shard.stop}",
                                hint="Signal 9 often means too little memory: try fewer --workers."
                                " Finished shards are kept.",
                            )
                        )
                        stopping.set()
                except DeepSynthError as error:
                    failures.append(error)
                    stopping.set()
                    return

    threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.5)
    finally:
        stopping.set()
        for worker in running:
            worker.close()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
