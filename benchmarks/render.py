"""Text to parquet: DeepSynth beside other ways, interleaved in one process, in processor time.

    python benchmarks/render.py                       # examples/articles, shuffled to 600 words
    python benchmarks/render.py --corpus FILE.jsonl   # your own texts (field `text`)
    python benchmarks/render.py --memory              # also 10,000 and 100,000 documents

Rounds take turns and every round draws documents not drawn before. Trust the ratios, not the times:
the machine may be busy. Results go to `benchmarks/results/render.json` and, as a table, to stdout.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deepsynth.data.corpus import Row
from deepsynth.durable import sha256_file, write_json
from deepsynth.pages import schema as columns
from deepsynth.pages.render.fonts import find_fonts
from deepsynth.pages.render.renderer import Document, Renderer
from deepsynth.pages.render.settings import PageSettings
from render_peers import PEERS, Naive

ROOT = Path(__file__).parent
ARTICLES = ROOT.parent / "examples" / "articles" / "articles.jsonl"
WORDS = 600


class Ours:
    """DeepSynth."""

    def __init__(self, profile: str) -> None:
        self.name = f"DeepSynth, {profile}"
        self._renderer = Renderer(PageSettings(profile=profile))

    def pages(self, text: str) -> list[bytes]:
        """The pages of a document."""
        return self._renderer.render(text).pages


def articles(corpus: Path, count: int) -> list[str]:
    """Articles of 600 words: the corpus cut to length, or, where it is too small, reshuffled."""
    lines = corpus.read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    words = " ".join(texts).split()
    found = [" ".join(words[i : i + WORDS]) for i in range(0, len(words) - WORDS, WORDS)]
    generator = random.Random(0)
    while len(found) < count:
        sentences = [s for text in texts for s in text.replace("\n", " ").split(". ")]
        generator.shuffle(sentences)
        words = ". ".join(sentences).split()
        found += [" ".join(words[i : i + WORDS]) for i in range(0, len(words) - WORDS, WORDS)]
    return found[:count]


def write(engine: Any, texts: list[str], folder: Path) -> int:
    """Draw documents and write them to a parquet file, as the engine's users would."""
    path = folder / "part.parquet"
    if isinstance(engine, Naive):
        from datasets import Dataset, Image, disable_progress_bars

        disable_progress_bars()

        rows = [{"text": text, "summary": "", "image": engine.pages(text)[0]} for text in texts]
        dataset = Dataset.from_list(rows).cast_column("image", Image())
        dataset.to_parquet(str(path))
        return path.stat().st_size
    shard_schema = columns.schema("benchmark")
    with pq.ParquetWriter(
        path,
        shard_schema,
        compression=columns.COMPRESSION,
        use_dictionary=False,
        write_statistics=False,
    ) as writer:
        for start in range(0, len(texts), 100):
            rows = [
                (Row(i, text, ""), Document(text, engine.pages(text)))
                for i, text in enumerate(texts[start : start + 100])
            ]
            writer.write_table(columns.row_group(rows, "benchmark", "train", shard_schema))
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
    sha256_file(path)
    return path.stat().st_size


