"""Commits: which files go as LFS, and the ndjson commit itself (412 on a stale parent)."""

import base64
import fnmatch
import json
import time
from datetime import UTC, datetime

from starlette.responses import JSONResponse

from .access import ApiError, base, branch_ref, get_repo, resolve_rev, web_prefix
from .cards import check_card
from .history import open_pr
from .state import GITATTRIBUTES, HUB, TYPES, add_commit, git_oid, pointer, put_git, tree_of


def is_lfs(tree_, path, size):
    e = tree_.get(".gitattributes")
    lines = (HUB.config.root / "git" / e["oid"]).read_text() if e else GITATTRIBUTES
    pats = [ln.split()[0] for ln in lines.splitlines() if "filter=lfs" in ln]
    return size >= HUB.config.lfs_threshold or any(
        fnmatch.fnmatch(path.rsplit("/", 1)[-1], p) or fnmatch.fnmatch(path, p) for p in pats
    )


async def preupload(req):
    row, _ = get_repo(req, TYPES[req.path_params["rt"]], req.path_params["name"], write=True)
    t = tree_of(resolve_rev(row, req.path_params["rev"]))
    b = await req.json()
    if len(b["files"]) > 256:
        raise ApiError(413, "too many files")
    ignore = b.get("gitIgnore")
    if ignore is None and ".gitignore" in t:
        ignore = (HUB.config.root / "git" / t[".gitignore"]["oid"]).read_text()
    pats = [
        x.strip().rstrip("/")
        for x in (ignore or "").splitlines()
        if x.strip() and not x.startswith("#")
    ]
    out = []
    for f in b["files"]:
        e = t.get(f["path"])
        out.append(
            {
                "path": f["path"],
                "uploadMode": "lfs" if is_lfs(t, f["path"], f["size"]) else "regular",
                "shouldIgnore": any(
                    fnmatch.fnmatch(f["path"], p)
                    or fnmatch.fnmatch(f["path"].rsplit("/", 1)[-1], p)
                    for p in pats
                ),
                **({"oid": e.get("lfs") or e["oid"]} if e else {}),
            }
        )
    return JSONResponse({"files": out})


async def commit(req):
    rtype = TYPES[req.path_params["rt"]]
    row, u = get_repo(req, rtype, req.path_params["name"], write=True)
    lines = [json.loads(x) for x in (await req.body()).splitlines() if x.strip()]
    head = next((x["value"] for x in lines if x["key"] == "header"), None)
    if head is None or not head.get("summary"):
        raise ApiError(400, "missing commit header or summary")
    with HUB.lock:
        if HUB.config.commits_per_hour:
            hour_ago = datetime.fromtimestamp(time.time() - 3600, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            n = HUB.db.execute(
                "select count(*) c from commits where repo=? and date>?", (row["id"], hour_ago)
            ).fetchone()["c"]
            if n > HUB.config.commits_per_hour:
                raise ApiError(
                    429,
                    "You have exceeded the rate limit for repository commits "
                    f"({HUB.config.commits_per_hour} per hour). You can retry this action in "
                    "60 minutes.",
                )
        pr = None
        if req.query_params.get("create_pr"):
            pr = open_pr(row, head["summary"], u["name"], base(req))
            ref = f"refs/pr/{pr['num']}"
        else:
            ref = branch_ref(row, req.path_params["rev"])
        parent = resolve_rev(row, ref)
        if head.get("parentCommit") and not parent.startswith(head["parentCommit"]) and not pr:
            raise ApiError(412, "A commit has happened since. Please refresh and try again.")
        t = tree_of(parent)
        for x in lines:
            k, v = x["key"], x["value"]
            if k in ("file", "lfsFile"):
                p = v["path"]
                if ".." in p.split("/") or p.startswith(("/", ".git/")):
                    raise ApiError(400, f"Invalid path: {p}")
                if any(q != p and (q.startswith(p + "/") or p.startswith(q + "/")) for q in t):
                    raise ApiError(400, f"path {p} clashes with an existing file or folder")
            if k == "file":
                data = (
                    base64.b64decode(v["content"])
                    if v.get("encoding") == "base64"
                    else v["content"].encode()
                )
                if len(data) > HUB.config.lfs_threshold:
                    raise ApiError(400, f"{p} is larger than 10 MB: it must be sent as LFS")
                if p == "README.md":
                    errs, _ = check_card(data.decode("utf-8", "replace"), rtype)
                    if errs:
                        raise ApiError(
                            400,
                            "Invalid metadata in README.md. "
                            + "; ".join(e["message"] for e in errs),
                        )
                t[p] = {"oid": put_git(data), "size": len(data)}
            elif k == "lfsFile":
                o = HUB.db.execute(
                    "select l.* from lfs l join lfs_repo r on r.sha=l.sha "
                    "where l.sha=? and r.repo=?",
                    (v["oid"], row["id"]),
                ).fetchone()
                if o is None:
                    raise ApiError(
                        400,
                        "Your push was rejected because an LFS pointer pointed to a file that does "
                        f"not exist. Offending file: {p}",
                    )
                if v.get("size") not in (None, o["size"]):
                    raise ApiError(400, f"size of {p} differs from the uploaded object")
                t[p] = {
                    "oid": git_oid("blob", pointer(v["oid"], o["size"])),
                    "size": o["size"],
                    "lfs": v["oid"],
                }
            elif k == "deletedFile":
                if v["path"] not in t:
                    raise ApiError(
                        404, f"A file with this name doesn't exist: {v['path']}", "EntryNotFound"
                    )
                del t[v["path"]]
            elif k == "deletedFolder":
                gone = [p for p in t if p.startswith(v["path"].rstrip("/") + "/")]
                if not gone:
                    raise ApiError(
                        404, f"A folder with this name doesn't exist: {v['path']}", "EntryNotFound"
                    )
                for p in gone:
                    del t[p]
        oid = add_commit(
            row["id"], ref, t, head["summary"], head.get("description") or "", u["name"], parent
        )
    return JSONResponse(
        {
            "success": True,
            "commitOid": oid,
            "hookOutput": "",
            "commitUrl": f"{base(req)}/{web_prefix(rtype)}{row['name']}/commit/{oid}",
            **({"pullRequestUrl": pr["url"]} if pr else {}),
        }
    )
