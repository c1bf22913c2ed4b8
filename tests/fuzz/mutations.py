"""Damage done to data from outside: seeded, so that every case can be had again."""

from __future__ import annotations

import json
import random
from typing import Any

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 1e308, float("inf"), float("nan"), 0.5,
    "", "\x00", "\x1b[2J", "../../etc/passwd", "/etc/passwd", "\udc80", "\u202e", "é" * 300,
    [], {}, [[]], [None], {"": None}, {"what": 1}, [1, "a", {}], "²", "1e999", "[/bad]",
)  # fmt: skip
"""Values put in the place of others in structured data."""

TOKENS = (
    b"\x00", b"\xff\xfe", b"\xc3", b"\r", b"\n", b"\r\n", b"\t", b'"', b"'", b",", b";", b"|",
    b"{", b"}", b"[", b"]", b": ", b"- ", b"*a", b"&a ", b"!!int ", b"!!python/object:os.system ",
    b"!!timestamp ", b"!!binary ", b"!!omap ", b"!!set ", b"!!map ", b"<<: ", b"? ", b"%YAML 1.1\n",
    b"---\n", b"...\n", b'"\\U00110000"', b"9" * 5000, b"0x", b"0o9", b".inf", b".nan", b"1e999",
    b"-1", b"2147483648", b"9223372036854775808", b"NaN", b"null", b"true", b"\\ud83d", b"[" * 600,
    b"<", b"/>", b"&amp;", b"&x;", b"<!DOCTYPE a [<!ENTITY x 'y'>]>", b"<!-- ", b"]]>", b"\xe9",
    b"custom='readingOrder {index:1'", b"points='1,2 3'", b"WIDTH='1e999'", b"\xe2\x80\xae", b"..",
    b"\xb2", b"\xd9\xa3", b"encoding='latin-1'", b"encoding='utf-16'", b"xmlns='x'",
)  # fmt: skip
"""Pieces put into text and bytes."""


def damaged(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """`data` after one to six blows."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        place = chance.randrange(len(data) + 1)
        length = chance.choice((1, 1, 2, 4, 8, 40))
        match chance.randrange(8):
            case 0:
                data = data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :]
            case 1:
                data = data[:place] + data[place + length :]
            case 2 | 3:
                data = data[:place] + chance.choice(TOKENS) + data[place:]
            case 4:
                data = data[:place] + chance.choice(TOKENS) + data[place + length :]
            case 5:
                data = data[:place] if chance.random() < 0.5 else data[place:]
            case 6:
                start = chance.randrange(len(data) + 1)
                data = data[:place] + data[start : start + length * 4] + data[place:]
            case _:
                other = chance.choice(others)
                data = data[:place] + other[chance.randrange(len(other) + 1) :]
    return data[:200_000]


def changed(value: Any, chance: random.Random) -> Any:
    """Plain data in which one value, or one key, is another."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        match chance.randrange(8):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return value | {str(chance.choice(HOSTILE)): chance.choice(HOSTILE)}
            case _:
                return value | {key: changed(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.85:
        place = chance.randrange(len(value))
        if chance.random() < 0.15:
            return value[:place] + value[place + 1 :]
        return [*value[:place], changed(value[place], chance), *value[place + 1 :]]
    return chance.choice(HOSTILE)


def changed_json(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """The bytes of a JSON document, changed in its structure or its bytes."""
    if chance.random() < 0.4:
        return damaged(data, chance, others)
    lines = data.splitlines()
    if len(lines) > 1 and lines[0].startswith(b"{") and lines[0].endswith(b"}"):
        place = chance.randrange(len(lines))
        lines[place] = changed_json(lines[place], chance, others)
        return b"\n".join(lines) + b"\n"
    try:
        value = json.loads(data)
    except ValueError:
        return damaged(data, chance, others)
    for _ in range(chance.choice((1, 1, 2))):
        value = changed(value, chance)
    return json.dumps(value).encode("utf-8", "surrogatepass")
