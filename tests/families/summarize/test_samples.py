from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepsynth.errors import DataError
from deepsynth.families.summarize.batches import IGNORED, PageCollator
from deepsynth.families.summarize.model import load_processor, page_view
from deepsynth.families.summarize.samples import PageSamples, ShardRows, decode_page, find_shards
from tests.support.pages import SUMMARIES, page, rows


@pytest.fixture(scope="module")
def processor(tiny: Path) -> Any:
    return load_processor(str(tiny))


def write_shards(folder: Path, per_shard: int, shards: int) -> list[dict[str, Any]]:
    """Shards as `deepsynth generate` writes them, two rows to a row group."""
    made: list[dict[str, Any]] = []
    (folder / "data").mkdir(parents=True)
    for number in range(shards):
        start = number * per_shard
        part = [
            {
                "images": [{"bytes": page(f"row {start + row}"), "path": None}],
                "text": f"text {start + row}",
                "summary": f"summary {start + row}",
            }
            for row in range(per_shard)
        ]
        path = folder / "data" / f"train-{start:09d}-{start + per_shard:09d}.parquet"
        pq.write_table(pa.Table.from_pylist(part), path, row_group_size=2)
        made += part
    return made


def test_loss_falls_on_the_summary_and_nothing_else(processor: Any) -> None:
    samples = PageSamples(rows(4), "rows")
    collator = PageCollator(processor, page_view(processor, (192, 192)), "Summarise.")
    batch = collator([samples[i] for i in range(4)])
    tokenizer = processor.tokenizer
    for number in range(4):
        learned = batch["labels"][number][batch["labels"][number] != IGNORED]
        assert tokenizer.decode(learned, skip_special_tokens=True) == SUMMARIES[number]
        assert int(learned[-1]) == tokenizer.eos_token_id
        seen = batch["input_ids"][number][batch["attention_mask"][number] == 1]
        pages = len(samples[number].pages)
        image = tokenizer.convert_tokens_to_ids("<image>")
        assert int((seen == image).sum()) == 145 * pages


def test_a_long_summary_is_cut_and_then_has_no_end(processor: Any) -> None:
    view = page_view(processor, (192, 192))
    collator = PageCollator(processor, view, "Summarise.", max_target_tokens=10)
    ids = collator.target_ids("word " * 20_000)
    assert len(ids) == 10
    assert processor.tokenizer.eos_token_id not in ids
    assert collator.target_ids("")[-1] == processor.tokenizer.eos_token_id


def test_prompts_by_template_are_those_of_the_processor(processor: Any) -> None:
    samples = PageSamples(rows(4), "rows")
    view = page_view(processor, (192, 192))
    ways = [PageCollator(processor, view, "Summarise.", pages=p) for p in ("pixels", "bytes")]
    slow, fast = (way.prompts([samples[i] for i in range(4)]) for way in ways)
    assert slow["input_ids"].tolist() == fast["input_ids"].tolist()
    assert slow["attention_mask"].tolist() == fast["attention_mask"].tolist()


def test_shards_are_read_in_any_order_and_by_chosen_rows(tmp_path: Path) -> None:
    made = write_shards(tmp_path, per_shard=5, shards=3)
    files = find_shards(tmp_path)["train"]
    everything = ShardRows(files)
    assert len(everything) == 15
    for index in (14, 0, 7, 5, 4):
        assert everything[index]["summary"] == made[index]["summary"]
        assert everything[index]["images"][0]["bytes"] == made[index]["images"][0]["bytes"]
    some = ShardRows(files, [13, 2])
    assert some.column("summary") == ["summary 13", "summary 2"]
    assert some[0]["text"] == "text 13"
    assert some.where(0) == "train-000000010-000000015.parquet, row 3"


def test_worker_processes_read_shards_for_themselves(tmp_path: Path, processor: Any) -> None:
    from torch.utils.data import DataLoader

    write_shards(tmp_path, per_shard=4, shards=2)
    samples = PageSamples(ShardRows(find_shards(tmp_path)["train"]), "pages")
    view = page_view(processor, (192, 192))
    collator = PageCollator(processor, view, "Summarise.", pages="bytes")
    before = samples[3].summary
    loader = DataLoader(
        samples,  # type: ignore[arg-type]
        batch_size=2,
        num_workers=2,
        collate_fn=collator,
    )
    seen = [index for batch in loader for index in batch["sample_index"].tolist()]
    assert sorted(seen) == list(range(8))
    assert samples[3].summary == before


def test_a_shard_cut_short_and_a_missing_split_are_named(tmp_path: Path) -> None:
    write_shards(tmp_path, per_shard=4, shards=2)
    second = find_shards(tmp_path)["train"][1]
    second.write_bytes(second.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a whole Parquet file") as caught:
        ShardRows([second])
    assert caught.value.where == str(second)
    with pytest.raises(DataError, match="no training split"):
        find_shards(tmp_path / "nowhere")


def test_a_table_without_pages_lists_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"text": ["a"], "summary": ["b"]}), path)
    with pytest.raises(DataError, match="no column 'images'") as caught:
        ShardRows([path])
    assert "text, summary" in (caught.value.hint or "")


def test_a_broken_page_names_its_row() -> None:
    broken = rows(2)
    broken[1]["images"] = [b"not a picture"]
    samples = PageSamples(broken, "articles")
    assert samples[0].pages
    with pytest.raises(DataError, match="no readable image") as caught:
        samples[1]
    assert caught.value.where == "articles, row 1"
    with pytest.raises(DataError, match="no readable image"):
        decode_page(page("cut")[:-40])


def test_the_name_of_a_special_token_in_a_summary_is_text(processor: Any) -> None:
    tokenizer = processor.tokenizer
    collator = PageCollator(processor, page_view(processor, (192, 192)), "Summarise.")
    summary = f"before <image> and {tokenizer.eos_token} after"
    ids = collator.target_ids(summary)
    assert tokenizer.convert_tokens_to_ids("<image>") not in ids
    assert ids.count(tokenizer.eos_token_id) == 1
    assert tokenizer.decode(ids[:-1]) == summary
