"""Worker processes side by side, and what happens when one dies."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from deepsynth.errors import DeepSynthError, StepFailed
from deepsynth.pages.shards import Receipt, ShardRange
from deepsynth.pages.worker import THREADS
from deepsynth.run.child import Child, ChildEnded, module_argv

ATTEMPTS = 3
"""A shard whose worker dies this often is given up: the cause is in the shard or the machine."""


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
    waiting: queue.SimpleQueue[ShardRange] = queue.SimpleQueue()
    for shard in shards:
        waiting.put(shard)
    failures: list[DeepSynthError] = []
    running: list[Child] = []
    lock = threading.Lock()
    stopping = threading.Event()

    def start() -> Child:
        worker = Child(module_argv("deepsynth.pages.worker"), dict.fromkeys(THREADS, "1"))
        with lock:
            running.append(worker)
        worker.send(job)
        return worker

    def work() -> None:
        worker: Child | None = None
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
                    receipt = _draw(worker, shard, advance)
                    on_receipt(receipt)
                    break
                except ChildEnded as end:
                    on_rows(-done)
                    worker = None
                    if stopping.is_set():
                        return
                    if attempt == ATTEMPTS:
                        failures.append(
                            StepFailed(
                                f"its worker died {ATTEMPTS} times ({end})",
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


def _draw(worker: Child, shard: ShardRange, progress: Callable[[int], None]) -> Receipt:
    """Have one shard drawn; `progress` gets the rows done in it so far."""
    worker.send(asdict(shard))
    while True:
        answer = worker.receive()
        if "done" in answer:
            progress(answer["done"])
        elif "receipt" in answer:
            return Receipt.from_dict(answer["receipt"])
        else:
            raise StepFailed.from_dict(answer.get("error"))