def compare(engines: list[Any], texts: list[str], rounds: int, batch: int) -> list[dict[str, Any]]:
    """Documents per core-second of every engine: median over interleaved rounds."""
    seconds: dict[str, list[float]] = {engine.name: [] for engine in engines}
    sizes: dict[str, list[int]] = {engine.name: [] for engine in engines}
    measured_after = texts[rounds * batch :]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for engine in engines:
            # Ours remembers words: it is measured as it runs after its first documents.
            write(engine, measured_after if isinstance(engine, Ours) else texts[:4], folder)
        for number in range(rounds):
            part = texts[number * batch : (number + 1) * batch]
            order = engines[number % len(engines) :] + engines[: number % len(engines)]
            for engine in order:
                begun = time.process_time()
                size = write(engine, part, folder)
                seconds[engine.name].append((time.process_time() - begun) / len(part))
                sizes[engine.name].append(size // len(part))
    base = statistics.median(seconds[engines[0].name])
    return [
        {
            "name": engine.name,
            "documents_per_core_second": round(1 / statistics.median(seconds[engine.name]), 1),
            "lowest": round(1 / max(seconds[engine.name]), 1),
            "highest": round(1 / min(seconds[engine.name]), 1),
            "times_naive": round(base / statistics.median(seconds[engine.name]), 1),
            "bytes_per_document": round(statistics.mean(sizes[engine.name])),
        }
        for engine in engines
    ]


def legibility(engines: list[Any], texts: list[str], language: str) -> dict[str, float | None]:
    """Character error rate of tesseract on what the model sees: the page fitted to 1024 x 1024."""
    if shutil.which("tesseract") is None:
        return {engine.name: None for engine in engines}
    from PIL import Image
    from rapidfuzz.distance import Levenshtein

    rates: dict[str, float | None] = {}
    for engine in engines:
        wrong = total = 0
        for text in texts:
            read = ""
            for page in engine.pages(text):
                image = page if isinstance(page, Image.Image) else Image.open(io.BytesIO(page))
                image = image.convert("L")
                scale = 1024 / max(image.size)
                fitted = image.resize((round(image.width * scale), round(image.height * scale)))
                square = Image.new("L", (1024, 1024), 255)
                square.paste(fitted, ((1024 - fitted.width) // 2, (1024 - fitted.height) // 2))
                stream = io.BytesIO()
                square.save(stream, "PNG")
                result = subprocess.run(
                    ["tesseract", "-", "-", "-l", language, "--psm", "6"],
                    input=stream.getvalue(),
                    capture_output=True,
                    check=True,
                )
                read += result.stdout.decode() + " "
            truth, guess = (" ".join(t.replace("’", "'").split()) for t in (text, read))
            wrong += Levenshtein.distance(truth, guess)
            total += len(truth)
        rates[engine.name] = round(wrong / total, 4)
    return rates


def scripts(rounds: int) -> dict[str, float]:
    """Complex scripts: milliseconds of the shaped path and of plain pyvips, same text."""
    from render_peers import Pyvips

    sample = (
        "هذا نص عربي طويل نسبيا لقياس سرعة الرسم من اليمين إلى اليسار. "
        "यह देवनागरी में लिखा गया एक लंबा पाठ है। 这是一段用来测量速度的中文文字。 "
    )
    text = "\n".join(sample * 3 for _ in range(12))
    renderer, plain = Renderer(PageSettings()), Pyvips(Path())
    renderer.render(text)
    plain.pages(text)
    times: dict[str, list[float]] = {"DeepSynth": [], "pyvips": []}
    for _ in range(rounds):
        for name, draw in (("DeepSynth", renderer.render), ("pyvips", plain.pages)):
            begun = time.process_time()
            for _ in range(10):
                draw(text)
            times[name].append((time.process_time() - begun) / 10)
    return {name: round(statistics.median(values) * 1000, 2) for name, values in times.items()}


def wall(texts: list[str]) -> dict[str, float]:
    """Documents per second of wall time of the whole command, on one worker and on two."""
    from deepsynth.pages.generate import generate

    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "articles.jsonl"
        with source.open("w", encoding="utf-8") as stream:
            for text in texts:
                stream.write(json.dumps({"text": text, "summary": "Short."}) + "\n")
        for workers in (1, 2):
            begun = time.monotonic()
            generate(str(source), output_dir=Path(name) / str(workers), workers=workers)
            found[f"{workers} worker"] = round(len(texts) / (time.monotonic() - begun), 1)
    return found


def memory(count: int) -> float:
    """Peak memory (MiB) of one worker after `count` documents, in a process of its own."""
    script = ROOT / "render_memory.py"
    done = subprocess.run([sys.executable, script, str(count)], capture_output=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=ARTICLES)
    parser.add_argument("--language", default="fra", help="of the corpus, for tesseract")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=30, help="documents per round and engine")
    parser.add_argument("--before", type=int, default=130, help="documents drawn before measuring")
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    font = find_fonts()[0].path
    engines: list[Any] = []
    skipped: list[str] = []
    for peer in PEERS:
        try:
            engines.append(peer(font))
        except (ImportError, OSError) as error:
            skipped.append(f"{peer.name}: {error}")
    engines += [Ours("standard"), Ours("small")]
    texts = articles(options.corpus, options.batch * options.rounds + options.before)
    table = compare(engines, texts, options.rounds, options.batch)
    rates = legibility(engines, texts[:3], options.language)
    for line in table:
        line["cer"] = rates[line["name"]]
    for line, engine in zip(table, engines, strict=True):
        line["missing_glyphs"] = engine.missing(texts) if hasattr(engine, "missing") else 0
    libraries = [
        line["documents_per_core_second"]
        for line in table
        if not line["name"].startswith(("naive", "DeepSynth"))
    ]
    ours = next(line for line in table if line["name"] == "DeepSynth, standard")
    result: dict[str, Any] = {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
        },
        "versions": {n: version(n) for n in ("pillow", "pyvips", "pyarrow", "numba", "isal")},
        "corpus": options.corpus.name,
        "words_per_document": WORDS,
        "rounds": options.rounds,
        "batch": options.batch,
        "documents_drawn_before": options.before,
        "table": table,
        "skipped": skipped,
        "times_fastest_library": round(ours["documents_per_core_second"] / max(libraries), 1),
        "complex_scripts_ms": scripts(options.rounds),
        "documents_per_second_wall": wall((texts * 40)[:4000]),
        "benchmark_peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    if options.memory:
        result["worker_peak_mib"] = {str(n): memory(n) for n in (10_000, 100_000)}
    (ROOT / "results").mkdir(exist_ok=True)
    write_json(ROOT / "results" / "render.json", result)
    print("| way | documents per core-second | x naive | KB a document | CER | missing glyphs |")
    print("|---|---|---|---|---|---|")
    for line in table:
        print(
            f"| {line['name']} | {line['documents_per_core_second']} ({line['lowest']}-"
            f"{line['highest']}) | {line['times_naive']} |"
            f" {line['bytes_per_document'] / 1000:.0f} | {line['cer']} | {line['missing_glyphs']} |"
        )
    rest = {k: v for k, v in result.items() if k not in ("table", "machine", "versions")}
    print(json.dumps(rest, indent=2))


if __name__ == "__main__":
    pa.set_cpu_count(1)
    main()
