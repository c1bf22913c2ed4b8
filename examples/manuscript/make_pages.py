"""Write the ground truth of this example: pages set in two faces, stand-ins for two hands.

    python examples/manuscript/make_pages.py FOLDER

Each page is a PNG with lines of French-looking words in a font, and its PAGE (or ALTO) file. The
fonts come with matplotlib, under their own free licences. The pages are made anew each time and
the same every time; tests and benchmarks write theirs with `write_pages`, too.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from xml.sax.saxutils import escape, quoteattr

from deepsynth.errors import MissingDependency

if TYPE_CHECKING:
    from PIL.Image import Image

WORDS = tuple(
    word
    for line in (
        "le la de et les des en un une du dans est pour que qui sur au par plus ne se son avec",
        "mais tout nous comme ou si leur bien encore aussi entre monde jour homme temps main",
        "grand petit roi ville terre eau feu vie ami livre page ligne mot lettre encre plume",
        "papier été même déjà après très père mère où fête forêt château abbé clé âme île",
    )
    for word in line.split()
)

WIDTH, HEIGHT, LINE_HEIGHT = 760, 640, 50
_PAPER = (238, 230, 214)
_MARGIN, _STEP = 4, 14


@dataclass(frozen=True, slots=True)
class _DrawnLine:
    id: str
    text: str
    left: int
    top: int
    width: int
    polygon: list[tuple[int, int]]

    @property
    def baseline(self) -> list[tuple[int, int]]:
        y = self.top + 27
        return [(self.left, y), (self.left + self.width, y)]


def _outline(ink: Image, left: int, top: int, width: int) -> list[tuple[int, int]]:
    """An outline that follows the letters at a small distance, as segmenters draw them."""
    upper: list[tuple[int, int]] = []
    lower: list[tuple[int, int]] = []
    for x in range(left - _MARGIN, left + width + _MARGIN, _STEP):
        found = ink.crop((x - _MARGIN, top - 10, x + _STEP + _MARGIN, top + 46)).getbbox()
        first, last = (found[1], found[3]) if found else (24, 36)
        upper.append((max(0, x), top - 10 + first - _MARGIN))
        lower.append((max(0, x), top - 10 + last + _MARGIN))
    right = min(WIDTH - 1, left + width + _MARGIN)
    return [*upper, (right, upper[-1][1]), (right, lower[-1][1]), *reversed(lower)]


def demo_font(name: str) -> Path:
    """A font that matplotlib ships, such as `DejaVuSerif`, `STIXGeneralItalic` or `cmr10`.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    from importlib.util import find_spec

    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise MissingDependency(
            "the fonts of the demonstration come with matplotlib",
            hint="Install it with: pip install matplotlib",
        )
    return Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / f"{name}.ttf"


def write_pages(
    folder: Path,
    *,
    font: Path,
    pages: int,
    seed: int,
    lines: int = 12,
    size: int = 26,
    form: Literal["page", "alto"] = "page",
    prefix: str = "p",
) -> list[Path]:
    """Write pages into `folder` and return their XML files.

    Args:
        folder: Made if needed.
        font: TrueType file the lines are set in.
        pages: How many pages.
        seed: Decides words, places and ink.
        lines: Lines on a page, at most 12.
        size: Font size in pixels.
        form: Format of the XML files.
        prefix: Start of the file names.
    """
    from PIL import Image, ImageDraw, ImageFont

    folder.mkdir(parents=True, exist_ok=True)
    face = ImageFont.truetype(str(font), size)
    chance = random.Random(seed)
    written: list[Path] = []
    for number in range(pages):
        stem = f"{prefix}{number:03d}"
        image = Image.new("RGB", (WIDTH, HEIGHT), _PAPER)
        draw = ImageDraw.Draw(image)
        drawn: list[_DrawnLine] = []
        for row in range(lines):
            text = " ".join(chance.choice(WORDS) for _ in range(chance.randint(4, 7)))
            left, top = 30 + chance.randint(0, 12), 25 + row * LINE_HEIGHT
            while left + draw.textlength(text, font=face) > WIDTH - 10:
                text = text.rpartition(" ")[0]
            ink = 40 + chance.randint(0, 30)
            draw.text((left, top + 27), text, font=face, fill=(ink, ink, ink), anchor="ls")
            width = round(draw.textlength(text, font=face))
            alone = Image.new("1", image.size)
            ImageDraw.Draw(alone).text((left, top + 27), text, font=face, fill=1, anchor="ls")
            outline = _outline(alone, left, top, width)
            drawn.append(_DrawnLine(f"l{row}", text, left, top, width, outline))
        image.save(folder / f"{stem}.png")
        document = _page_xml(stem, drawn) if form == "page" else _alto_xml(stem, drawn)
        path = folder / f"{stem}.xml"
        path.write_text(document, encoding="utf-8")
        written.append(path)
    return written


