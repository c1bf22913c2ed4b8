"""The borders that are attacked: sound input, how it is damaged, and who reads it."""

from __future__ import annotations

import io
import json
import random
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deepsynth.data import formats, table
from deepsynth.families import family_of, load_job
from deepsynth.families.htr.ground_truth.pages import read_page
from deepsynth.families.htr.kraken.model_file import read_model
from deepsynth.families.summarize.samples import PageSamples, ShardRows
from deepsynth.hub import cards
from deepsynth.hub.account import Account
from deepsynth.hub.configurations import files_by_split
from deepsynth.hub.remote import RemoteFile, RemoteState
from deepsynth.hub.selection import select
from deepsynth.job.strict_yaml import read_ours, read_scalar, read_yaml
from deepsynth.run.run import Run
from deepsynth.run.status import run_state
from deepsynth.run.step import Plan
from deepsynth.runners.flyte.settings import load_settings
from deepsynth.runners.slurm.journey import read_record
from deepsynth.runners.slurm.site import load_site
from deepsynth.runners.slurm.states import read_sections
from deepsynth.storage import publishing
from tests.fuzz.mutations import changed_json, damaged
from tests.support.pages import page
from tests.support.toy import make_run, shell

Reader = Callable[[bytes, Path], object]
Mutation = Callable[[bytes, random.Random, list[bytes]], bytes]


