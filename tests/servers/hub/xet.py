"""Xet: xorbs, shards and reconstructions, in the wire format of the published specification.

A file's chunks are put together again when its shard arrives and its sha256 is checked, so that
plain HTTP can serve it as well.
"""

import hashlib
import json
import re
import struct
import time
import uuid

import lz4.frame
from starlette.responses import JSONResponse

from .access import ApiError, base, get_repo
from .lfs import own_lfs, sign, storage
from .state import HUB, TYPES


def hx(b: bytes) -> str:  # a Xet hash prints as four little-endian 64-bit words
    return "".join(b[i : i + 8][::-1].hex() for i in range(0, 32, 8))


async def xet_token(req):
    write = req.path_params["kind"] == "write"
    row, _ = get_repo(req, TYPES[req.path_params["rt"]], req.path_params["name"], write=write)
    if not HUB.config.xet:
        raise ApiError(404, "Xet is not enabled on this server")
    exp = int(time.time()) + 900
    tok = f"{'w' if write else 'r'}.{row['id']}.{exp}"
    tok += "." + hashlib.sha256((tok + HUB.secret).encode()).hexdigest()[:24]
    cas = f"{base(req)}/_cas"
    return JSONResponse(
        {"casUrl": cas, "exp": exp, "accessToken": tok},
        headers={
            "X-Xet-Cas-Url": cas,
            "X-Xet-Access-Token": tok,
            "X-Xet-Token-Expiration": str(exp),
        },
    )


def cas_auth(req, write=False):
    tok = req.headers.get("authorization", "").removeprefix("Bearer ")
    head, _, mac = tok.rpartition(".")
    if (
        mac != hashlib.sha256((head + HUB.secret).encode()).hexdigest()[:24]
        or int(head.split(".")[2]) < time.time()
    ):
        raise ApiError(401, "bad or expired xet token")
    if write and head[0] != "w":
        raise ApiError(403, "read-only xet token")
    return int(head.split(".")[1])


def xorb_chunks(data: bytes):
    """[(start, end, scheme, payload offset, payload length, raw length)] up to the footer."""
    out, i = [], 0
    while i + 8 <= len(data) and data[i : i + 7] != b"XETBLOB":
        comp, scheme, raw = (
            int.from_bytes(data[i + 1 : i + 4], "little"),
            data[i + 4],
            int.from_bytes(data[i + 5 : i + 8], "little"),
        )
        if data[i] != 0 or scheme > 2 or i + 8 + comp > len(data):
            raise ApiError(400, "malformed xorb")
        out.append((i, i + 8 + comp, scheme, i + 8, comp, raw))
        i += 8 + comp
    return out


def unchunk(data, c):
    raw = data[c[3] : c[3] + c[4]]
    if c[2]:
        raw = lz4.frame.decompress(raw)
    if c[2] == 2:  # four byte planes, the first ones one byte longer if needed
        n, planes, pos = len(raw), [], 0
        for k in range(4):
            ln = (n + 3 - k) // 4
            planes.append(raw[pos : pos + ln])
            pos += ln
        buf = bytearray(n)
        for k in range(4):
            buf[k::4] = planes[k]
        raw = bytes(buf)
    if len(raw) != c[5]:
        raise ApiError(400, "chunk length mismatch")
    return raw


async def xorb_put(req):
    cas_auth(req, write=True)
    data = await req.body()
    xorb_chunks(data)
    p = HUB.config.root / "xorb" / req.path_params["hash"]
    new = not p.exists()
    p.write_bytes(data)
    return JSONResponse({"was_inserted": new})


def xorb_get(h):
    p = HUB.config.root / "xorb" / h
    if not p.exists():
        raise ApiError(400, f"shard names a xorb that was never uploaded: {h}")
    d = p.read_bytes()
    return d, xorb_chunks(d)


