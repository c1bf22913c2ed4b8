"""A worker process: draws the shards it is handed, one line of JSON each way.

It is a process of its own rather than a `multiprocessing` child: it can be killed at any moment and
simply replaced, it needs no guard in the caller's script, and it ends when its caller does.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

THREADS = (
    "OMP_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VIPS_CONCURRENCY",
    "OPENBLAS_NUM_THREADS",
    "ARROW_NUM_THREADS",
)
"""Each worker is one core's worth of work; these keep libraries from taking more."""


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer requests until there are none: first the job, then one shard per line.

    Answers are `{"done": rows}` while a shard is drawn, then `{"receipt": ...}`, or
    `{"error": ...}` when it cannot be written.
    """
    job = json.loads(requests.readline())
    from deepsynth.data.corpus import Corpus
    from deepsynth.errors import DeepSynthError
    from deepsynth.pages.plan import page_settings
    from deepsynth.pages.render.renderer import Renderer
    from deepsynth.pages.shards import ShardRange, write_shard

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    folder = Path(job["folder"])
    try:
        corpus = Corpus.from_dict(job["corpus"])
        renderer = Renderer(page_settings(job["pages"]))
        for line in requests:
            receipt = write_shard(
                folder,
                ShardRange(**json.loads(line)),
                corpus,
                renderer,
                job["settings"],
                lambda rows: answer({"done": rows}),
            )
            answer({"receipt": receipt.as_dict()})
    except DeepSynthError as error:
        answer({"error": error.as_dict()})
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
            raise
        answer(
            {
                "error": {
                    "what": f"a shard cannot be written: {error.strerror}",
                    "where": str(folder),
                    "hint": "Make room (or give another --output-dir) and run the same command"
                    " again: finished shards are kept.",
                    "exit_code": 1,
                }
            }
        )


def main() -> int:
    """Entry point of `python -m deepsynth.pages.worker`."""
    try:
        serve(sys.stdin, sys.stdout)
    except (BrokenPipeError, KeyboardInterrupt):
        # The caller is gone or was stopped; the shard at hand is not kept.
        os._exit(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
