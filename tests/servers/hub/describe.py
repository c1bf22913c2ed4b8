"""What a repository holds at a revision: info, tree (paged), paths-info."""

import base64
import json
from urllib.parse import parse_qsl, quote, unquote

from starlette.responses import JSONResponse

from .access import ApiError, base, get_repo, resolve_rev
from .cards import card_data
from .state import HUB, TYPES, folder_oid, pointer, tree_of, xet_hash


def entry_json(path, e):
    d = {"type": "file", "oid": e["oid"], "size": e["size"], "path": path}
    if e.get("lfs"):
        d["lfs"] = {
            "oid": e["lfs"],
            "size": e["size"],
            "pointerSize": len(pointer(e["lfs"], e["size"])),
        }
        x = xet_hash(e["lfs"])
        if x:
            d["xetHash"] = x
    return d


def last_touch(repo, oid, path):
    """the last commit which changed this path (walks the first-parent history)"""
    cur = HUB.db.execute("select * from commits where oid=?", (oid,)).fetchone()
    while cur["parent"]:
        par = HUB.db.execute("select * from commits where oid=?", (cur["parent"],)).fetchone()
        if json.loads(par["tree"]).get(path) != json.loads(cur["tree"]).get(path):
            break
        cur = par
    return {"id": cur["oid"], "title": cur["title"], "date": cur["date"]}


async def repo_info(req):
    rtype = TYPES[req.path_params["rt"]]
    row, _ = get_repo(req, rtype, req.path_params["name"])
    oid = resolve_rev(row, req.path_params.get("rev"))
    tree = tree_of(oid)
    blobs = req.query_params.get("blobs") in ("true", "True", "1")
    sib = [
        {
            "rfilename": p,
            **(
                {
                    "size": e["size"],
                    "blobId": e["oid"],
                    **(
                        {"lfs": {"sha256": e["lfs"], "size": e["size"], "pointerSize": 130}}
                        if e.get("lfs")
                        else {}
                    ),
                }
                if blobs
                else {}
            ),
        }
        for p, e in sorted(tree.items())
    ]
    card = card_data(tree)
    date = HUB.db.execute("select date from commits where oid=?", (oid,)).fetchone()["date"]
    tags = [
        f"{k}:{v}"
        for k in ("license", "language", "task_categories", "size_categories")
        for v in ([card[k]] if isinstance(card.get(k), str) else card.get(k) or [])
    ]
    full = {
        "_id": f"{row['id']:024x}",
        "id": row["name"],
        "author": row["name"].split("/")[0],
        "sha": oid,
        "lastModified": date,
        "private": bool(row["private"]),
        "gated": False,
        "disabled": False,
        "tags": tags,
        "downloads": 0,
        "likes": 0,
        "cardData": card,
        "siblings": sib,
        "createdAt": row["created"],
        "usedStorage": sum(e["size"] for e in tree.values()),
        "xetEnabled": bool(HUB.config.xet),
    }
    if rtype == "model":
        full.update(
            modelId=row["name"],
            config={},
            pipeline_tag=card.get("pipeline_tag"),
            library_name=card.get("library_name"),
        )
    exp = req.query_params.getlist("expand") + req.query_params.getlist("expand[]")
    if exp:
        full = {k: v for k, v in full.items() if k in exp or k in ("_id", "id")}
    return JSONResponse(full, headers={"X-Repo-Commit": oid})


async def tree(req):
    row, _ = get_repo(req, TYPES[req.path_params["rt"]], req.path_params["name"])
    oid = resolve_rev(row, req.path_params["rev"])
    files, prefix = tree_of(oid), unquote(req.path_params.get("path") or "").strip("/")
    rec, exp = (req.query_params.get(k) in ("true", "True", "1") for k in ("recursive", "expand"))
    pre = prefix + "/" if prefix else ""
    inside = {p: e for p, e in files.items() if p.startswith(pre)}
    if prefix and not inside:
        raise ApiError(
            404,
            f'{prefix} does not exist on "{req.path_params["rev"]}"',
            "EntryNotFound",
            {"X-Repo-Commit": oid},
        )
    items = {}
    for p, e in inside.items():
        parts = p[len(pre) :].split("/")
        for i in range(1, len(parts) if rec else min(2, len(parts))):
            d = pre + "/".join(parts[:i])
            items[d] = {
                "type": "directory",
                "oid": folder_oid(files, d + "/"),
                "size": 0,
                "path": d,
            }
        if rec or len(parts) == 1:
            items[p] = entry_json(p, e)
    names = sorted(items)
    limit = min(
        int(req.query_params.get("limit") or HUB.config.page_size),
        50 if exp else HUB.config.page_size,
    )
    start = (
        int(base64.urlsafe_b64decode(req.query_params["cursor"] + "=="))
        if "cursor" in req.query_params
        else 0
    )
    page = [items[n] for n in names[start : start + limit]]
    if exp:
        for it in page:
            it["lastCommit"] = last_touch(row, oid, it["path"])
            it["securityFileStatus"] = {"status": "safe", "avScan": None, "pickleImportScan": None}
    h = {"X-Repo-Commit": oid}
    if start + limit < len(names):
        cur = base64.urlsafe_b64encode(str(start + limit).encode()).decode().rstrip("=")
        q = "&".join(f"{k}={quote(v)}" for k, v in req.query_params.items() if k != "cursor")
        h["Link"] = f'<{base(req)}{req.url.path}?{q}&cursor={cur}>; rel="next"'
    return JSONResponse(page, headers=h)


async def paths_info(req):
    row, _ = get_repo(req, TYPES[req.path_params["rt"]], req.path_params["name"])
    oid = resolve_rev(row, req.path_params["rev"])
    body = await req.body()
    if "json" in req.headers.get("content-type", ""):
        b = json.loads(body)
        paths, exp = b["paths"], b.get("expand")
    else:
        form = parse_qsl(body.decode(), keep_blank_values=True)
        paths, exp = (
            [v for k, v in form if k == "paths"],
            any(k == "expand" and v.lower() == "true" for k, v in form),
        )
    if len(paths) > 1000:
        raise ApiError(413, "too many parameters")
    files, out = tree_of(oid), []
    for p in (x.strip("/") for x in paths):
        if p in files:
            out.append(entry_json(p, files[p]))
        elif any(f.startswith(p + "/") for f in files) and p:
            out.append(
                {"type": "directory", "oid": folder_oid(files, p + "/"), "size": 0, "path": p}
            )
        else:
            continue
        if exp:
            out[-1]["lastCommit"] = last_touch(row, oid, p)
    return JSONResponse(out)
