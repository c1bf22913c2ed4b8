"""Downloads: resolve (HEAD, GET, Range, ETag, X-Linked and X-Xet headers), signed storage."""

import re
from pathlib import Path
from urllib.parse import unquote

from starlette.responses import Response, StreamingResponse

from .access import ApiError, base, get_repo, resolve_rev
from .lfs import check_sig, sign, storage
from .state import HUB, TYPES, tree_of, xet_hash


def send_file(req, path: Path, headers, etag):
    size = path.stat().st_size
    headers = {"Accept-Ranges": "bytes", "ETag": f'"{etag}"', **headers}
    if req.headers.get("if-none-match", "").strip('"') == etag:
        return Response(status_code=304, headers=headers)
    lo, hi, status = 0, size - 1, 200
    m = re.fullmatch(r"bytes=(\d*)-(\d*)", req.headers.get("range", ""))
    if m and (m[1] or m[2]):
        lo, hi = (
            (int(m[1]), min(int(m[2] or size - 1), size - 1))
            if m[1]
            else (max(0, size - int(m[2])), size - 1)
        )
        if lo >= size:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
        status, headers["Content-Range"] = 206, f"bytes {lo}-{hi}/{size}"
    headers["Content-Length"] = str(max(0, hi - lo + 1))

    async def body():
        left = hi - lo + 1
        with path.open("rb") as f:
            f.seek(lo)
            while left > 0 and (chunk := f.read(min(left, 65536))):
                left -= len(chunk)
                yield chunk

    if req.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return StreamingResponse(body(), status, headers, media_type="application/octet-stream")


async def resolve(req):
    rtype = TYPES[req.path_params.get("rt") or "models"]
    row, _ = get_repo(req, rtype, req.path_params["name"])
    oid = resolve_rev(row, req.path_params["rev"])
    path = unquote(req.path_params["path"])
    e = tree_of(oid).get(path)
    if e is None:
        raise ApiError(404, "Entry not found", "EntryNotFound", {"X-Repo-Commit": oid})
    h = {
        "X-Repo-Commit": oid,
        "Content-Disposition": f'inline; filename="{path.rsplit("/", 1)[-1]}"',
    }
    if not e.get("lfs"):
        return send_file(req, HUB.config.root / "git" / e["oid"], h, e["oid"])
    h.update(
        {
            "X-Linked-Size": str(e["size"]),
            "X-Linked-ETag": f'"{e["lfs"]}"',
            "Location": storage(req) + sign(f"/_s3/get/{e['lfs']}"),
            "ETag": f'"{e["oid"]}"',
        }
    )
    x = xet_hash(e["lfs"])
    if x:
        auth = f"{base(req)}/api/{rtype}s/{row['name']}/xet-read-token/{oid}"
        h.update(
            {
                "X-Xet-Hash": x,
                "Link": f'<{auth}>; rel="xet-auth", <{base(req)}/_cas/v1/reconstructions/{x}>; '
                'rel="xet-reconstruction-info"',
            }
        )
    return Response(status_code=302, headers=h)


async def s3_get(req):
    check_sig(req)
    kind, name = req.path_params["kind"], req.path_params["name"]
    return send_file(req, HUB.config.root / {"get": "lfs", "xorb": "xorb"}[kind] / name, {}, name)