def _page_xml(stem: str, lines: list[_DrawnLine]) -> str:
    def points(pairs: list[tuple[int, int]]) -> str:
        return " ".join(f"{x},{y}" for x, y in pairs)

    def rows() -> Iterator[str]:
        for line in lines:
            yield (
                f'   <TextLine id="{line.id}" custom="structure {{type:DefaultLine;}}">\n'
                f'    <Coords points="{points(line.polygon)}"/>\n'
                f'    <Baseline points="{points(line.baseline)}"/>\n'
                f"    <TextEquiv><Unicode>{escape(line.text)}</Unicode></TextEquiv>\n"
                "   </TextLine>"
            )

    region = f"10,10 {WIDTH - 10},10 {WIDTH - 10},{HEIGHT - 5} 10,{HEIGHT - 5}"
    return "\n".join(
        (
            '<?xml version="1.0" encoding="UTF-8"?>',
            '<PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15">',
            " <Metadata><Creator>deepsynth</Creator><Created>2026-01-01T00:00:00</Created>"
            "<LastChange>2026-01-01T00:00:00</LastChange></Metadata>",
            f' <Page imageFilename="{stem}.png" imageWidth="{WIDTH}" imageHeight="{HEIGHT}">',
            '  <TextRegion id="r0" custom="structure {type:MainZone;}">',
            f'   <Coords points="{region}"/>',
            *rows(),
            "  </TextRegion>",
            " </Page>",
            "</PcGts>\n",
        )
    )


def _alto_xml(stem: str, lines: list[_DrawnLine]) -> str:
    def points(pairs: list[tuple[int, int]]) -> str:
        return " ".join(f"{x} {y}" for x, y in pairs)

    def rows() -> Iterator[str]:
        for line in lines:
            (left, top), (right, bottom) = (
                (pick(x for x, _ in line.polygon), pick(y for _, y in line.polygon))
                for pick in (min, max)
            )
            box = f'HPOS="{left}" VPOS="{top}" WIDTH="{right - left}" HEIGHT="{bottom - top}"'
            yield (
                f'     <TextLine ID="{line.id}" TAGREFS="LT1" {box} '
                f'BASELINE="{points(line.baseline)}">\n'
                f'      <Shape><Polygon POINTS="{points(line.polygon)}"/></Shape>\n'
                f"      <String CONTENT={quoteattr(line.text)} {box}/>\n"
                "     </TextLine>"
            )

    space = f'HPOS="0" VPOS="0" WIDTH="{WIDTH}" HEIGHT="{HEIGHT}"'
    return "\n".join(
        (
            '<?xml version="1.0" encoding="UTF-8"?>',
            '<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#">',
            " <Description><MeasurementUnit>pixel</MeasurementUnit><sourceImageInformation>"
            f"<fileName>{stem}.png</fileName></sourceImageInformation></Description>",
            ' <Tags><OtherTag ID="BT1" LABEL="MainZone"/>'
            '<OtherTag ID="LT1" LABEL="DefaultLine"/></Tags>',
            " <Layout>",
            f'  <Page ID="p0" PHYSICAL_IMG_NR="1" WIDTH="{WIDTH}" HEIGHT="{HEIGHT}">',
            f"   <PrintSpace {space}>",
            f'    <TextBlock ID="r0" TAGREFS="BT1" {space}>',
            *rows(),
            "    </TextBlock>",
            "   </PrintSpace>",
            "  </Page>",
            " </Layout>",
            "</alto>\n",
        )
    )


def main(folder: Path) -> None:
    """Write `base` (30 pages of one face) and `hand` (20 pages of another)."""
    write_pages(folder / "base", font=demo_font("DejaVuSerif"), pages=30, seed=1)
    write_pages(folder / "hand", font=demo_font("STIXGeneralItalic"), pages=20, seed=2, size=30)
    print(f"Wrote {folder / 'base'} and {folder / 'hand'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pages")
