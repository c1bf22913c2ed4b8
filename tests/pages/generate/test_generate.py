import json
import shutil

import pytest

from deepsynth.errors import DataError, RequestError
from deepsynth.pages.generate import generate
from deepsynth.pages.listing import list_datasets
from deepsynth.pages.preview import preview
from deepsynth.pages.render.settings import PageSettings
from tests.pages.generate.conftest import ARTICLES, digests

TINY = PageSettings(mode="tiny")


def test_articles_become_a_dataset_that_datasets_reads(tmp_path):
    from datasets import load_dataset

    seen = []
    (result,) = generate(
        str(ARTICLES),
        output_dir=tmp_path,
        workers=1,
        licence="apache-2.0",
        revision_date="2026-01-31",
        progress=seen.append,
    )
    count = len(ARTICLES.read_text(encoding="utf-8").splitlines())
    assert (result.splits["train"].processed, result.splits["train"].errors) == (count, 0)
    assert [seen[0].done, seen[-1].done, seen[-1].total] == [0, count, count]
    loaded = load_dataset(str(tmp_path / "articles"), cache_dir=str(tmp_path / "cache"))
    row = loaded["train"][count - 1]
    given = json.loads(ARTICLES.read_text(encoding="utf-8").splitlines()[-1])
    assert row["text"] == given["text"]
    assert row["summary"] == given["summary"]
    assert row["images"][0].size == (1024, 1024)
    assert row["images"][0].mode == "L"
    assert (row["source_dataset"], row["original_split"]) == ("articles", "train")
    assert (row["original_index"], row["n_pages"]) == (count - 1, len(row["images"]))
    assert str(loaded["train"].features["images"]).startswith("List(Image(")
    manifest = json.loads((tmp_path / "articles" / "manifest.json").read_text())
    assert manifest["splits"] == {"train": count}
    assert manifest["counts"]["vision_tokens"] == 257 * result.pages
    assert manifest["revision_date"] == "2026-01-31"
    assert str(tmp_path) not in json.dumps(manifest)
    card = (tmp_path / "articles" / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert (tmp_path / "articles" / "example.png").read_bytes().startswith(b"\x89PNG")


def test_one_worker_and_two_give_the_same_bytes_and_bad_rows_are_counted(source, tmp_path):
    results = [
        generate(str(source), output_dir=tmp_path / str(n), workers=n, pages=TINY)[0]
        for n in (1, 2)
    ]
    assert digests(tmp_path / "1") == digests(tmp_path / "2")
    for result in results:
        assert (result.splits["train"].processed, result.splits["train"].errors) == (2298, 2)
        assert result.reasons == {"empty text": 1, "nothing to draw": 1}
    lines = (tmp_path / "1" / "short" / "errors.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines] == [7, 1500]


def test_a_second_call_finds_all_done_and_repairs_what_is_damaged(source, tmp_path):
    options = {"output_dir": tmp_path / "out", "workers": 1, "pages": TINY}
    generate(str(source), **options)
    before = digests(tmp_path / "out")
    assert generate(str(source), **options)[0].resumed == 2300
    shard = tmp_path / "out" / "short" / "data" / "train-000001000-000002000.parquet"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.write_bytes(content)
    assert generate(str(source), **options)[0].resumed == 1300
    assert digests(tmp_path / "out") == before


def test_chunks_assemble_into_the_very_dataset_of_one_machine(source, tmp_path):
    options = {"pages": TINY, "workers": 1}
    generate(str(source), output_dir=tmp_path / "whole", **options)
    machines = [(0, 1000, "a"), (1000, 2300, "b")]
    for start, end, name in machines:
        (chunk,) = generate(
            str(source),
            output_dir=tmp_path / name,
            start_index=start,
            end_index=end,
            chunk_id=name,
            **options,
        )
        assert chunk.chunk == name
        shutil.copytree(chunk.folder, tmp_path / "all" / "short-chunks" / name)
    (result,) = generate("short", output_dir=tmp_path / "all", assemble=True)
    assert result.splits["train"].processed == 2298
    assert digests(tmp_path / "all" / "short") == digests(tmp_path / "whole" / "short")
    assert generate("short", output_dir=tmp_path / "all", assemble=True)[0].pages == result.pages


def chunk(source, home, start, end, name=None, **options):
    settings = {"pages": TINY, "workers": 1, **options}
    generate(
        str(source), output_dir=home, start_index=start, end_index=end, chunk_id=name, **settings
    )


def test_assembling_refuses_gaps_overlaps_and_other_settings(source, tmp_path):
    with pytest.raises(RequestError, match="no chunks to assemble"):
        generate("short", output_dir=tmp_path, assemble=True)
    chunk(source, tmp_path, 0, 40)
    chunk(source, tmp_path, 2250, 2300)
    with pytest.raises(DataError, match=r"rows 40 to 2250 .*\n.*--start-index 40 --end-index 2250"):
        generate("short", output_dir=tmp_path, assemble=True)
    chunk(source, tmp_path, 30, 60, "again")
    with pytest.raises(DataError, match="rows 30 to 40 of train are in chunk 0-40 and again"):
        generate("short", output_dir=tmp_path, assemble=True)
    shutil.rmtree(tmp_path / "short-chunks" / "again")
    chunk(source, tmp_path, 40, 60, "other", pages=PageSettings(mode="tiny", size_px=14))
    with pytest.raises(RequestError, match=r"different settings: pages\.size_px 16 -> 14"):
        generate("short", output_dir=tmp_path, assemble=True)
    assert not (tmp_path / "short").exists()


def test_a_damaged_chunk_is_not_assembled(source, tmp_path):
    chunk(source, tmp_path, 0, 30, "a", max_samples=30)
    (shard,) = (tmp_path / "short-chunks" / "a" / "data").glob("*.parquet")
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DataError, match="not the one its receipt describes"):
        generate("short", output_dir=tmp_path, assemble=True)


def test_max_samples_bounds_every_split(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for split in ("train", "test"):
        lines = [json.dumps({"text": f"{split} {i}", "summary": "s"}) for i in range(9)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    (result,) = generate(str(folder), output_dir=tmp_path / "out", max_samples=4, workers=1)
    assert {k: v.processed for k, v in result.splits.items()} == {"train": 4, "test": 4}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sources": "mlsum_fx"}, "Did you mean mlsum_fr"),
        ({"sources": []}, "no source was named"),
        ({"sources": "xsum", "private": False}, r"(?s)may not be made public.*licence"),
        ({"sources": "all", "private": False}, "mlsum_fr: may not be made public"),
        ({"private": False}, "say it with --licence"),
        ({"max_samples": 0}, "--max-samples: 0 rows"),
        ({"start_index": -1}, "before the first row"),
        ({"start_index": 5, "end_index": 5}, "rows 5 to 5 are none"),
        ({"end_index": 2301}, r"it has 2,300 rows \(train 2,300\)"),
        ({"start_index": 2300}, "--start-index"),
        ({"chunk_id": "../../etc"}, "cannot be the name of a chunk"),
        ({"workers": 0}, "0 workers"),
        ({"text": "artikel"}, "Columns: text, summary"),
        ({"revision_date": "31.1.2026"}, "is not a date"),
    ],
)
def test_wrong_requests_are_refused_before_anything_is_written(source, tmp_path, options, message):
    home = tmp_path / "out"
    with pytest.raises(RequestError, match=message):
        generate(**{"sources": str(source), "output_dir": home, **options})
    assert not home.exists()


def test_a_folder_of_other_settings_or_another_writer_is_refused(source, tmp_path):
    import fcntl

    options = {"output_dir": tmp_path / "out", "workers": 1, "max_samples": 5}
    generate(str(source), **options)
    with pytest.raises(RequestError, match=r"other settings: pages\.mode base -> small"):
        generate(str(source), **(options | {"pages": PageSettings(mode="small")}))
    with pytest.raises(RequestError, match=r"rows\.train 5 -> 6"):
        generate(str(source), **{**options, "max_samples": 6})
    with (tmp_path / "out" / "short" / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RequestError, match="another generate is at work"):
            generate(str(source), **options)


def test_a_source_with_no_usable_row_says_why(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "", "summary": "s"}\n' * 3)
    with pytest.raises(DataError, match=r"(?s)not one row could become pages.*empty text"):
        generate(str(path), output_dir=tmp_path / "out", workers=1)


def test_a_dry_run_estimates_and_writes_nothing(source, tmp_path):
    (result,) = generate(str(source), output_dir=tmp_path / "out", dry_run=True, workers=2)
    assert not (tmp_path / "out").exists()
    estimate = result.estimate
    assert estimate.documents == 2300
    assert abs(estimate.pages - 2300) <= 30
    assert 2_000_000 < estimate.bytes < 20_000_000
    assert 0 < estimate.minutes < 5
    assert estimate.usd > 0


def test_the_list_tells_complete_begun_and_missing(source, tmp_path):
    chunk(source, tmp_path, 0, 10, "a")
    generate(str(ARTICLES), output_dir=tmp_path, workers=1, max_samples=3)
    generate(str(source), output_dir=tmp_path, workers=1, max_samples=3, pages=TINY)
    listed = {
        item.name: item
        for item in list_datasets(
            output_dir=tmp_path, published=lambda: ["me/deepsynth-mlsum-fr-images"]
        )
    }
    assert (listed["articles"].local, listed["articles"].documents) == ("complete", 3)
    assert listed["mlsum_fr"].local == ""
    assert listed["mlsum_fr"].published == "me/deepsynth-mlsum-fr-images"
    assert listed["xsum"].published == ""
    assert list_datasets(output_dir=tmp_path)[0].published is None


def test_previews_show_pages_tokens_and_text(tmp_path):
    generate(str(ARTICLES), output_dir=tmp_path / "out", workers=1, max_samples=9)
    for given in (tmp_path / "out" / "articles", ARTICLES):
        result = preview(str(given), output_dir=tmp_path / given.stem / "preview", count=3)
        html = result.gallery.read_text(encoding="utf-8")
        assert (result.documents, html.count("<article>")) == (3, 3)
        assert html.count("data:image/png;base64,") == result.pages
        assert "257 vision tokens" in html
        assert result.contact_sheet.read_bytes().startswith(b"\x89PNG")
    evil = tmp_path / "evil.jsonl"
    evil.write_text(json.dumps({"text": "<script>alert(1)</script>", "summary": "</p><b>"}))
    html = preview(str(evil), output_dir=tmp_path).gallery.read_text()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    with pytest.raises(RequestError, match="is not a known source"):
        preview(str(tmp_path / "absent"))
