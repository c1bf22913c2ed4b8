import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ARTICLES = ROOT / "examples" / "articles" / "articles.jsonl"


@pytest.fixture
def source(tmp_path):
    """2,300 short documents, two of them not usable; three shards."""
    path = tmp_path / "short.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        for i in range(2300):
            text = {7: "", 1500: "\x00\x01"}.get(
                i, f"Document {i}: un texte court, numéro {i * i}."
            )
            stream.write(json.dumps({"text": text, "summary": f"Résumé {i}"}) + "\n")
    return path


def digests(folder):
    """Sha256 of every file that makes the dataset."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def command(*arguments):
    """A command line that generates, in a process of its own."""
    script = (
        "import sys, json\n"
        "from pathlib import Path\n"
        "from deepsynth.errors import DeepSynthError\n"
        "from deepsynth.pages.generate import generate\n"
        "options = json.loads(sys.argv[1])\n"
        "from deepsynth.pages.render.settings import PageSettings\n"
        "options['output_dir'] = Path(options['output_dir'])\n"
        "options['pages'] = PageSettings(**options['pages'])\n"
        "try:\n"
        "    generate(**options, progress=lambda p: print(p.done, flush=True))\n"
        "except DeepSynthError as error:\n"
        "    print(error, file=sys.stderr)\n"
        "    sys.exit(error.exit_code)\n"
    )
    return [sys.executable, "-c", script, *arguments]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}
