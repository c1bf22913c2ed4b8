"""The card (README.md): its front matter, our section in it, and what must not be in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deepsynth.errors import DataError, JobError
from deepsynth.job.strict_yaml import read_ours

BEGIN, END = "<!-- deepsynth:begin -->", "<!-- deepsynth:end -->"
_FRONT = re.compile(r"\A\s*---\r?\n(.*?)\r?\n---[ \t]*\r?\n?", re.DOTALL)
_OURS = re.compile(re.escape(BEGIN) + r".*?" + re.escape(END), re.DOTALL)
_ABSOLUTE = re.compile(
    r"(?<![\w./:~-])(/(?:home|Users|root|mnt|scratch|data|work|tmp|var|srv|opt|private|gpfs|lustre"
    r"|media|Volumes)/[\w.@/+-]+|[A-Z]:\\[\w.\\ -]+)"
)


def front_matter(text: str) -> dict[str, Any]:
    """The metadata of a card; empty when there is none or it is not a YAML mapping."""
    found = _FRONT.match(text)
    try:
        return read_ours(found[1], "README.md") if found else {}
    except JobError:
        return {}


def body(text: str) -> str:
    """The card without its metadata."""
    return _FRONT.sub("", text, count=1).strip()


def write(data: Mapping[str, Any], text: str) -> str:
    """A card of metadata and body."""
    block = yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{block}---\n\n{text.strip()}\n"


def merge(ours: str, theirs: str | None) -> str:
    """Our card put into the one that is already in the repository.

    Metadata: ours wins, keys only they have stay. Text: ours goes between two invisible marks;
    what people wrote around them stays, and a card without marks is kept below ours.
    """
    section = f"{BEGIN}\n{body(ours)}\n{END}"
    if not theirs or not theirs.strip():
        return write(front_matter(ours), section)
    data = {**front_matter(theirs), **front_matter(ours)}
    rest = body(theirs)
    if _OURS.search(rest):
        return write(data, _OURS.sub(lambda _: section, rest, count=1))
    return write(data, f"{section}\n\n{rest}")


def refuse_local_paths(texts: Mapping[str, str], folder: Path) -> None:
    """Make sure that nothing to be published names a place on this machine.

    Raises:
        DataError: A text does; with the file and the path.
    """
    own = {str(folder.resolve()), str(Path.home()), str(Path.cwd())} - {"/"}
    for name, text in texts.items():
        found = next(
            (place for place in own if re.search(re.escape(place) + r"(?![\w.-])", text)), None
        )
        if found is None and (match := _ABSOLUTE.search(text)):
            found = match[1]
        if found is not None:
            raise DataError(
                f"it names a place on this machine: {found}",
                where=name,
                hint="A card and its companions are read by others: put a Hub name, a URL or a "
                "bare file name there.",
            )


def is_local_path(value: str) -> bool:
    """Whether a string names a place on this machine rather than something on the Hub.

    A lone `/` or `..` among a model's settings is a character, not a place.
    """
    begins = value.startswith(("/", "./", "../", "~/", ".\\")) or re.match(r"[A-Za-z]:[\\/]", value)
    return bool(begins) and bool(re.search(r"\w", value)) and "\n" not in value


def is_hub_name(value: str) -> bool:
    """Whether a string may be the name of a repository: `NAME` or `USER/NAME`."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(value)
    except HFValidationError:
        return False
    return not is_local_path(value)
