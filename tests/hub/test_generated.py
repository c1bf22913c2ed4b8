"""From texts to pages to the Hub and back: what `generate` makes is what `publish` takes."""

import json

import pyarrow.parquet as pq
import pytest

from deepsynth.errors import RequestError
from deepsynth.hub.load import load
from deepsynth.hub.publish import publish
from tests.hub.conftest import QUICK


@pytest.mark.slow
def test_a_generated_dataset_is_published_and_comes_back(alice, repo, tmp_path):
    from deepsynth.pages.generate import generate

    texts = tmp_path / "articles.jsonl"
    row = {"text": "Le conseil a voté le budget. " * 20, "summary": "Le budget est voté."}
    texts.write_text("".join(json.dumps(row | {"n": n}) + "\n" for n in range(8)))
    made = generate(
        str(texts), text="text", summary="summary", output_dir=tmp_path / "out", workers=1,
        licence="cc-by-nc-4.0",
    )[0]  # fmt: skip
    with pytest.raises(RequestError, match="may not be public"):
        publish(made.folder, repo=repo, account=alice, retry=QUICK, private=False)
    done = publish(made.folder, repo=repo, account=alice, retry=QUICK)
    loaded = load(done.repo, account=alice, retry=QUICK)
    assert loaded.sha == done.sha
    files = sorted((made.folder / "data").iterdir())
    for file in files:
        assert (loaded.folder / "data" / file.name).read_bytes() == file.read_bytes()
    few = load(done.repo, max_samples=2, account=alice, retry=QUICK)
    table = pq.read_table(few.folder / "data" / files[0].name)
    assert table.equals(pq.read_table(files[0]).slice(0, 2))
