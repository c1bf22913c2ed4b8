from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepsynth.checks import Severity
from deepsynth.data.table import Table, concatenate, read_table
from deepsynth.errors import DataError


def table(tmp_path: Path, name: str, content: str | bytes, encoding: str | None = None) -> Table:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path, encoding)


def refused(
    tmp_path: Path, name: str, content: str | bytes, encoding: str | None = None
) -> DataError:
    with pytest.raises(DataError) as caught:
        table(tmp_path, name, content, encoding)
    return caught.value


def test_rows_keep_the_line_they_begin_on(tmp_path: Path) -> None:
    read = table(tmp_path, "a.csv", 'text,label\n"one\ntwo",x\n\n"say ""hi"", you",y\n')
    assert read.columns == {"text": ["one\ntwo", 'say "hi", you'], "label": ["x", "y"]}
    # An empty line belongs to no row.
    assert read.places == ["a.csv:2", "a.csv:5"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,label\na,x\n"),
        ("a.csv", "text;label\na;x\n"),
        ("a.csv", "text|label\na|x"),
        ("a.tsv", "text\tlabel\r\na\tx\r\n"),
        ("a.CSV", b"\xef\xbb\xbftext , label\na,x\n"),
        ("a.csv", "text,label\ra,x\r"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n\n'),
        ("a.ndjson", '{"text": "a", "label": "x"}'),
    ],
)
def test_delimiters_and_line_ends_are_found(tmp_path: Path, name: str, content: Any) -> None:
    assert table(tmp_path, name, content).columns == {"text": ["a"], "label": ["x"]}


def test_unreadable_rows_are_findings_with_their_line(tmp_path: Path) -> None:
    read = table(tmp_path, "a.csv", 'text,label\na,x\nb,c,y\nd\n"e\nf",z\n')
    assert read.places == ["a.csv:2", "a.csv:5"]
    found = [(f.severity, f.code, f.where, f.what) for f in read.problems]
    assert found == [
        (Severity.ERROR, "row-unreadable", "a.csv:3", "3 fields where the header has 2."),
        (Severity.ERROR, "row-unreadable", "a.csv:4", "1 fields where the header has 2."),
    ]


def test_a_quote_that_is_never_closed_is_told_not_swallowed(tmp_path: Path) -> None:
    read = table(tmp_path, "a.csv", 'text,label\na,x\nb,"y\nc,z\nd,z\n')
    assert read.columns["text"] == ["a"]
    (problem,) = read.problems
    assert problem.where == "a.csv:3"
    assert "never closed" in problem.what


def test_unreadable_json_lines_are_findings_with_their_line(tmp_path: Path) -> None:
    lines = ['{"text": "a"}', "{'text': 'b'}", "[1]", r'{"text": "\ud83d cut"}', '{"label": "x"}']
    read = table(tmp_path, "a.jsonl", "\n".join(lines))
    assert read.columns == {"text": ["a", None], "label": [None, "x"]}
    assert read.places == ["a.jsonl:1", "a.jsonl:5"]
    assert [f.where for f in read.problems] == ["a.jsonl:2", "a.jsonl:3", "a.jsonl:4"]
    assert "at column 2" in read.problems[0].what
    assert "not a JSON object" in read.problems[1].what
    assert "cut in half" in read.problems[2].what
    whole = table(tmp_path, "b.jsonl", r'{"text": "\ud83d\ude00"}')
    assert whole.columns == {"text": ["😀"]}


def test_trouble_with_letters_is_a_warning(tmp_path: Path) -> None:
    read = table(tmp_path, "a.csv", "text\nfine: Ãtre à l’Âge\nFÃ©e\nlost �\nsmart â€™ quote\n")
    found = {f.code: (f.severity, f.examples) for f in read.problems}
    assert found == {
        "encoding-mojibake": (Severity.WARNING, ("a.csv:3", "a.csv:5")),
        "encoding-replaced": (Severity.WARNING, ("a.csv:4",)),
    }


def test_another_encoding_is_read_when_named(tmp_path: Path) -> None:
    for encoding in ("cp1252", "utf-16"):
        read = table(tmp_path, "a.csv", "text\nété\n".encode(encoding), encoding)
        assert read.columns == {"text": ["été"]}


@pytest.mark.parametrize(
    ("name", "content", "encoding", "what", "where"),
    [
        ("a.csv", b"", None, "the file is empty", ""),
        ("a.csv", "text,label\n", None, "there are no rows", ""),
        ("a.csv", "\n\n", None, "the first line must name the columns", ":1"),
        ("a.csv", "text,text\na,b\n", None, "the column 'text' is there twice", ":1"),
        ("a.csv", "text,label\na\nb\n", None, "not one row can be read; the first: 1 fields", ":2"),
        ("a.csv", b"PK\x03\x04\0\0", None, "binary file", ""),
        ("a.csv", "text\né\n".encode("utf-16"), None, "in UTF-16", ""),
        ("a.csv", b"text\nok\n\xe9t\xe9\n", None, "byte 0xe9 is not UTF-8", ":3"),
        ("a.csv", b"text\na\n", "utf-9", "encoding 'utf-9' is not known", None),
        ("a.jsonl", '[{"text": "a"}]', None, "one JSON list", ""),
        ("a.jsonl", "{\n", None, "not one row can be read", ":1"),
        ("a.parquet", b"PAR1 but not really", None, "not a whole Parquet file", ""),
        ("a.xlsx", b"PK", None, "format .xlsx is not known", ""),
        ("a", b"x", None, "format without a suffix is not known", ""),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(
    tmp_path: Path, name: str, content: Any, encoding: str | None, what: str, where: str | None
) -> None:
    error = refused(tmp_path, name, content, encoding)
    assert what in error.what
    assert error.where == ("data.encoding" if where is None else f"{tmp_path / name}{where}")


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").touch()
    with pytest.raises(DataError, match="no such file") as caught:
        read_table(tmp_path / "ticket.csv")
    assert caught.value.hint == "Data files there: tickets.csv."
    with pytest.raises(DataError, match="no such file"):
        read_table(tmp_path / "tickets.csv" / "below.csv")


@pytest.mark.parametrize("locked", ["a.csv", "."])
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, locked: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\na\n")
    (tmp_path / locked).chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(DataError, match="cannot be read: Permission denied"):
            read_table(path)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        (tmp_path / locked).chmod(0o755)


def test_parquet_brings_its_label_names(tmp_path: Path) -> None:
    features = {
        "label": {"names": ["no", "yes"], "_type": "ClassLabel"},
        "text": {"_type": "Value"},
    }
    data = pa.table({"text": ["a", "b"], "label": [0, 1]}).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    pq.write_table(data, tmp_path / "a.parquet")
    read = read_table(tmp_path / "a.parquet")
    assert read.label_names == {"label": ["no", "yes"]}
    assert read.places == ["a.parquet:row 1", "a.parquet:row 2"]
    pq.write_table(data.slice(0, 0), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="no rows"):
        read_table(tmp_path / "b.parquet")


def test_tables_with_other_columns_are_put_together(tmp_path: Path) -> None:
    first = table(tmp_path, "a.csv", "text,label\na,x\n")
    second = table(tmp_path, "b.csv", "text,more\nb,1\nbad\n")
    merged = concatenate([first, second], "both")
    assert merged.columns == {"text": ["a", "b"], "label": ["x", None], "more": [None, "1"]}
    assert merged.places == ["a.csv:2", "b.csv:2"]
    assert [f.where for f in merged.problems] == ["b.csv:3"]
