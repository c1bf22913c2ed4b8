"""Text made fit to draw: what is removed from it, counted by kind."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_KINDS = {
    "control character": re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]+"),
    "lone surrogate": re.compile("[\ud800-\udfff]+"),
    "direction override": re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]+"),
    "invisible character": re.compile("[\u00ad\u200b\u2060-\u2064\ufeff\ufff9-\ufffb]+"),
    "repeated joiner": re.compile("(?<=[\u200c\u200d])[\u200c\u200d]+"),
    "unassigned character": re.compile("[\ufdd0-\ufdef\ufffe\uffff]+"),
}
_MARKS = re.compile("[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]{5,}")
_MARKS_KEPT = 4
_ANY = re.compile("|".join(pattern.pattern for pattern in (*_KINDS.values(), _MARKS)))


def clean(text: str) -> tuple[str, Counter[str]]:
    """Remove what cannot or must not be drawn; returns the text and how much of each kind went.

    Control characters, lone surrogates, direction overrides (they make a page read differently
    from its text), invisible characters, and combining marks beyond four on one letter.
    """
    removed: Counter[str] = Counter()
    if not _ANY.search(text):
        return text, removed
    for kind, pattern in _KINDS.items():
        shorter = pattern.sub("", text)
        if len(shorter) != len(text):
            removed[kind] += len(text) - len(shorter)
            text = shorter
    shorter = _MARKS.sub(lambda marks: marks[0][:_MARKS_KEPT], text)
    if len(shorter) != len(text):
        removed["piled-up mark"] += len(text) - len(shorter)
    return shorter, removed


def is_drawable(character: str) -> bool:
    """Whether a character leaves ink: not a space, control, format or unassigned character."""
    return unicodedata.category(character)[0] not in "ZC"
