"""Peak memory of one worker after N documents of 120 words: `python render_memory.py N`.

Two words in a hundred are new ones, so the cache of drawn words fills up and is emptied as it is
with real texts.
"""

import random
import re
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deepsynth.data.corpus import Row
from deepsynth.pages.render.renderer import Renderer
from deepsynth.pages.render.settings import PageSettings
from deepsynth.pages.shards import DATA, RECEIPTS, ShardRange, write_shard

ARTICLES = Path(__file__).parent.parent / "examples" / "articles" / "articles.jsonl"


class MadeUp:
    """A corpus of any size, every document made from its number."""

    name = "made-up"

    def __init__(self) -> None:
        self._words = ARTICLES.read_text(encoding="utf-8").split()

    def read(self, split: str, start: int, stop: int) -> Iterator[Row]:
        """Rows `start` to `stop`."""
        for index in range(start, stop):
            generator = random.Random(index)
            words = (
                str(generator.random())
                if generator.random() < 0.02
                else generator.choice(self._words)
                for _ in range(120)
            )
            yield Row(index, " ".join(words), "Short.")


def peak() -> int:
    """Peak memory of this process in KiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # What getrusage tells on Linux includes the process this one was started from.
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(count: int) -> None:
    """Draw and write `count` documents, deleting each shard once it is there."""
    renderer, corpus = Renderer(PageSettings()), MadeUp()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in (DATA, RECEIPTS):
            (folder / part).mkdir()
        for start in range(0, count, 1000):
            shard = ShardRange("train", start, min(start + 1000, count))
            write_shard(folder, shard, corpus, renderer, "benchmark", lambda rows: None)
            for file in (folder / DATA).iterdir():
                file.unlink()
    print(round(peak() / 1024, 1))


if __name__ == "__main__":
    main(int(sys.argv[1]))
