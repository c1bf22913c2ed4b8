"""The characters of a ground truth: frequencies, normal forms, and what a base model lacks."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Literal, cast

from deepsynth.checks import Finding, Severity

NormalForm = Literal["NFC", "NFD", "NFKC", "NFKD"]
_A_ROW = 16


def describe(character: str) -> str:
    """A character as people can tell it apart: itself, its code point and its Unicode name."""
    shown = f"◌{character}" if unicodedata.combining(character) else character
    name = unicodedata.name(character, "no name")
    return f"{shown} U+{ord(character):04X} {name}"


def normalize(text: str, form: str | None, *, collapse_spaces: bool = True) -> str:
    """Text as the network sees it: normal form, every white space a space, none at the ends.

    Args:
        text: The transcription.
        form: NFC, NFD, NFKC or NFKD, or None to keep the text's own form.
        collapse_spaces: Replace white space characters by spaces and strip the ends, which is
            what Kraken does by default.
    """
    if form:
        text = unicodedata.normalize(cast(NormalForm, form), text)
    if collapse_spaces:
        text = "".join(" " if c.isspace() else c for c in text).strip()
    return text


def normal_form_finding(where: str, texts: Iterable[tuple[str, str]]) -> Finding | None:
    """A finding when the same letter is written in composed and in decomposed form.

    Args:
        where: The folder, for the finding.
        texts: Pairs of a place (file and line id) and its text.
    """
    composed = decomposed = 0
    examples: list[str] = []
    for place, text in texts:
        is_composed = unicodedata.is_normalized("NFC", text)
        if not is_composed:
            decomposed += 1
            examples.append(place)
        elif not unicodedata.is_normalized("NFD", text):
            composed += 1
    if not decomposed:
        return None
    mixed = f", {composed} are composed: the model would learn two spellings of one letter"
    return Finding(
        Severity.WARNING,
        "text-normal-form",
        where,
        f"{decomposed} lines are not in Unicode normal form NFC{mixed if composed else ''}",
        "Training and scores use one form (`data.normalization`); `deepsynth repair` writes it.",
        tuple(examples[:5]),
    )


def alphabet_finding(where: str, alphabet: Counter[str]) -> Finding | None:
    """The alphabet with the frequency of each character, the most frequent first."""
    if not alphabet:
        return None
    ordered = sorted(alphabet.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{visible(character)} {count}" for character, count in ordered]
    rows = ("   ".join(shown[i : i + _A_ROW]) for i in range(0, len(shown), _A_ROW))
    return Finding(
        Severity.INFO, "alphabet", where, f"{len(alphabet)} different characters", "", tuple(rows)
    )


def visible(character: str) -> str:
    """A character that can be seen in a list: marks on a circle, the rest by their numbers."""
    if character == " ":
        return "␣"
    category = unicodedata.category(character)
    if category.startswith("M"):
        return f"◌{character}"
    return f"U+{ord(character):04X}" if category[0] in "CZ" else character


def rare_finding(where: str, alphabet: Counter[str], minimum: int) -> Finding | None:
    """A finding when characters occur fewer than `minimum` times: too few to be learned."""
    rare = [(c, n) for c, n in sorted(alphabet.items()) if n < minimum and not c.isspace()]
    if not rare:
        return None
    shown = tuple(f"{describe(c)} ({n})" for c, n in sorted(rare, key=lambda item: item[1])[:12])
    return Finding(
        Severity.WARNING,
        "text-rare-characters",
        where,
        f"{len(rare)} of {len(alphabet)} characters occur fewer than {minimum} times",
        "Look for typing mistakes among them; those that are right need more examples.",
        shown,
    )


def lacking_finding(
    where: str, alphabet: Counter[str], codec: Iterable[str], form: str | None
) -> Finding | None:
    """A finding when a base model cannot write some characters of the ground truth."""
    known = set("".join(codec))
    used = Counter[str]()
    for character, count in alphabet.items():
        for c in normalize(character, form, collapse_spaces=False):
            used[" " if c.isspace() else c] += count
    lacking = sorted((c for c in used if c not in known), key=lambda c: -used[c])
    if not lacking:
        return None
    return Finding(
        Severity.WARNING,
        "model-lacks-characters",
        where,
        f"the base model cannot write {len(lacking)} of the {len(used)} characters used",
        "`train.resize: union` adds them to the model (the default); they need examples to learn.",
        tuple(f"{describe(c)} ({used[c]})" for c in lacking[:12]),
    )
