"""What the stand-in keeps: configuration, one SQLite file, and the bytes of every object.

One process serves one hub, so the state is one module-level object, `HUB`.
"""

import hashlib
import json
import re
import sqlite3
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TYPES = {"models": "model", "datasets": "dataset", "spaces": "space"}
LFS_EXTENSIONS = re.findall(
    r"\S+",
    """
    7z arrow bin bz2 ckpt ftz gz h5 joblib lz4 mlmodel model msgpack npy npz onnx ot parquet pb
    pickle pkl pt pth rar safetensors tar tflite tgz wasm xz zip zst wav mp3 flac ogg jpg jpeg png
    webp mp4 webm
    """,
)
GITATTRIBUTES = "".join(f"*.{e} filter=lfs diff=lfs merge=lfs -text\n" for e in LFS_EXTENSIONS)
DEFAULT_USERS = (
    ("hf_alice_write", "alice", "write", {"acme": "admin"}),
    ("hf_alice_read", "alice", "read", {}),
    ("hf_bob_write", "bob", "write", {"acme": "read"}),
)
SCHEMA = """
create table if not exists users(token text primary key, name text, role text, orgs text);
create table if not exists repos(id integer primary key, type text, name text, private int,
    gated int default 0, created text, unique(type,name));
create table if not exists refs(repo int, ref text, oid text, primary key(repo,ref));
create table if not exists commits(oid text primary key, repo int, parent text, title text,
    body text, author text, date text, tree text, seq integer);
create table if not exists lfs(sha text primary key, size int, xet text);
create table if not exists lfs_repo(sha text, repo int, primary key(sha,repo));
create table if not exists xetfile(hash text primary key, sha text, size int, terms text);
create table if not exists multipart(id text primary key, sha text, size int);
create table if not exists prs(repo int, num int, title text, primary key(repo,num));
"""


@dataclass
class Config:
    """How this hub behaves; every field can be changed while it runs (`/_standin/config`)."""

    root: Path = Path("hubroot")
    port: int = 8765
    page_size: int = 1000
    lfs_threshold: int = 10 * 2**20
    multipart_over: int = 64 * 2**20
    part_size: int = 16 * 2**20
    xet: bool = True
    sign_ttl: int = 3600
    commits_per_hour: int = 0


@dataclass
class Hub:
    """Everything one running stand-in knows."""

    config: Config = field(default_factory=Config)
    faults: list[dict[str, Any]] = field(default_factory=list)
    cleared: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    secret: str = field(default_factory=lambda: uuid.uuid4().hex)
    db: sqlite3.Connection = field(init=False)

    def open(self) -> None:
        """Create or reopen the store under `config.root`."""
        for name in ("lfs", "git", "xorb", "tmp"):
            (self.config.root / name).mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(
            self.config.root / "hub.sqlite", check_same_thread=False, isolation_level=None
        )
        self.db.row_factory = sqlite3.Row
        self.db.executescript(SCHEMA)
        if not self.row("select 1 from users"):
            for token, name, role, orgs in DEFAULT_USERS:
                self.db.execute(
                    "insert into users values(?,?,?,?)", (token, name, role, json.dumps(orgs))
                )

    def row(self, query: str, *values: Any) -> Any:
        """The first row of a query, or None."""
        return self.db.execute(query, values).fetchone()


HUB = Hub()


def git_oid(kind: str, data: bytes) -> str:
    """The git object id of `data`."""
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data).hexdigest()


def pointer(sha: str, size: int) -> bytes:
    """The text git stores in place of an LFS object."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {size}\n".encode()


def now() -> str:
    """The time as the Hub writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def put_git(data: bytes) -> str:
    """Store a small file; its git object id."""
    oid = git_oid("blob", data)
    path = HUB.config.root / "git" / oid
    if not path.exists():
        temporary = HUB.config.root / "tmp" / uuid.uuid4().hex
        temporary.write_bytes(data)
        temporary.rename(path)
    return oid


def tree_of(oid: str) -> dict[str, dict[str, Any]]:
    """path -> {oid, size, lfs?} of a commit."""
    return json.loads(HUB.row("select tree from commits where oid=?", oid)["tree"])


def folder_oid(tree: dict[str, dict[str, Any]], prefix: str) -> str:
    """An id of a folder's content."""
    body = "".join(f"{p}:{e['oid']}\n" for p, e in sorted(tree.items()) if p.startswith(prefix))
    return git_oid("tree", body.encode())


def add_commit(repo_id, ref, tree, title, body, author, parent) -> str:
    """Record a commit and move `ref` to it; the commit id."""
    seq = (HUB.row("select max(seq) m from commits where repo=?", repo_id)["m"] or 0) + 1
    meta = (
        f"{folder_oid(tree, '')}\n{parent}\n{author}\n{now()}\n{repo_id}.{seq}\n{title}\n{body}\n"
        f"{uuid.uuid4()}"
    )
    oid = git_oid("commit", meta.encode())
    HUB.db.execute(
        "insert into commits values(?,?,?,?,?,?,?,?,?)",
        (oid, repo_id, parent, title, body, author, now(), json.dumps(tree), seq),
    )
    HUB.db.execute("insert or replace into refs values(?,?,?)", (repo_id, ref, oid))
    return oid


def xet_hash(sha: str) -> str | None:
    """The Xet hash of an LFS object, when Xet is on and it came that way."""
    row = HUB.row("select xet from lfs where sha=?", sha) if HUB.config.xet else None
    return row["xet"] if row else None
