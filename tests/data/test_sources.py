import csv
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepsynth.data.corpus import Corpus
from deepsynth.data.opening import open_corpus, short_name, source_names
from deepsynth.data.registry import known_sources
from deepsynth.errors import DataError, DeepSynthError, RequestError

NASTY = ['a "quoted" word', "two\nlines", "comma, semicolon; tab\t", "é€😀", "x" * 5000, " spaces "]


def rows(count):
    generator = random.Random(1)
    return [(f"{i} {generator.choice(NASTY)}", f"summary {i}") for i in range(count)]


def write(path, data):
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8-sig") as stream:
            csv.writer(stream, delimiter=";").writerows([("id", "text", "summary")])
            csv.writer(stream, delimiter=";").writerows((i, *row) for i, row in enumerate(data))
    elif path.suffix == ".jsonl":
        lines = (json.dumps({"text": t, "summary": s, "n": 1}) + "\n" for t, s in data)
        path.write_text("".join(lines), encoding="utf-8")
    else:
        table = pa.table({"text": [t for t, _ in data], "summary": [s for _, s in data]})
        pq.write_table(table, path, row_group_size=700)
    return path


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_any_range_of_rows_is_read_from_any_format(tmp_path, ending):
    data = rows(2500)
    corpus = open_corpus(str(write(tmp_path / f"texts.{ending}", data)))
    assert corpus.splits == {"train": 2500}
    assert (corpus.text, corpus.summary) == ("text", "summary")
    assert Corpus.from_dict(json.loads(json.dumps(corpus.as_dict()))) == corpus
    for start, stop in [(0, 2500), (0, 1), (999, 1001), (1000, 2000), (2499, 2500), (650, 1450)]:
        read = list(corpus.read("train", start, stop))
        assert [row.index for row in read] == list(range(start, stop))
        assert [(row.text, row.summary) for row in read] == data[start:stop]
        assert not any(row.problem for row in read)


def test_splits_come_from_file_or_folder_names(tmp_path):
    write(tmp_path / "train-00000-of-00002.parquet", rows(5))
    write(tmp_path / "train-00001-of-00002.parquet", rows(7))
    write(tmp_path / "dev.jsonl", rows(3))
    (tmp_path / "test").mkdir()
    write(tmp_path / "test" / "0000.parquet", rows(2))
    write(tmp_path / "notes.csv", rows(2))
    corpus = open_corpus(str(tmp_path))
    assert corpus.splits == {"train": 12, "validation": 3, "test": 2}
    across = [row.text for row in corpus.read("train", 3, 8)]
    assert across == [text for text, _ in rows(5)[3:] + rows(7)[:3]]


def test_a_source_without_validation_has_none(tmp_path):
    write(tmp_path / "train.csv", rows(5))
    write(tmp_path / "test.csv", rows(5))
    assert list(open_corpus(str(tmp_path)).splits) == ["train", "test"]


def test_bad_rows_say_what_is_wrong_and_do_not_move_the_others(tmp_path):
    path = tmp_path / "texts.jsonl"
    good = json.dumps({"text": "t", "summary": "s"}).encode()
    bad = [
        (b"{", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"text": "t"}', "no summary"),
        (b'{"summary": "s"}', "no text"),
        (b'{"text": "  ", "summary": "s"}', "empty text"),
        (b'{"text": 12, "summary": "s"}', "text is a int, not text"),
        (b'{"text": "\xff", "summary": "s"}', "not UTF-8"),
        (b"[" * 100_000, "not JSON"),
    ]
    path.write_bytes(b"\n".join([good, b"", *(line for line, _ in bad), good]) + b"\n")
    read = list(open_corpus(str(path)).read("train", 0, 10))
    assert [row.problem for row in read] == ["", *(why for _, why in bad), ""]
    assert [row.index for row in read] == list(range(10))


def test_a_csv_row_of_another_width_is_counted(tmp_path):
    path = tmp_path / "texts.csv"
    path.write_text("text,summary\na,b\nonly\nc,d,e\nf,g\n")
    problems = [row.problem for row in open_corpus(str(path)).read("train", 0, 4)]
    assert problems == ["", "1 fields instead of 2", "3 fields instead of 2", ""]


def test_nulls_in_parquet_are_counted(tmp_path):
    path = tmp_path / "texts.parquet"
    pq.write_table(pa.table({"article": ["a", None], "highlights": ["s", "s"]}), path)
    corpus = open_corpus(str(path))
    assert (corpus.text, corpus.summary) == ("article", "highlights")
    assert [row.problem for row in corpus.read("train", 0, 2)] == ["", "no article"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"title,body2\nx,y\n", r"Columns: title, body2"),
        ("a.csv", b"", "has no rows"),
        ("a.csv", b"text,summary\n", "has no rows"),
        ("a.csv", b"text,text\na,b\n", "names a column twice"),
        ("a.csv", b"text,summary\ncaf\xe9,b\n", r"a\.csv:2: is not UTF-8.*\n.*iconv"),
        ("a.jsonl", b"1\n2\n", "no line is a JSON object"),
        ("a.parquet", b"PAR1 cut", "not a whole Parquet file"),
        ("a.xlsx", b"x", "not a format that is read"),
    ],
)
def test_files_that_cannot_be_used_are_refused(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"(?s){message}"):
        open_corpus(str(path))


def test_a_quote_never_closed_does_not_swallow_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("deepsynth.data.formats._LINES_IN_A_RECORD", 100)
    path = tmp_path / "a.csv"
    path.write_text('text,summary\na,b\n"open,b\n' + "c,d\n" * 500)
    with pytest.raises(DataError, match=r"a\.csv:3: a quotation mark opens here"):
        open_corpus(str(path))


def test_a_named_column_that_is_not_there_lists_those_that_are(tmp_path):
    path = write(tmp_path / "a.csv", rows(2))
    with pytest.raises(DataError, match=r"no column 'artikel'\n.*id, text, summary"):
        open_corpus(str(path), text="artikel")


def test_a_document_of_100_megabytes_is_a_row_like_another(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "x" * 100_000_000, "summary": "s"}) + "\n")
    (row,) = open_corpus(str(path)).read("train", 0, 1)
    assert len(row.text) == 100_000_000


def test_the_known_sources_are_those_of_the_guide():
    assert list(known_sources()) == [
        "mlsum_fr",
        "mlsum_es",
        "mlsum_de",
        "cnn_dailymail",
        "xsum",
        "billsum",
    ]
    assert source_names("all") == list(known_sources())
    assert source_names(["xsum", "all"])[0] == "xsum"
    assert len(source_names(["xsum", "all"])) == 6
    assert [s.private_only for s in known_sources().values()] == [True] * 3 + [False, True, False]
    assert short_name("some/folder/my texts.csv") == "my-texts"


def test_unknown_sources_get_a_suggestion():
    with pytest.raises(RequestError, match="Did you mean mlsum_fr"):
        open_corpus("mlsum-fr")
    with pytest.raises(RequestError, match="Known: mlsum_fr"):
        open_corpus("absent.csv")


def test_a_hub_that_cannot_be_reached_is_said_so(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "")
    with pytest.raises(DeepSynthError, match=r"(?s)FiscalNote/billsum.*connection.*network"):
        open_corpus("billsum")
