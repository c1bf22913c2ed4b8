"""What a test asks of the stand-in itself, under `/_standin/`: users, faults, log, verify."""

import hashlib
import json

from starlette.responses import JSONResponse

from .access import resolve_rev
from .state import HUB, git_oid


async def control(req):
    what = req.path_params["what"]
    if what == "health":
        return JSONResponse({"ok": True, "xet": HUB.config.xet})
    if what == "faults":
        if req.method == "DELETE":
            HUB.faults.clear()
            HUB.cleared += 1
        elif req.method == "POST":
            b = await req.json()
            HUB.faults.extend(b if isinstance(b, list) else [b])
        return JSONResponse(HUB.faults)
    if what == "log":
        if req.method == "DELETE":
            HUB.log.clear()
        return JSONResponse(HUB.log)
    if what == "users" and req.method == "DELETE":
        b = await req.json()
        HUB.db.execute("delete from users where token=?", (b["token"],))
        return JSONResponse({"ok": True})
    if what == "users" and req.method == "POST":
        b = await req.json()
        HUB.db.execute(
            "insert or replace into users values(?,?,?,?)",
            (b["token"], b["name"], b.get("role", "write"), json.dumps(b.get("orgs", {}))),
        )
        return JSONResponse({"ok": True})
    if what == "config" and req.method == "POST":
        for k, v in (await req.json()).items():
            setattr(HUB.config, k, v)
        return JSONResponse({"ok": True})
    if what == "verify":  # re-hash every stored object reachable from a commit
        bad, seen = [], set()
        for c in HUB.db.execute("select * from commits").fetchall():
            for p, e in json.loads(c["tree"]).items():
                f = (
                    HUB.config.root
                    / ("lfs" if e.get("lfs") else "git")
                    / (e.get("lfs") or e["oid"])
                )
                if f in seen:
                    continue
                seen.add(f)
                data = f.read_bytes() if f.exists() else None
                ok = data is not None and (
                    hashlib.sha256(data).hexdigest() == e["lfs"]
                    if e.get("lfs")
                    else git_oid("blob", data) == e["oid"]
                )
                if not ok:
                    bad.append([c["oid"], p])
        return JSONResponse({"objects": len(seen), "bad": bad})
    if (
        what == "convert" and req.method == "POST"
    ):  # set an arbitrary ref, e.g. refs/convert/parquet
        b = await req.json()
        row = HUB.db.execute(
            "select * from repos where type=? and name=?", (b.get("type", "dataset"), b["repo"])
        ).fetchone()
        HUB.db.execute(
            "insert or replace into refs values(?,?,?)",
            (row["id"], b["ref"], resolve_rev(row, b.get("rev", "main"))),
        )
        return JSONResponse({"ok": True})
    return JSONResponse({"error": "unknown control"}, 404)
