"""A worker process: draws the shards it is handed, one line of JSON each way.

It is a process of its own rather than a `multiprocessing` child: it can be killed at any moment and
simply replaced, it needs no guard in the caller's script, and it ends when its caller does.
"""

from __future__ import annotations

import errno
from pathlib import Path

from deepsynth.run.child import Parent

THREADS = (
    "OMP_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VIPS_CONCURRENCY",
    "OPENBLAS_NUM_THREADS",
    "ARROW_NUM_THREADS",
)
"""Each worker is one core's worth of work; these keep libraries from taking more."""


def serve(parent: Parent) -> None:
    """Answer requests until there are none: first the job, then one shard per line.

    Answers are `{"done": rows}` while a shard is drawn, then `{"receipt": ...}`, or
    `{"error": ...}` when it cannot be written.
    """
    requests = parent.requests()
    job = next(requests)
    from deepsynth.data.corpus import Corpus
    from deepsynth.errors import DeepSynthError
    from deepsynth.pages.render.renderer import Renderer
    from deepsynth.pages.render.settings import PageSettings
    from deepsynth.pages.shards import ShardRange, write_shard

    folder = Path(job["folder"])
    try:
        corpus = Corpus.from_dict(job["corpus"])
        renderer = Renderer(PageSettings.model_validate(job["pages"]))
        for shard in requests:
            receipt = write_shard(
                folder,
                ShardRange(**shard),
                corpus,
                renderer,
                job["settings"],
                lambda rows: parent.answer({"done": rows}),
            )
            parent.answer({"receipt": receipt.as_dict()})
    except DeepSynthError as error:
        parent.answer({"error": error.as_dict()})
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
            raise
        parent.answer(
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


if __name__ == "__main__":
    serve(Parent())
