"""One document to its pages: which path it takes, what was refused, what was counted."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from deepsynth.pages.render.clean import clean, is_drawable
from deepsynth.pages.render.degrade import Degrader
from deepsynth.pages.render.fonts import coverage, find_fonts, install_hint
from deepsynth.pages.render.settings import PageSettings
from deepsynth.pages.render.shaped import CannotBeSet, ShapedTypesetter
from deepsynth.pages.render.typeset import Typesetter
from deepsynth.pages.render.words import NeedsShaping


class BadDocument(ValueError):
    """A document that cannot become pages; the message is the reason counted for it."""


@dataclass(frozen=True)
class Document:
    """A document as pages.

    Attributes:
        text: The text as drawn: the given one without what cannot be drawn.
        pages: PNG files (JPEG when degraded), each exactly the square of the mode.
        shaped: Whether Pango set it.
        cut: Whether pages beyond the limit were left out.
        removed: Characters left out, by kind.
        missing: Characters no font covers; they are drawn as boxes.
    """

    text: str
    pages: list[bytes]
    shaped: bool = False
    cut: bool = False
    removed: Counter[str] = field(default_factory=Counter[str])
    missing: Counter[str] = field(default_factory=Counter[str])


class Renderer:
    """Draws documents under one set of settings. Make one per process and keep it."""

    def __init__(self, settings: PageSettings) -> None:
        self.settings = settings
        self._fonts = find_fonts(settings.font_file)
        self._fast = Typesetter(settings, self._fonts)
        self._shaped: ShapedTypesetter | None = None
        self._covered: frozenset[int] = frozenset()
        self._degrader = (
            Degrader(settings.defects, settings.seed, settings.page_px)
            if settings.defects
            else None
        )

    def render(self, text: str, name: str = "") -> Document:
        """The pages of one document.

        Args:
            text: Plain text or Markdown; headings and lists are drawn as such.
            name: Identifies the document to the degradation.

        Raises:
            BadDocument: Nothing to draw, far too long, or too much that no font covers.
        """
        if len(text) > self.settings.max_characters:
            raise BadDocument(f"longer than {self.settings.max_characters:,} characters")
        try:
            pages, cut = self._fast.pages(text)
            document = Document(text, pages, cut=cut)
        except NeedsShaping:
            document = self._render_shaped(text)
        if not document.pages:
            raise BadDocument("nothing to draw")
        if self._degrader:
            document.pages[:] = self._degrader.degrade(document.pages, name)
        return document

    def _render_shaped(self, text: str) -> Document:
        text, removed = clean(text)
        if removed:
            # What was in the way may have been the characters just removed.
            with suppress(NeedsShaping):
                pages, cut = self._fast.pages(text)
                return Document(text, pages, cut=cut, removed=removed)
        if self._shaped is None:
            self._shaped = ShapedTypesetter(self.settings, self._fonts)
            self._covered = coverage(self._fonts)
        missing: Counter[str] = Counter()
        if not self._covered.issuperset(map(ord, set(text))):
            drawable = {c: n for c, n in Counter(text).items() if is_drawable(c)}
            missing.update({c: n for c, n in drawable.items() if ord(c) not in self._covered})
            share = missing.total() / max(1, sum(drawable.values()))
            if share > self.settings.max_missing:
                raise BadDocument(
                    f"no font covers {share:.0%} of its characters. {install_hint(missing)}"
                )
        try:
            pages, cut = self._shaped.pages(text)
        except CannotBeSet as error:
            raise BadDocument(f"Pango cannot set it: {error}") from error
        return Document(text, pages, shaped=True, cut=cut, removed=removed, missing=missing)
