"""Parts of parquet shards: counting, cutting, and reading a shard's first rows over the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth import parquet
from deepsynth.hub.failure import Corrupt, classify
from deepsynth.hub.remote import Remote, RemoteFile, RemoteState

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from deepsynth.hub.selection import Wanted

BLOCK_BYTES = 1 << 20


def open_remote(remote: Remote, state: RemoteState, path: str, block_size: int) -> Any:
    """A published file, read in pieces; only the ranges asked for cross the network."""
    from huggingface_hub import HfFileSystem

    files = HfFileSystem(
        endpoint=remote.account.endpoint,
        token=remote.account.token or False,
        skip_instance_cache=True,
        use_listings_cache=False,
    )
    return files.open(
        f"{remote.repo_type}s/{remote.repo}@{state.head}/{path}", block_size=block_size
    )


def read_remote_schema(remote: Remote, state: RemoteState, path: str) -> pa.Schema:
    """The columns of a published shard, from its footer alone."""
    import pyarrow.parquet as pq

    def read() -> pa.Schema:
        with open_remote(remote, state, path, 1 << 16) as stream:
            return pq.read_schema(stream)

    return remote.call("reading the published columns", read)


def count_rows(remote: Remote, state: RemoteState, file: RemoteFile) -> int | None:
    """Rows of a published parquet file, from its footer; None for other formats."""
    import pyarrow.parquet as pq

    if not file.path.endswith(".parquet"):
        return None

    def read() -> int:
        with open_remote(remote, state, file.path, 1 << 16) as stream:
            return int(pq.read_metadata(stream).num_rows)

    return remote.call(f"counting the rows of {file.path}", read)


def stream(remote: Remote, state: RemoteState, wanted: Wanted, target: Path) -> None:
    """Write the first `wanted.take` rows of a published shard to `target`.

    Only the row groups needed are read. A whole-file checksum cannot cover them; the page
    checksums inside the file do, where it was written with them.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def read() -> None:
        try:
            with open_remote(remote, state, wanted.file.path, BLOCK_BYTES) as source:
                shard = pq.ParquetFile(source, page_checksum_verification=True)
                _copy(shard, wanted.file.path, wanted.take or 0, target)
        except (pa.ArrowException, OSError) as error:
            # Arrow says what it cannot read with an OSError of no number; the network never does
            if classify(error).kind == "unknown" or isinstance(error, pa.ArrowException):
                raise Corrupt(f"{wanted.file.path}: {error}") from error
            raise

    doing = f"reading {wanted.file.path}"
    try:
        remote.call(doing, lambda: _again_if_damaged(read))
    except Exception:
        target.unlink(missing_ok=True)
        raise


def _again_if_damaged(read: Callable[[], None]) -> None:
    try:
        read()
    except Corrupt:
        read()


def cut(source: Path, rows: int, target: Path) -> None:
    """Write the first `rows` rows of a local shard to `target`."""
    shard = parquet.open_parquet(source)
    with parquet.explained(source):
        _copy(shard, source, rows, target)


def _copy(shard: pq.ParquetFile, source: Path | str, rows: int, target: Path) -> None:
    import pyarrow.parquet as pq

    groups, covered = 0, 0
    while covered < rows and groups < shard.num_row_groups:
        covered += shard.metadata.row_group(groups).num_rows
        groups += 1
    with pq.ParquetWriter(target, shard.schema_arrow, write_page_checksum=True) as writer:
        left = rows
        for number in range(groups):
            pieces = parquet.pieces(shard, source, number)
            group = parquet.together(pieces, source, shard.schema_arrow)
            writer.write_table(group.slice(0, min(left, group.num_rows)))
            left -= group.num_rows
