"""Who is asking, what they may see and change, and how a refusal is worded."""

import json
import re
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse

from .state import HUB


class ApiError(Exception):
    def __init__(self, status, msg, code=None, headers=None, body=None):
        self.status, self.msg, self.code, self.headers, self.body = (
            status,
            msg,
            code,
            headers or {},
            body,
        )

    def response(self):
        h = {**self.headers, "X-Error-Message": self.msg.replace("\n", " ")[:200]}
        if self.code:
            h["X-Error-Code"] = self.code
        return JSONResponse(self.body or {"error": self.msg}, self.status, headers=h)


def user_of(req: Request, required=False):
    auth = req.headers.get("authorization", "")
    if not auth:
        if required:
            raise ApiError(401, "Invalid username or password.")
        return None
    row = HUB.db.execute(
        "select * from users where token=?", (auth.removeprefix("Bearer ").strip(),)
    ).fetchone()
    if row is None:
        raise ApiError(401, "Invalid credentials in Authorization header")
    return row


def can_write(user, ns):
    return user["role"] == "write" and (
        user["name"] == ns or json.loads(user["orgs"]).get(ns) in ("write", "admin")
    )


def get_repo(req, rtype, name, write=False):
    user = user_of(req)
    row = HUB.db.execute("select * from repos where type=? and name=?", (rtype, name)).fetchone()
    ns = name.split("/")[0]
    member = user is not None and (user["name"] == ns or ns in json.loads(user["orgs"]))
    if row is None or (row["private"] and not member):
        # the Hub hides private repos: 401 without a token, 404 with one
        raise ApiError(
            404 if user else 401,
            "Repository not found" if user else "Invalid username or password.",
            "RepoNotFound",
        )
    if row["gated"] and not member:
        raise ApiError(
            403 if user else 401, f"Access to {rtype} {name} is restricted.", "GatedRepo"
        )
    if write:
        if user is None:
            raise ApiError(401, "Invalid username or password.")
        if not can_write(user, ns):
            raise ApiError(
                403,
                "Forbidden: you must use a write token to upload to a repository."
                if user["role"] != "write"
                else f"You don't have the rights to write to {name}",
            )
    return row, user


def resolve_rev(repo, rev):
    rev = unquote(rev or "main")
    for cand in (rev, f"refs/heads/{rev}", f"refs/tags/{rev}"):
        r = HUB.db.execute(
            "select oid from refs where repo=? and ref=?", (repo["id"], cand)
        ).fetchone()
        if r:
            return r["oid"]
    if re.fullmatch(r"[0-9a-f]{5,40}", rev):
        r = HUB.db.execute(
            "select oid from commits where repo=? and oid like ?", (repo["id"], rev + "%")
        ).fetchone()
        if r:
            return r["oid"]
    raise ApiError(404, f"Invalid rev id: {rev}", "RevisionNotFound")


def branch_ref(repo, rev):
    rev = unquote(rev or "main")
    ref = rev if rev.startswith("refs/") else f"refs/heads/{rev}"
    if not HUB.db.execute(
        "select 1 from refs where repo=? and ref=?", (repo["id"], ref)
    ).fetchone():
        raise ApiError(404, f"Invalid rev id: {rev}", "RevisionNotFound")
    return ref


def base(req):
    return f"http://{req.headers.get('host', f'127.0.0.1:{HUB.config.port}')}"


def web_prefix(rtype):
    return "" if rtype == "model" else f"{rtype}s/"
