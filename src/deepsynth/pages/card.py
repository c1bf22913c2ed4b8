"""The card (README.md) of a dataset of pages."""

from __future__ import annotations

from typing import Any

import yaml

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def _size_category(documents: int) -> str:
    return next((name for limit, name in _SIZES if documents < limit), "1M<n<10M")


def write_card(manifest: dict[str, Any]) -> str:
    """The card of a dataset, from its manifest alone."""
    source, counts = manifest["settings"]["source"], manifest["counts"]
    pages = manifest["settings"]["pages"]
    title = f"{source['name']} as pages"
    metadata: dict[str, Any] = {
        "pretty_name": title,
        "license": source["licence"],
        "task_categories": ["summarization", "image-to-text"],
        "size_categories": [_size_category(counts["documents"])],
        "tags": ["deepsynth", "page-images", "deepseek-ocr"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": split, "path": f"data/{split}-*.parquet"}
                    for split in manifest["splits"]
                ],
            }
        ],
    }
    if source["language"]:
        metadata["language"] = [source["language"]]
    if "/" in source["origin"]:
        metadata["source_datasets"] = [source["origin"]]
    if manifest["revision_date"]:
        metadata["revision_date"] = manifest["revision_date"]
    rows = "\n".join(
        f"| {split} | {documents:,} | {manifest['errors'][split]:,} |"
        for split, documents in manifest["splits"].items()
    )
    degraded = f", degraded by {', '.join(pages['degrade'])}" if pages["degrade"] else ""
    note = f" ({source['licence_note']})" if source["licence_note"] else ""
    vision = ", ".join(f"{n} for {m}" for m, n in counts["vision_tokens_per_page"].items())
    fonts = ", ".join(list(pages["fonts"])[:2])
    text = f"""# {title}

Documents of `{source["origin"]}` drawn as page images, each with its text and summary, to train a
vision-language model to summarise what it reads.

![A page as the model gets it](example.png)

| split | documents | left out |
|---|---|---|
{rows}

- Pages: {counts["pages"]:,} of {pages["page_px"]} x {pages["page_px"]} pixels (mode \
`{pages["mode"]}`), type of {pages["size_px"]} px, profile `{pages["profile"]}`{degraded}.
- Tokens of a page: {vision}; {counts["characters_per_vision_token"]} characters per vision token.
- Fonts: {fonts}; every version and font is pinned in `manifest.json`.
- Source: `{source["origin"]}` at `{source["revision"]}`.
- Licence: {source["licence"]}{note}.
- Rows left out, with the reason, are in `errors.jsonl`.

Columns: `images` (the pages in order), `text`, `summary`, `source_dataset`, `original_split`,
`original_index` (row in the source), `n_pages`.
"""
    front = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{front}---\n\n{text}"
