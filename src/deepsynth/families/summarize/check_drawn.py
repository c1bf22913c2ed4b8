"""Whether the pages of a document show its text: texts are drawn again, and the pages compared.

Rows whose pages were shuffled train to a perfect score, and the model is worth nothing: every
summary is learned for the page of another document. Drawing is exact, so the bytes tell.
"""

from __future__ import annotations

import hashlib

from deepsynth.checks import Finding, Severity
from deepsynth.families.summarize.samples import PageSamples, evenly
from deepsynth.pages.render.settings import PageSettings

_LOOKED_AT = 8


def check_drawn(samples: PageSamples, split: str, settings: PageSettings) -> list[Finding]:
    """Draw some texts again, and look for the pages.

    Says nothing of pages that cannot be drawn again alike: degraded ones, or those of another
    version or with other fonts.

    Args:
        samples: Of a split.
        split: Its name.
        settings: As its pages were drawn.
    """
    from deepsynth.pages.render.renderer import BadDocument, Renderer

    texts = samples.texts()
    if texts is None or settings.degrade:
        return []
    pages = samples.pages()
    owner = {one[0].key: index for index, one in enumerate(pages) if one}
    renderer = Renderer(settings)
    foreign: list[str] = []
    own = 0
    for index in evenly(_LOOKED_AT, len(samples)):
        try:
            first = next(iter(renderer.render(texts[index]).pages))
        except (BadDocument, StopIteration):
            continue
        key = hashlib.sha256(first).hexdigest()
        if pages[index] and key == pages[index][0].key:
            own += 1
        elif key in owner:
            foreign.append(f"{samples.where(index)}: its page is at {samples.where(owner[key])}")
    if foreign:
        what = f"{len(foreign)} of {len(foreign) + own} documents looked at have the pages of "
        what += "another one: what is learned would be wrong, with a perfect score."
        fix = "Generate the dataset again, and do not reorder its columns one by one."
        return [Finding(Severity.ERROR, "pages-foreign", split, what, fix, tuple(foreign[:5]))]
    if not own:
        return []
    what = f"{own} texts drawn again gave the very pages of their documents."
    return [Finding(Severity.INFO, "pages-own", split, what)]