async def shard_put(req):
    repo = cas_auth(req, write=True)
    d, i = await req.body(), 48
    if d[:14] != b"HFRepoMetaData":
        raise ApiError(400, "not a shard")
    while True:
        fh, flags, n = d[i : i + 32], *struct.unpack_from("<II", d, i + 32)
        i += 48
        if fh == b"\xff" * 32:
            break
        terms = []
        for _ in range(n):
            _, ln, a, b = struct.unpack_from("<IIII", d, i + 32)
            terms.append((hx(d[i : i + 32]), a, b, ln))
            i += 48
        i += 48 * n if flags >> 31 & 1 else 0
        want = None
        if flags >> 30 & 1:
            want = hx(d[i : i + 32])
            i += 48
        tmp, h, size = HUB.config.root / "tmp" / uuid.uuid4().hex, hashlib.sha256(), 0
        with tmp.open("wb") as f:
            for x, a, b, ln in terms:
                data, chunks = xorb_get(x)
                seg = b"".join(unchunk(data, c) for c in chunks[a:b])
                if len(seg) != ln:
                    raise ApiError(400, "segment length mismatch")
                f.write(seg)
                h.update(seg)
                size += len(seg)
        if want and h.hexdigest() != want:
            tmp.unlink()
            raise ApiError(
                400, f"sha256 of the rebuilt file is {h.hexdigest()}, the shard says {want}"
            )
        tmp.rename(HUB.config.root / "lfs" / h.hexdigest())
        with HUB.lock:
            HUB.db.execute(
                "insert or replace into xetfile values(?,?,?,?)",
                (hx(fh), h.hexdigest(), size, json.dumps(terms)),
            )
            own_lfs(h.hexdigest(), size, repo, hx(fh))
    return JSONResponse({"result": 1})


async def reconstruction(req):
    cas_auth(req)
    row = HUB.db.execute(
        "select * from xetfile where hash=?", (req.path_params["hash"],)
    ).fetchone()
    if row is None:
        raise ApiError(404, "file not found")
    rng = re.fullmatch(r"bytes=(\d+)-(\d*)", req.headers.get("range", ""))
    lo, hi = (
        (int(rng[1]), min(int(rng[2] or row["size"] - 1), row["size"] - 1))
        if rng
        else (0, row["size"] - 1)
    )
    if lo >= row["size"]:
        raise ApiError(416, "range start beyond the end of the file")
    terms, fetch, pos, off = [], {}, 0, None
    for x, a, b, _ in json.loads(row["terms"]):
        chunks = xorb_get(x)[1]
        p, keep = pos, []  # trim the term to the chunks which overlap [lo, hi]
        for k in range(a, b):
            e = p + chunks[k][5]
            if e > lo and p <= hi:
                keep.append((k, p))
            p = e
        pos = p
        if not keep:
            continue
        if off is None:
            off = lo - keep[0][1]
        s, e = keep[0][0], keep[-1][0] + 1
        terms.append(
            {
                "hash": x,
                "range": {"start": s, "end": e},
                "unpacked_length": sum(chunks[k][5] for k in range(s, e)),
            }
        )
        fetch.setdefault(x, []).append((s, e))
    info = {}
    for (
        x,
        spans,
    ) in fetch.items():  # one entry per run of chunks: overlapping entries make hf_xet 1.8.0 panic
        merged, chunks = [], xorb_get(x)[1]
        for s, e in sorted(spans):
            if merged and s <= merged[-1][1]:
                merged[-1][1] = max(e, merged[-1][1])
            else:
                merged.append([s, e])
        info[x] = [
            {
                "range": {"start": s, "end": e},
                "url": storage(req) + sign(f"/_s3/xorb/{x}"),
                "url_range": {"start": chunks[s][0], "end": chunks[e - 1][1] - 1},
            }
            for s, e in merged
        ]
    return JSONResponse({"offset_into_first_range": off or 0, "terms": terms, "fetch_info": info})


async def not_here(req):  # v2 endpoints, global dedup: the specification lets a client fall back
    return JSONResponse({"error": "not implemented"}, 404)


async def accept(req):  # client telemetry of hf_xet
    await req.body()
    return JSONResponse({})
