"""`deepsynth preview`: a contact sheet and a gallery of pages as the model gets them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth import durable, images, parquet
from deepsynth.data.opening import open_corpus, short_name
from deepsynth.errors import DataError, RequestError
from deepsynth.hub.manifest import checked
from deepsynth.pages.manifest import CHARACTERS_PER_TOKEN, MANIFEST
from deepsynth.pages.render.modes import Mode, mode_named
from deepsynth.pages.render.settings import PLAIN, PageSettings
from deepsynth.report.page import data_url, render

if TYPE_CHECKING:
    from PIL import Image

_THUMBNAIL, _COLUMNS, _GAP = 384, 4, 12
_SHEET_PAGES = 24


_SHOWN_COLUMNS = {"original_split", "original_index", "text", "summary", "images"}


@dataclass(frozen=True)
class PreviewResult:
    """Where the preview is.

    Attributes:
        contact_sheet: A PNG with the first pages side by side.
        gallery: An HTML file with every page at full size, tokens, text and summary.
        documents: Documents shown.
        pages: Pages shown.
        skipped: Rows that could not be drawn, with the reason.
    """

    contact_sheet: Path
    gallery: Path
    documents: int
    pages: int
    skipped: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class _Shown:
    """A document in the gallery; `pages` are PNG or JPEG files."""

    title: str
    text: str
    summary: str
    pages: list[bytes]


def preview(
    source: str,
    *,
    output_dir: Path = Path("preview"),
    count: int = 12,
    text: str | None = None,
    summary: str | None = None,
    pages: PageSettings = PLAIN,
) -> PreviewResult:
    """Show what the model will get: of a dataset made earlier, or of a source not generated yet.

    Args:
        source: A dataset folder (with `manifest.json`), or what `generate` takes as a source. For
            a dataset the page settings are its own.
        output_dir: Where the two files go; earlier previews of the same name are replaced.
        count: Documents to show, taken evenly from the first split.
        text: Column of the documents.
        summary: Column of the summaries.
        pages: How pages look.

    Raises:
        RequestError: The source is unknown, or a setting is wrong.
        DataError: Nothing in it can be drawn.
    """
    if count < 1:
        raise RequestError(f"{count} documents are none", where="--count")
    folder = Path(source)
    manifest = None
    if (folder / MANIFEST).is_file():
        manifest = checked(durable.read_json(folder / MANIFEST), folder / MANIFEST)
    skipped: list[tuple[int, str]] = []
    if manifest is not None:
        name = folder.name
        drawn_as = manifest["settings"].get("pages")
        page_mode = mode_named(str(drawn_as.get("mode") if isinstance(drawn_as, dict) else None))
        shown = list(_of_dataset(folder, manifest, count))
    else:
        name, page_mode = short_name(source), pages.page_mode
        shown = list(_of_source(source, text, summary, pages, count, skipped))
    if not shown:
        why = f": {skipped[0][1]}" if skipped else ""
        raise DataError(f"no document in it can be drawn{why}", where=source)
    output_dir.mkdir(parents=True, exist_ok=True)
    sheet, gallery = output_dir / f"{name}.png", output_dir / f"{name}.html"
    durable.write_bytes(sheet, _contact_sheet(shown))
    durable.write_text(gallery, _gallery(name, page_mode, shown))
    drawn = sum(len(document.pages) for document in shown)
    return PreviewResult(sheet, gallery, len(shown), drawn, tuple(skipped))


def _of_dataset(folder: Path, manifest: dict[str, Any], count: int) -> Iterator[_Shown]:
    shards = [entry for entry in manifest["files"] if entry["path"].endswith(".parquet")]
    first = [s for s in shards if s.get("split") == shards[0].get("split")]
    rows = [(shard["path"], row) for shard in first for row in range(shard.get("rows") or 0)]
    wanted: dict[str, list[int]] = {}
    for path, row in _evenly(rows, count):
        wanted.setdefault(path, []).append(row)
    for path, numbers in wanted.items():
        with parquet.open_parquet(folder / path) as file:
            if lost := sorted(_SHOWN_COLUMNS - {*file.schema_arrow.names}):
                raise DataError(f"there is no column {lost[0]!r}.", where=folder / path)
            first = 0
            for group in range(file.num_row_groups):
                last = first + file.metadata.row_group(group).num_rows
                inside = [row - first for row in numbers if first <= row < last]
                first = last
                if not inside:
                    continue
                for row in parquet.read(file, path, groups=[group]).take(inside).to_pylist():
                    yield _Shown(
                        f"{row['original_split']} {row['original_index']}",
                        row["text"],
                        row["summary"],
                        [_bytes_of(image, path) for image in row["images"] or []],
                    )


def _of_source(
    source: str,
    text: str | None,
    summary: str | None,
    settings: PageSettings,
    count: int,
    skipped: list[tuple[int, str]],
) -> Iterator[_Shown]:
    from deepsynth.pages.render.renderer import BadDocument, Renderer

    corpus = open_corpus(source, text=text, summary=summary)
    split, total = next(iter(corpus.splits.items()))
    renderer = Renderer(settings)
    for index in _evenly(list(range(total)), count):
        for row in corpus.read(split, index, index + 1):
            try:
                if row.problem:
                    raise BadDocument(row.problem)
                document = renderer.render(row.text, f"{corpus.name}/{split}/{row.index}")
            except BadDocument as problem:
                skipped.append((row.index, str(problem)))
                continue
            yield _Shown(f"{split} {row.index}", document.text, row.summary, document.pages)


def _evenly(items: list[Any], count: int) -> list[Any]:
    if len(items) <= count:
        return items
    return [items[i * len(items) // count] for i in range(count)]


def _contact_sheet(shown: list[_Shown]) -> bytes:
    from PIL import Image

    pages = [page for document in shown for page in document.pages][:_SHEET_PAGES]
    columns = min(_COLUMNS, len(pages))
    rows = -(-len(pages) // columns)
    step = _THUMBNAIL + _GAP
    sheet = Image.new("L", (columns * step + _GAP, rows * step + _GAP), 160)
    for number, page in enumerate(pages):
        image = _opened(page).resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
        sheet.paste(image, (_GAP + number % columns * step, _GAP + number // columns * step))
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _bytes_of(image: Any, path: str) -> bytes:
    data = image.get("bytes") if isinstance(image, dict) else None
    if not isinstance(data, bytes):
        raise DataError("a page is given by a path, without its bytes.", where=path)
    return data


def _opened(page: bytes) -> Image.Image:
    return images.decode(page, "a page of the dataset").convert("L")


def _gallery(name: str, mode: Mode, shown: list[_Shown]) -> str:
    documents = [
        {
            "title": document.title,
            "text": document.text,
            "summary": document.summary,
            "characters": len(document.text),
            "vision_tokens": len(document.pages) * mode.decoder_tokens,
            "text_tokens": len(document.text) // CHARACTERS_PER_TOKEN,
            "pages": [data_url(page) for page in document.pages],
        }
        for document in shown
    ]
    template = Path(__file__).with_name("gallery.html.j2")
    return render(template, name=name, mode=mode, documents=documents)
