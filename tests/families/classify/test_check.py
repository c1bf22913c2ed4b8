from __future__ import annotations

from deepsynth.checks import Finding, Severity
from deepsynth.families.classify.check import check_classes, check_duplicates, check_tokens
from deepsynth.families.classify.models import train_tokenizer
from deepsynth.families.classify.prepared import Split

LABELS = ["a", "b", "c"]


def split(
    labels: list[int], texts: list[str] | None = None, name: str = "t", **more: list[int]
) -> Split:
    texts = texts or [f"{name} text {n}" for n in range(len(labels))]
    places = [f"{name}.csv:{n + 2}" for n in range(len(labels))]
    return Split(texts, labels, places, more.get("groups", list(range(len(labels)))))


def found(findings: list[Finding]) -> dict[tuple[str, str], Severity]:
    return {(finding.code, finding.where): finding.severity for finding in findings}


def test_classes_that_are_few_absent_or_unequal() -> None:
    splits = {"train": split([0] * 200 + [1] * 9), "test": split([0] * 5)}
    told = found(check_classes(splits, LABELS))
    assert told == {
        ("class-few", "train"): Severity.WARNING,
        ("class-absent", "train"): Severity.ERROR,
        ("class-absent", "test"): Severity.WARNING,
        ("class-counts", "train"): Severity.INFO,
        ("class-imbalance", "train"): Severity.WARNING,
    }
    even = {"train": split([0, 1, 2] * 10), "test": split([0, 1, 2])}
    assert found(check_classes(even, LABELS)) == {("class-counts", "train"): Severity.INFO}


def test_repeated_texts_and_texts_with_two_labels() -> None:
    texts = ["Same!", "same", "nearly the same as this", "nearly the same as thus", "x", "y"]
    train = split([0, 1, 0, 0, 1, 1], texts, groups=[0, 0, 2, 2, 4, 5])
    findings = check_duplicates({"train": train, "test": split([0], name="u", groups=[9])}, LABELS)
    told = found(findings)
    assert ("duplicate-exact", "data") in told
    assert ("duplicate-near", "data") in told
    assert ("split-leak", "data") not in told
    (conflict,) = [f for f in findings if f.code == "label-conflict"]
    assert conflict.examples == ("t.csv:2 / t.csv:3: a or b",)


def test_a_group_in_two_splits_is_an_error() -> None:
    splits = {"train": split([0], groups=[7]), "test": split([0], name="u", groups=[7])}
    assert found(check_duplicates(splits, LABELS))[("split-leak", "data")] is Severity.ERROR


def test_tokens_that_are_cut_or_unknown() -> None:
    texts = ["short one"] * 8 + ["a very long text that goes on and on and never comes to its end"]
    tokenizer = train_tokenizer(texts, 200)
    told = found(check_tokens(split([0] * 9, texts), tokenizer, 8))
    assert told == {
        ("tokens", "train"): Severity.INFO,
        ("tokens-truncated", "tokens.max_length"): Severity.WARNING,
    }
    other = check_tokens(split([0] * 2, ["日本 語 の", "これ は"]), tokenizer, 99)
    assert ("tokens-unknown", "model") in found(other)
