"""A stand-in for the Hugging Face Hub: it speaks the Hub's wire protocol to the real client.

Supported: tokens and roles, private repositories, create/delete/move/settings, preupload, git-LFS
(basic and multipart, sha256 verified), Xet (token, xorbs, shards, reconstructions; sha256 of the
rebuilt file verified), ndjson commits with history and parentCommit (412), branches, tags, squash,
refs, a paged tree, paths-info, resolve (HEAD, GET, Range, ETag, X-Repo-Commit, X-Linked-*,
X-Xet-*), signed URLs on another origin, card validation, commits-per-hour limits.
Test controls live under `/_standin/`. Nothing here contacts any network.

Known differences from the real Hub:

- 401 for hidden repositories carries `X-Error-Code: RepoNotFound`, because over http:// the
  client's own URL test (https only) would not recognise the case.
- Small files are answered 200 directly; the Hub answers 307 to a resolve cache.
- Commit ids are the sha1 of our own record, not of a git object; there is no git clone.
- Xet: v1 endpoints only and no global deduplication.
- Card validation checks a handful of rules: licence list, ISO language, base_model id, array
  fields, configs.
- No dataset viewer, no parquet conversion bot, no search ranking.
"""

from .running import StandIn

__all__ = ["StandIn"]
