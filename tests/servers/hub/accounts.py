"""Users and repositories: whoami, create, delete, move, list, settings."""

import json
import re

from starlette.responses import JSONResponse, PlainTextResponse

from .access import ApiError, base, can_write, get_repo, resolve_rev, user_of, web_prefix
from .state import GITATTRIBUTES, HUB, TYPES, add_commit, git_oid, now, put_git


async def whoami(req):
    u = user_of(req, required=True)
    return JSONResponse(
        {
            "type": "user",
            "id": git_oid("user", u["name"].encode())[:24],
            "name": u["name"],
            "fullname": u["name"].title(),
            "email": f"{u['name']}@example.test",
            "emailVerified": True,
            "canPay": False,
            "isPro": False,
            "periodEnd": None,
            "avatarUrl": "",
            "orgs": [
                {"type": "org", "name": o, "fullname": o, "roleInOrg": r, "isEnterprise": False}
                for o, r in json.loads(u["orgs"]).items()
            ],
            "auth": {
                "type": "access_token",
                "accessToken": {"displayName": "test", "role": u["role"], "createdAt": now()},
            },
        }
    )


async def repo_create(req):
    u = user_of(req, required=True)
    b = await req.json()
    rtype, ns = b.get("type") or "model", b.get("organization") or u["name"]
    full = f"{ns}/{b['name']}"
    private = b.get("private") if b.get("private") is not None else b.get("visibility") == "private"
    url = f"{base(req)}/{web_prefix(rtype)}{full}"
    if (
        not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,95}", b["name"])
        or "--" in b["name"]
        or ".." in b["name"]
    ):
        raise ApiError(400, f"Invalid repo name: {b['name']}")
    if not can_write(u, ns):
        raise ApiError(
            403, f'You don\'t have the rights to create a {rtype} under the namespace "{ns}"'
        )
    with HUB.lock:
        if HUB.db.execute("select 1 from repos where type=? and name=?", (rtype, full)).fetchone():
            raise ApiError(
                409,
                f"You already created this {rtype} repo",
                body={"error": f"You already created this {rtype} repo", "url": url},
            )
        rid = HUB.db.execute(
            "insert into repos(type,name,private,created) values(?,?,?,?)",
            (rtype, full, int(bool(private)), now()),
        ).lastrowid
        oid = put_git(GITATTRIBUTES.encode())
        add_commit(
            rid,
            "refs/heads/main",
            {".gitattributes": {"oid": oid, "size": len(GITATTRIBUTES)}},
            "initial commit",
            "",
            u["name"],
            None,
        )
    return JSONResponse({"url": url, "name": full, "id": f"{rid:024x}"})


async def repo_delete(req):
    b = await req.json()
    u = user_of(req, required=True)
    full = f"{b.get('organization') or u['name']}/{b['name']}"
    row, _ = get_repo(req, b.get("type") or "model", full, write=True)
    for statement in (
        "delete from refs where repo=?",
        "delete from commits where repo=?",
        "delete from lfs_repo where repo=?",
        "delete from prs where repo=?",
        "delete from repos where id=?",
    ):
        HUB.db.execute(statement, (row["id"],))
    return PlainTextResponse("OK")


async def repo_move(req):
    b = await req.json()
    row, _ = get_repo(req, b.get("type") or "model", b["fromRepo"], write=True)
    HUB.db.execute("update repos set name=? where id=?", (b["toRepo"], row["id"]))
    return PlainTextResponse("OK")


async def repo_list(req):
    rtype, u = TYPES[req.path_params["rt"]], user_of(req)
    out = []
    for r in HUB.db.execute("select * from repos where type=? order by name", (rtype,)):
        ns = r["name"].split("/")[0]
        if r["private"] and not (u and (u["name"] == ns or ns in json.loads(u["orgs"]))):
            continue
        if (
            req.query_params.get("author") not in (None, ns)
            or (req.query_params.get("search") or "") not in r["name"]
        ):
            continue
        oid = resolve_rev(r, "main")
        out.append(
            {
                "_id": f"{r['id']:024x}",
                "id": r["name"],
                "modelId": r["name"],
                "private": bool(r["private"]),
                "sha": oid,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "createdAt": r["created"],
                "lastModified": now(),
            }
        )
    return JSONResponse(out)


async def repo_settings(req):
    row, _ = get_repo(req, TYPES[req.path_params["rt"]], req.path_params["name"], write=True)
    b = await req.json()
    private = b.get("private", b.get("visibility") == "private" if "visibility" in b else None)
    if private is not None:
        HUB.db.execute("update repos set private=? where id=?", (int(private), row["id"]))
    if "gated" in b:
        HUB.db.execute("update repos set gated=? where id=?", (int(bool(b["gated"])), row["id"]))
    return JSONResponse({"private": bool(private), "gated": b.get("gated", False)})


async def auth_check(req):
    get_repo(req, TYPES[req.path_params["rt"]], req.path_params["name"])
    return PlainTextResponse("OK")
