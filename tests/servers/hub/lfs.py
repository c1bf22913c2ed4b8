"""Git-LFS: the batch API, basic and multipart uploads to signed URLs, sha256 verified."""

import hashlib
import re
import time
import uuid

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from .access import ApiError, base, get_repo, user_of
from .state import HUB, TYPES


def sign(path, ttl=None):
    exp = int(time.time()) + (ttl or HUB.config.sign_ttl)
    signature = hashlib.sha256(f"{path}{exp}{HUB.secret}".encode()).hexdigest()[:32]
    return f"{path}?Expires={exp}&Signature={signature}"


def check_sig(req):
    q = req.query_params
    good = hashlib.sha256(f"{req.url.path}{q.get('Expires')}{HUB.secret}".encode()).hexdigest()[:32]
    if q.get("Signature") != good:
        raise ApiError(403, "SignatureDoesNotMatch")
    if int(q["Expires"]) < time.time():
        raise ApiError(403, "Request has expired")
    # S3 refuses two kinds of credentials, and a client must not leak its token to it
    if "authorization" in req.headers:
        raise ApiError(
            400, "Only one auth mechanism allowed; the Hub token was sent to the storage host"
        )


def storage(req):
    """the "CDN"/S3 lives on another origin (localhost instead of 127.0.0.1), as in production"""
    return f"http://localhost:{HUB.config.port}"


def own_lfs(sha, size, repo_id=None, xet=None):
    HUB.db.execute(
        "insert into lfs(sha,size,xet) values(?,?,?) "
        "on conflict(sha) do update set xet=coalesce(excluded.xet,xet)",
        (sha, size, xet),
    )
    if repo_id is not None:
        HUB.db.execute("insert or ignore into lfs_repo values(?,?)", (sha, repo_id))


async def lfs_batch(req):
    rtype = TYPES[req.path_params.get("rt") or "models"]
    b = await req.json()
    row, _ = get_repo(req, rtype, req.path_params["name"], write=b.get("operation") == "upload")
    # hub < 1.2 asks here; newer clients go straight to Xet
    if HUB.config.xet and "xet" in b.get("transfers", []):
        token_url = f"{base(req)}/api/{rtype}s/{row['name']}/xet-write-token/main"
        return JSONResponse(
            {
                "transfer": "xet",
                "objects": [
                    {
                        "oid": o["oid"],
                        "size": o["size"],
                        "actions": {
                            "upload": {
                                "href": token_url,
                                "header": {},
                            }
                        },
                    }
                    for o in b["objects"]
                ],
            }
        )
    objs, multi = [], False
    for o in b["objects"]:
        if not re.fullmatch(r"[0-9a-f]{64}", o["oid"]):
            objs.append({**o, "error": {"code": 422, "message": "Invalid oid"}})
            continue
        have = HUB.db.execute(
            "select 1 from lfs where sha=? and size=?", (o["oid"], o["size"])
        ).fetchone()
        if have and (HUB.config.root / "lfs" / o["oid"]).exists():
            own_lfs(o["oid"], o["size"], row["id"])
            objs.append({"oid": o["oid"], "size": o["size"], "authenticated": True})
            continue
        verify = {"href": f"{base(req)}/api/_lfs/verify/{row['id']}", "header": {}}
        if o["size"] > HUB.config.multipart_over and "multipart" in b.get("transfers", []):
            multi, mid = True, uuid.uuid4().hex
            HUB.db.execute("insert into multipart values(?,?,?)", (mid, o["oid"], o["size"]))
            n = -(-o["size"] // HUB.config.part_size)
            hdr = {
                f"{i + 1:05d}": storage(req) + sign(f"/_s3/part/{mid}/{i + 1}") for i in range(n)
            }
            up = {
                "href": f"{base(req)}/api/_lfs/complete/{mid}",
                "header": {"chunk_size": str(HUB.config.part_size), **hdr},
            }
        else:
            up = {"href": storage(req) + sign(f"/_s3/put/{o['oid']}"), "header": {}}
        objs.append(
            {
                "oid": o["oid"],
                "size": o["size"],
                "authenticated": True,
                "actions": {"upload": up, "verify": verify},
            }
        )
    return JSONResponse(
        {"transfer": "multipart" if multi else "basic", "objects": objs},
        media_type="application/vnd.git-lfs+json",
    )


async def save_stream(req):
    tmp, h = HUB.config.root / "tmp" / uuid.uuid4().hex, hashlib.sha256()
    try:
        with tmp.open("wb") as f:
            async for chunk in req.stream():
                f.write(chunk)
                h.update(chunk)
    except ClientDisconnect:
        tmp.unlink()
        raise
    return tmp, h.hexdigest()


async def s3_put(req):
    check_sig(req)
    tmp, sha = await save_stream(req)
    if sha != req.path_params["sha"]:
        tmp.unlink()
        raise ApiError(400, f"XAmzContentSHA256Mismatch: got {sha}")
    tmp.rename(HUB.config.root / "lfs" / sha)
    return Response(status_code=200, headers={"ETag": f'"{sha[:32]}"'})


async def s3_part(req):
    check_sig(req)
    tmp, sha = await save_stream(req)
    tmp.rename(HUB.config.root / "tmp" / f"{req.path_params['mid']}.{req.path_params['part']}")
    return Response(status_code=200, headers={"ETag": f'"{sha[:32]}"'})


async def lfs_complete(req):
    m = HUB.db.execute("select * from multipart where id=?", (req.path_params["mid"],)).fetchone()
    b, h, n = await req.json(), hashlib.sha256(), 0
    out = HUB.config.root / "tmp" / uuid.uuid4().hex
    with out.open("wb") as f:
        for p in sorted(b["parts"], key=lambda p: p["partNumber"]):
            part = HUB.config.root / "tmp" / f"{m['id']}.{p['partNumber']}"
            data = part.read_bytes()
            if p["etag"].strip('"') != hashlib.sha256(data).hexdigest()[:32]:
                raise ApiError(400, f"InvalidPart {p['partNumber']}")
            f.write(data)
            h.update(data)
            n += len(data)
            part.unlink()
    if h.hexdigest() != m["sha"] or n != m["size"]:
        out.unlink()
        raise ApiError(400, "the assembled file has another sha256")
    out.rename(HUB.config.root / "lfs" / m["sha"])
    return JSONResponse({"ok": True})


async def lfs_verify(req):
    user_of(req, required=True)
    b = await req.json()
    p = HUB.config.root / "lfs" / b["oid"]
    if not p.exists() or p.stat().st_size != b["size"]:
        raise ApiError(404, "object not found or size mismatch")
    own_lfs(b["oid"], b["size"], int(req.path_params["repo"]))
    return JSONResponse({"message": "ok"})
