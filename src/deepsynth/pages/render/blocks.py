"""The structure of a document: paragraphs, headings and list items, one per line of text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEADING = re.compile(r"(#{1,6})[ \t]+(\S.*?)[ \t]*#*$")
_LIST_ITEM = re.compile(r"([ \t]*)(?:([-*+])|(\d{1,3}[.)]))[ \t]+(\S.*)$")
_MARKDOWN_STARTS = frozenset("#-*+0123456789")
BULLET = "•"
MAX_DEPTH = 3


@dataclass(frozen=True)
class Block:
    """One line of the source text.

    Attributes:
        text: What is drawn, without its Markdown mark.
        heading: 1 to 3 (deeper ones count as 3), or 0.
        marker: Bullet or number of a list item, or empty.
        depth: Nesting of a list item, 0 to `MAX_DEPTH`.
    """

    text: str
    heading: int = 0
    marker: str = ""
    depth: int = 0


def plain(line: str) -> bool:
    """Whether a line cannot be a heading or a list item; cheap, for the common case."""
    stripped = line.lstrip()
    return not stripped or stripped[0] not in _MARKDOWN_STARTS


def parse_line(line: str) -> Block:
    """The block one line of text makes. A hash without a space after it is not a heading."""
    if match := _HEADING.match(line):
        return Block(match[2], heading=min(len(match[1]), 3))
    if match := _LIST_ITEM.match(line):
        indent = len(match[1].expandtabs(4))
        return Block(match[4], marker=match[3] or BULLET, depth=min(indent // 2, MAX_DEPTH))
    return Block(line)


def blocks(text: str) -> Iterator[Block | None]:
    """The blocks of a text in order; None is a blank line (several in a row count as one)."""
    blank = False
    for line in text.splitlines():
        if not line.strip():
            blank = True
            continue
        if blank:
            yield None
            blank = False
        yield Block(line) if plain(line) else parse_line(line)
