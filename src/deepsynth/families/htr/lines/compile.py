"""Compile ground truth to one Arrow file a split, in Kraken's own schema.

What `ketos compile` does, with three differences: one file a split, because Kraken 7.1 ignores
the splits stored inside a file and trains on the test lines; every line accounted for; and about
a fifth of the processor time (see lines.py).
"""

from __future__ import annotations

import io
import json
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth import durable
from deepsynth.errors import DataError, MissingDependency, install_extra
from deepsynth.families.htr.ground_truth.images import open_image
from deepsynth.families.htr.ground_truth.model import NotGroundTruth, Page

if TYPE_CHECKING:
    from PIL.Image import Image

ROWS_A_BATCH = 100
_SHOWN = 5
_FILTER_UP = 2


@dataclass(frozen=True, slots=True)
class CompiledLine:
    """One row of a compiled file: where it came from and what it says."""

    page: str
    line: str
    text: str


@dataclass(slots=True)
class CompileReport:
    """What became of the lines of a split.

    Attributes:
        lines: Rows written.
        empty: Lines left out because they have no text.
        lost: Lines with text that could not be cut out, each with its reason.
        bytes: Size of the Arrow file.
    """

    lines: int = 0
    empty: int = 0
    lost: list[str] = field(default_factory=list)
    bytes: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return asdict(self)