@dataclass(frozen=True)
class Target:
    """A border: what is sound there, who reads it, and how it is damaged."""

    name: str
    seeds: list[bytes]
    read: Reader
    mutate: Mutation = damaged


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _file(name: str, read: Callable[[Path], object]) -> Reader:
    def reader(data: bytes, folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        read(path)

    return reader


def _yaml(data: bytes, _folder: Path) -> None:
    for read in (lambda t: read_yaml(t, "x"), read_scalar, lambda t: read_ours(t, "x")):
        _ours_or_nothing(read, _text(data))


def _ours_or_nothing(read: Callable[[str], object], text: str) -> None:
    from deepsynth.errors import DeepSynthError

    try:
        read(text)
    except DeepSynthError:
        return


JOB = b"""family: classify
data: {path: tickets.csv, text: text, label: "label"}
model: scratch:tiny
train:
  epochs: 2
  learning_rate: 5e-5
  mixed_precision: no
check: {learn: false}
"""
JOBS = [
    JOB,
    b"family: summarize\ndata: {path: a.jsonl}\nmodel: scratch:tiny\npages: {mode: tiny}\n",
    b"family: htr\ntask: recognition\ndata: {ground_truth: pages}\nmodel: m.mlmodel\n",
]
SITES = b"""hpc:
  host: cluster
  partition: gpu
  time: 8:00:00
  workspace: /scratch/me
  environments:
    this: {setup: [module load python]}
"""
FLYTE = b"store: s3://bucket/name\nsteps:\n  train: {gpu: 'L4:1'}\n"
CSV = b'text,label\n"a, ""b""",x\nsecond text,y\n\xc3\xa9t\xc3\xa9,x\n'
LINES = b'{"text": "a", "label": "x"}\n{"text": "b", "label": 1}\n'
PAGE = """<?xml version="1.0" encoding="UTF-8"?>
<PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15">
<Page imageFilename="a.png" imageWidth="100" imageHeight="200">
<TextRegion id="r" custom="structure {type:heading;}"><Coords points="0,0 90,0 90,90 0,90"/>
<TextLine id="l" custom="readingOrder {index:0;}"><Coords points="1,1 80,1 80,20 1,20"/>
<Baseline points="1,15 80,15"/><TextEquiv index="0" conf="0.5"><Unicode>été &amp; x</Unicode>
</TextEquiv></TextLine></TextRegion></Page></PcGts>""".encode()
ALTO = """<?xml version="1.0" encoding="UTF-8"?>
<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#"><Description>
<MeasurementUnit>pixel</MeasurementUnit><sourceImageInformation><fileName>a.png</fileName>
</sourceImageInformation></Description><Tags><OtherTag ID="T1" LABEL="MainZone"/></Tags>
<Layout><Page WIDTH="100" HEIGHT="200" ID="p"><PrintSpace><TextBlock ID="b" TAGREFS="T1"
HPOS="0" VPOS="0" WIDTH="9" HEIGHT="9"><TextLine ID="l" BASELINE="1 15 80 15" HPOS="1" VPOS="1"
WIDTH="8" HEIGHT="8"><Shape><Polygon POINTS="1 1 80 1 80 20"/></Shape>
<String CONTENT="été" HPOS="1" VPOS="1" WIDTH="3" HEIGHT="3"/><SP/><String CONTENT="x"/>
</TextLine></TextBlock></PrintSpace></Page></Layout></alto>""".encode()


def _safetensors() -> bytes:
    meta = {"m": {"_tasks": ["recognition"], "vgsl": "[1,48,0,1 Cr3,3,8]", "codec": {"é": [1]}}}
    header = {
        "__metadata__": {"kraken_meta": json.dumps(meta)},
        "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    }
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + bytes(4)


def _coreml() -> bytes:
    def field(number: int, content: bytes) -> bytes:
        return _varint(number << 3 | 2) + _varint(len(content)) + content

    meta = json.dumps({"accuracy": [[1, 0.5]], "model_type": "recognition"})
    values = {"kraken_meta": meta, "vgsl": "[1,48,0,1 Cr3,3,8]", "codec": json.dumps({"a": [1]})}
    pairs = (field(1, k.encode()) + field(2, v.encode()) for k, v in values.items())
    user = b"".join(field(100, pair) for pair in pairs)
    return _varint(1 << 3) + _varint(4) + field(2, field(100, user))


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _parquet(**columns: Any) -> bytes:
    stream = io.BytesIO()
    told = json.dumps({"info": {"features": {"label": {"_type": "ClassLabel", "names": ["x"]}}}})
    made = pa.table(columns).replace_schema_metadata({"huggingface": told})
    pq.write_table(made, stream)
    return stream.getvalue()


def _read_parquet(path: Path) -> None:
    table.read_table(path)
    index = formats.index_file(path)
    list(formats.read_rows(index, (index.columns[0], index.columns[-1]), 0, 5))


def _read_shard(path: Path) -> None:
    samples = PageSamples(ShardRows([path]), "shard")
    for number in range(min(2, len(samples))):
        samples.read(number)


def _read_rows(path: Path) -> None:
    table.read_table(path)
    index = formats.index_file(path)
    list(formats.read_rows(index, (index.columns[0], index.columns[-1]), 0, 5))


def _run_seeds() -> list[bytes]:
    """Files of a run, each preceded by its name."""
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        run = make_run(Path(place) / "run", shell("first", "true", outputs=["data"]))
        run.event("step_started", step="first", index=0)
        run.progress("first", 1, 2, "rows")
        run.metric("first", 1, {"loss": 0.5})
        run.event("step_failed", step="first", index=0, error={"what": "x", "hint": None})
        (run.path / "metrics.json").write_text('{"f1": 0.5, "more": {"a": 1}}')
        (run.path / "run.lock").write_text('{"pid": 4000000, "host": "x"}')
        (run.path / "elsewhere.json").write_text('{"first": "running"}')
        entry = {"bytes": 1, "sha256": "0" * 64}
        receipt = {
            "step": "first", "key": "k", "deepsynth": "0", "started": 1.0, "seconds": 2.0,
            "outputs": {"data": {"a": entry}}, "of": {"argv": ["x"], "settings": {}},
        }  # fmt: skip
        (run.path / "steps" / "first").mkdir()
        (run.path / "steps" / "first" / "receipt.json").write_text(json.dumps(receipt))
        record = {
            "site_name": "hpc", "site": {"host": "c", "workspace": "/s"}, "run_id": "run-1",
            "folder": "/s/runs/run-1",
        }  # fmt: skip
        (run.path / "slurm.json").write_text(json.dumps(record))
        return [
            f"{path.relative_to(run.path)}\n".encode() + path.read_bytes()
            for path in sorted(run.path.rglob("*"))
            if path.is_file()
        ]


def _read_run(data: bytes, folder: Path) -> None:
    name, _, content = data.partition(b"\n")
    run = folder / "runs" / "run"
    if not run.exists():
        for seed in RUN:
            own, _, sound = seed.partition(b"\n")
            path = run / own.decode()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(sound)
    path = run / name.decode()
    kept = path.read_bytes()
    path.write_bytes(content)
    opened = Run.open(run)
    try:
        for look in (
            run_state,
            lambda r: (r.settings, r.family, r.owner(), r.metrics(), r.final_metrics()),
            lambda r: r.runners(),
            family_of,
            lambda r: _why(r),
            read_record,
        ):
            _ours_or_nothing(lambda _, look=look: look(Run(opened.path)), "")
    finally:
        path.write_bytes(kept)


def _why(run: Run) -> object:
    from deepsynth.run.receipts import is_done, key_of, why_redone

    return [
        (is_done(run, step, "k"), why_redone(run, step, key_of(step, {}, {})))
        for step in run.plan.steps[:1]
    ]


def _changed_run(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    name, line, content = data.partition(b"\n")
    contents = [other.partition(b"\n")[2] for other in others]
    return name + line + changed_json(content, chance, contents)


PLAN = Plan(steps=[shell("train", "true", array=3), shell("test", "true")])
ANSWER = json.dumps(
    {
        "jobs": "train\t7\t0-2\t1\ntest\t8\t\t1\n",
        "accounting": "7_0|FAILED|1|n\nJobId=9 ArrayJobId=7 ArrayTaskId=1 JobState=RUNNING\n",
        "queue": "7_1|RUNNING|None|1|x\n8|PENDING|Resources|1|x\n",
        "marks": "slurm/train-0.end 130 USR1 no 7 1\n",
        "receipts": "steps/train/receipt-00002.json\n",
        "clock": "1700000000",
        "events": '{"time": 1, "kind": "note", "text": "x"}\n',
    }
).encode()


def _answer(data: bytes, _folder: Path) -> None:
    try:
        told = json.loads(data)
    except ValueError:
        told = {"queue": _text(data), "jobs": _text(data), "marks": _text(data)}
    sections = told if isinstance(told, dict) else {}
    read_sections(PLAN, {name: str(text) for name, text in sections.items()}, "hpc")


MANIFEST = json.dumps(
    {
        "files": [
            {"path": "data/train-0.parquet", "rows": 3, "bytes": 5, "sha256": "0" * 64,
             "split": "train"},
            {"path": "data/test-0.parquet", "rows": 1, "bytes": 5, "sha256": "1" * 64},
        ],
        "splits": {"train": 3}, "settings": {"pages": {"mode": "tiny"}},
    }
).encode()  # fmt: skip
PATHS = ["data/train-0.parquet", "data/test-0.parquet", "README.md"]
STATE = RemoteState("a/b", True, True, "c", {p: RemoteFile(p, 5, "0" * 64, "b") for p in PATHS})
CARD = b"""---
license: cc0-1.0
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
- config_name: other
  default: true
  data_files: "**/test-*"
---
# Card
"""


def _manifest(data: bytes, _folder: Path) -> None:
    try:
        manifest = json.loads(data)
    except ValueError:
        return
    if isinstance(manifest, dict):
        select(STATE, manifest, None, 2, lambda _file: 1, "x")


def _card(data: bytes, _folder: Path) -> None:
    text = _text(data)
    metadata = cards.front_matter(text)
    cards.merge(CARD.decode(), text)
    for config in (None, "default"):
        _ours_or_nothing(lambda _, c=config: files_by_split(PATHS, metadata, c, "x"), "")


def _pointer(data: bytes, folder: Path) -> None:
    place = folder / "store"
    place.mkdir(exist_ok=True)
    (place / publishing.POINTER).write_bytes(data)
    publishing.read_publication(place.as_uri())


def _job(data: bytes, folder: Path) -> None:
    (folder / "tickets.csv").write_bytes(CSV)
    (folder / "pages").mkdir(exist_ok=True)
    (folder / "job.yaml").write_bytes(data)
    load_job(folder / "job.yaml")


def _dotenv(data: bytes, folder: Path) -> None:
    (folder / ".env").write_bytes(data)
    Account.from_environment({}, folder=folder)
    shutil.rmtree(folder / ".env", ignore_errors=True)


RUN = _run_seeds()
SHARD = {"images": [[{"bytes": page("a"), "path": None}]], "summary": ["s"], "text": ["t"]}
POINTER = json.dumps(
    {"generation": "0" * 16, "files": {"a/b.txt": {"bytes": 3, "sha256": "0" * 64}}}
).encode()

TARGETS = [
    Target("yaml", [JOB, SITES, FLYTE, *JOBS, b"a: [1, 2, {b: c}]\n"], _yaml),
    Target("job", JOBS, _job),
    Target("sites", [SITES], _file("config/deepsynth/sites.yaml", lambda _: load_site("hpc"))),
    Target("flyte", [FLYTE], _file("config/deepsynth/flyte.yaml", lambda _: load_settings())),
    Target("dotenv", [b"HF_TOKEN=hf_x\nHF_ENDPOINT='https://h.example'\n"], _dotenv),
    Target("csv", [CSV, CSV.replace(b",", b";")], _file("a.csv", _read_rows)),
    Target("tsv", [CSV.replace(b",", b"\t")], _file("a.tsv", _read_rows)),
    Target("jsonl", [LINES], _file("a.jsonl", _read_rows), changed_json),
    Target("parquet", [_parquet(text=["a", "b"], label=[0, 0])], _file("a.parquet", _read_parquet)),
    Target("pages", [_parquet(**SHARD)], _file("train.parquet", _read_shard)),
    Target("page", [PAGE], _file("a.xml", read_page)),
    Target("alto", [ALTO], _file("a.xml", read_page)),
    Target("safetensors", [_safetensors()], _file("m.safetensors", read_model)),
    Target("coreml", [_coreml()], _file("m.mlmodel", read_model)),
    Target("run", RUN, _read_run, _changed_run),
    Target("site-answer", [ANSWER], _answer, changed_json),
    Target("manifest", [MANIFEST], _manifest, changed_json),
    Target("card", [CARD], _card),
    Target("published", [POINTER], _pointer, changed_json),
]
