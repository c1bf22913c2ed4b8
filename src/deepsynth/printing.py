"""The one way to a terminal: what would command it is shown instead.

Labels, names of files, titles and logs come from anywhere. An escape sequence in one of them could
rewrite what stands on the screen, set its title or type for the user; a bidirectional override
could show a command in another order than it has.
"""

from __future__ import annotations

import re
import sys
from typing import IO

_COMMANDS = [
    *(code for code in range(0x20) if chr(code) not in "\t\n"),
    *range(0x7F, 0xA0),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
    0x200E,
    0x200F,
    0x061C,
    0x2028,
    0x2029,
    *range(0xD800, 0xE000),
]
"""C0 and C1 controls, marks and overrides of direction, separators, halves of characters."""
_SHOWN = {code: f"\\x{code:02x}" if code < 0x20 else f"\\u{code:04x}" for code in _COMMANDS}


_TOKEN = re.compile(r"\bhf_\w{4,}")


def masked(text: str) -> str:
    """`text` without the tokens that may stand in it."""
    return _TOKEN.sub("hf_***", text)


def visible(text: str) -> str:
    """`text` in which control characters are written out, tabulator and line feed left alone."""
    return text if text.isascii() and text.isprintable() else text.translate(_SHOWN)


def say(*values: object, file: IO[str] | None = None, end: str = "\n", flush: bool = False) -> None:
    """Like `print`, for text that may come from anywhere; what the stream lacks is written out."""
    stream = sys.stdout if file is None else file
    text = visible(" ".join(map(str, values)).replace("\r\n", "\n"))
    encoding: str = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + end)
    if flush:
        stream.flush()
