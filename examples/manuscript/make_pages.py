"""Write the ground truth of this example: pages set in two faces, stand-ins for two hands.

    python examples/manuscript/make_pages.py FOLDER

The fonts (DejaVu Serif and STIX General Italic) come with matplotlib, under their own free
licences; the pages are made anew each time and the same every time.
"""

from __future__ import annotations

import sys
from pathlib import Path

from deepsynth.families.htr.synthetic import demo_font, write_pages


def main(folder: Path) -> None:
    """Write `base` (30 pages of one face) and `hand` (20 pages of another)."""
    write_pages(folder / "base", font=demo_font("DejaVuSerif"), pages=30, seed=1)
    write_pages(folder / "hand", font=demo_font("STIXGeneralItalic"), pages=20, seed=2, size=30)
    print(f"Wrote {folder / 'base'} and {folder / 'hand'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pages")
