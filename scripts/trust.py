"""Write docs/reference/trust.md: what crosses a border, what is checked there, and the test of it.

python scripts/trust.py
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.borders import PAGE, page

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
