"""References and history: branches, tags, commits, squash, pull requests."""

import json
from urllib.parse import unquote

from starlette.responses import JSONResponse, PlainTextResponse

from .access import ApiError, base, branch_ref, get_repo, resolve_rev, web_prefix
from .state import HUB, TYPES, add_commit, now, tree_of


async def refs(req):
    row, _ = get_repo(req, TYPES[req.path_params["rt"]], req.path_params["name"])
    out = {"branches": [], "converts": [], "tags": [], "pullRequests": []}
    for r in HUB.db.execute("select * from refs where repo=? order by ref", (row["id"],)):
        kind = {"heads": "branches", "tags": "tags", "convert": "converts", "pr": "pullRequests"}[
            r["ref"].split("/")[1]
        ]
        out[kind].append(
            {"name": r["ref"].split("/", 2)[2], "ref": r["ref"], "targetCommit": r["oid"]}
        )
    return JSONResponse(out)


async def commits(req):
    row, _ = get_repo(req, TYPES[req.path_params["rt"]], req.path_params["name"])
    oid, out = resolve_rev(row, req.path_params["rev"]), []
    while oid:
        c = HUB.db.execute("select * from commits where oid=?", (oid,)).fetchone()
        out.append(
            {
                "id": c["oid"],
                "title": c["title"],
                "message": c["body"] or "",
                "date": c["date"],
                "authors": [{"user": c["author"], "avatar": ""}],
            }
        )
        oid = c["parent"]
    return JSONResponse(out)


async def branch(req):
    row, _ = get_repo(req, TYPES[req.path_params["rt"]], req.path_params["name"], write=True)
    ref = f"refs/heads/{unquote(req.path_params['branch'])}"
    have = HUB.db.execute("select 1 from refs where repo=? and ref=?", (row["id"], ref)).fetchone()
    if req.method == "DELETE":
        HUB.db.execute("delete from refs where repo=? and ref=?", (row["id"], ref))
        return PlainTextResponse("OK")
    if have:
        raise ApiError(409, "Reference already exists")
    b = json.loads(await req.body() or b"{}")
    HUB.db.execute(
        "insert into refs values(?,?,?)",
        (row["id"], ref, resolve_rev(row, b.get("startingPoint") or "main")),
    )
    return PlainTextResponse("OK")


async def tag(req):
    row, _ = get_repo(req, TYPES[req.path_params["rt"]], req.path_params["name"], write=True)
    if req.method == "DELETE":
        HUB.db.execute(
            "delete from refs where repo=? and ref=?",
            (row["id"], f"refs/tags/{unquote(req.path_params['rev'])}"),
        )
        return PlainTextResponse("OK")
    b = await req.json()
    ref = f"refs/tags/{b['tag']}"
    if HUB.db.execute("select 1 from refs where repo=? and ref=?", (row["id"], ref)).fetchone():
        raise ApiError(409, "Tag already exists")
    HUB.db.execute(
        "insert into refs values(?,?,?)", (row["id"], ref, resolve_rev(row, req.path_params["rev"]))
    )
    return PlainTextResponse("OK")


async def squash(req):
    row, u = get_repo(req, TYPES[req.path_params["rt"]], req.path_params["name"], write=True)
    ref = branch_ref(row, req.path_params["branch"])
    b = json.loads(await req.body() or b"{}")
    add_commit(
        row["id"],
        ref,
        tree_of(resolve_rev(row, ref)),
        b.get("message") or "Super-squash branch",
        "",
        u["name"],
        None,
    )
    return PlainTextResponse("OK")


async def discussions(req):  # only what create_pull_request needs
    row, u = get_repo(req, TYPES[req.path_params["rt"]], req.path_params["name"])
    b = await req.json()
    return JSONResponse(open_pr(row, b["title"], u["name"], base(req)))


def open_pr(row, title, author, url):
    n = (
        HUB.db.execute("select max(num) m from prs where repo=?", (row["id"],)).fetchone()["m"] or 0
    ) + 1
    HUB.db.execute("insert into prs values(?,?,?)", (row["id"], n, title))
    HUB.db.execute(
        "insert into refs values(?,?,?)", (row["id"], f"refs/pr/{n}", resolve_rev(row, "main"))
    )
    return {
        "num": n,
        "title": title,
        "status": "open",
        "author": {"name": author},
        "createdAt": now(),
        "url": f"{url}/{web_prefix(row['type'])}{row['name']}/discussions/{n}",
        "pullRequest": True,
    }