def compile_split(
    pages: Sequence[Page],
    output: Path,
    *,
    root: Path | None = None,
    colour: bool = False,
    allow_lost: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CompileReport:
    """Write `output` (Arrow) and, beside it, `output.lines.jsonl` with the origin of each row.

    Args:
        pages: Pages of ground truth; their order is the order of the rows.
        output: The `.arrow` file.
        root: Folder that page names are relative to; their bare names when None.
        colour: Keep colour, for networks that read three channels.
        allow_lost: How many lines with text may be lost before this is an error.
        workers: Pages worked on at the same time.
        progress: Called with pages done and pages in all.

    Raises:
        DataError: More lines were lost than allowed (names them), or none is left.
    """
    import pyarrow as pa

    report = CompileReport()
    alphabet: Counter[str] = Counter()
    origins: list[CompiledLine] = []
    schema = _schema()
    draft = output.with_name(f".{output.name}.tmp")
    try:
        with pa.OSFile(str(draft), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            rows: list[dict[str, Any]] = []
            for done, made in enumerate(_compile(pages, root, colour, workers), start=1):
                report.empty += made.empty
                report.lost += made.lost
                for line, image in made.lines:
                    origins.append(line)
                    alphabet.update(line.text)
                    rows.append({"text": line.text, "im": image, "language": None})
                while len(rows) >= ROWS_A_BATCH:
                    writer.write(_batch(rows[:ROWS_A_BATCH], schema))
                    del rows[:ROWS_A_BATCH]
                progress(done, len(pages))
            if rows:
                writer.write(_batch(rows, schema))
        report.lines = len(origins)
        _require_all(report, allow_lost, output)
        _finish(draft, output, schema.with_metadata(_metadata(alphabet, len(origins), colour)))
    finally:
        draft.unlink(missing_ok=True)
    durable.write_text(
        lines_file(output),
        "".join(json.dumps(asdict(line), ensure_ascii=False) + "\n" for line in origins),
    )
    report.bytes = output.stat().st_size
    return report


def lines_file(arrow: Path) -> Path:
    """The file beside a compiled split that names the page and line of each row."""
    return arrow.with_suffix(".lines.jsonl")


def read_lines(arrow: Path) -> list[CompiledLine]:
    """The origin and text of every row of a compiled split, in its order."""
    return [CompiledLine(**entry) for entry in durable.read_lines(lines_file(arrow))]


@dataclass(slots=True)
class _CompiledPage:
    lines: list[tuple[CompiledLine, bytes]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    empty: int = 0


def _compile(
    pages: Sequence[Page], root: Path | None, colour: bool, workers: int
) -> Iterator[_CompiledPage]:
    """Compiled pages in order; only a few pages more than `workers` are ever held in memory."""
    waiting: deque[Future[_CompiledPage]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for page in pages:
            waiting.append(pool.submit(_compile_page, page, root, colour))
            if len(waiting) > workers + 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _compile_page(page: Page, root: Path | None, colour: bool) -> _CompiledPage:
    from deepsynth.families.htr.lines.lines import LostLine, PageImage, extract_line

    result = _CompiledPage()
    path = page.path
    name = path.relative_to(root).with_suffix("").as_posix() if root else page.name
    wanted = [line for line in page.lines if line.text.strip()]
    result.empty = len(page.lines) - len(wanted)
    if not wanted:
        return result
    try:
        image = PageImage(open_image(page.image), colour=colour)
    except NotGroundTruth as problem:
        result.lost = [f"{path.name} {line.id}: {problem.what}" for line in wanted]
        return result
    for line in wanted:
        try:
            cut = _png(extract_line(image, line))
        except LostLine as problem:
            result.lost.append(f"{path.name} {line.id}: {problem}")
        else:
            result.lines.append((CompiledLine(name, line.id, line.text), cut))
    return result


def _png(line: Image) -> bytes:
    """A PNG of a line: grey by ISA-L at its fast level, colour by Pillow.

    Grey lines, nearly all there are, cost a twentieth of Pillow's time for a tenth more bytes
    (grey levels are stored as differences to the row above, which is what handwriting on paper
    compresses best with).
    """
    import numpy as np

    if line.mode != "L":
        stream = io.BytesIO()
        line.save(stream, "PNG", compress_level=1)
        return stream.getvalue()
    try:
        from deepsynth.pages.render.png import encode_rows
    except ImportError:
        raise MissingDependency("compiling lines needs isal", hint=install_extra("htr")) from None
    pixels = np.asarray(line)
    rows = np.empty((pixels.shape[0], pixels.shape[1] + 1), np.uint8)
    rows[:, 0] = _FILTER_UP
    rows[0, 1:] = pixels[0]
    np.subtract(pixels[1:], pixels[:-1], out=rows[1:, 1:])
    return encode_rows(rows, 8, zlib.adler32(rows.tobytes()))


def _require_all(report: CompileReport, allow_lost: int, output: Path) -> None:
    if len(report.lost) > allow_lost:
        shown = "; ".join(report.lost[:_SHOWN])
        more = f"; and {len(report.lost) - _SHOWN} more" if len(report.lost) > _SHOWN else ""
        raise DataError(
            f"{len(report.lost)} of {report.lines + len(report.lost)} lines would be lost: "
            f"{shown}{more}",
            where=output.name,
            hint="Mend them (`deepsynth check` says how, `deepsynth repair` does most of it), "
            f"or accept the loss: data.allow_lost={len(report.lost)}",
        )
    if not report.lines:
        raise DataError(
            "no line with text is left to compile",
            where=output.name,
            hint="Look at the ground truth with `deepsynth check`.",
        )


def _schema() -> Any:
    import pyarrow as pa

    line = pa.struct(
        [("text", pa.string()), ("im", pa.binary()), ("language", pa.list_(pa.string()))]
    )
    flags = [(split, pa.bool_()) for split in ("train", "validation", "test")]
    return pa.schema([("lines", line), *flags])


def _batch(rows: list[dict[str, Any]], schema: Any) -> Any:
    import numpy as np
    import pyarrow as pa

    unused = pa.array(np.zeros(len(rows), bool))
    lines = pa.array(rows, type=schema.field("lines").type)
    return pa.RecordBatch.from_arrays([lines, unused, unused, unused], schema=schema)


def _metadata(alphabet: Counter[str], count: int, colour: bool) -> dict[str, str]:
    return {
        "lines": json.dumps(
            {
                "type": "kraken_recognition_baseline",
                "alphabet": dict(sorted(alphabet.items())),
                "text_type": "raw",
                "image_type": "raw",
                "splits": ["train", "eval", "test"],
                "im_mode": "RGB" if colour else "L",
                "legacy_polygons": False,
                "languages": {},
                "counts": {"all": count, "train": 0, "validation": 0, "test": 0},
            }
        )
    }


def _finish(draft: Path, output: Path, schema: Any) -> None:
    """Rewrite a draft with its metadata, which stands at the head of the file, then rename."""
    import pyarrow as pa

    with (
        durable.appearing(output) as whole,
        pa.memory_map(str(draft), "rb") as source,
        pa.OSFile(str(whole), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        reader = pa.ipc.open_file(source)
        for index in range(reader.num_record_batches):
            batch = reader.get_batch(index)
            writer.write(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
