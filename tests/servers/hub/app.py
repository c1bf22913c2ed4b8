"""The routes of the stand-in, and the command line that runs it.

python -m tests.servers.hub --port 8765 --root DIR
HF_ENDPOINT=http://127.0.0.1:8765 HF_TOKEN=hf_alice_write   # points the real client at it
"""

import argparse
import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Match, Route

from . import accounts, cards, commit, control, describe, files, history, lfs, xet
from .access import ApiError
from .faults import Faults
from .state import HUB

READ = ("GET", "HEAD")
REPO = "/api/{rt}/{name}"
PARTS = {
    "rt": "models|datasets|spaces",
    "name": r"[\w.-]+(?:/[\w.-]+)?",  # 'gpt2' or 'user/repo'
    "rev": "refs/[^/]+/[^/]+|[^/]+",
    "branch": ".+",
    "path": ".+",
    "kind": "read|write",
}


class RepoRoute(Route):
    """A route whose `{name}` is one or two path segments, matched on the raw (quoted) path."""

    def __init__(self, pattern, endpoint, *methods):
        super().__init__("/", endpoint, methods=list(methods))
        self.raw = re.compile(
            re.sub(r"\\?\{(\w+)\\?\}", lambda m: f"(?P<{m[1]}>{PARTS[m[1]]})", re.escape(pattern))
            + "$"
        )

    def matches(self, scope):
        raw = scope.get("raw_path", scope["path"].encode()).split(b"?")[0].decode()
        found = self.raw.match(raw)
        if scope["type"] != "http" or not found or scope["method"] not in self.methods:
            return Match.NONE, {}
        groups = {k: v for k, v in found.groupdict().items() if v}
        decoded = {k: unquote(v) if k in ("name", "path") else v for k, v in groups.items()}
        return Match.FULL, {"endpoint": self.endpoint, "path_params": decoded}


async def agent_harnesses(_request):
    """What hub 2.x asks once per process; an empty answer turns the feature off."""
    return JSONResponse({"standardEnvVars": [], "harnesses": {}})


def plain(path, endpoint, *methods):
    """A route without a repository name."""
    return Route(path, endpoint, methods=list(methods or ("GET",)))


def build() -> Any:
    """The application with its fault layer around it."""
    batch = "{name}.git/info/lfs/objects/batch"
    routes = [
        plain("/_standin/{what}", control.control, "GET", "POST", "DELETE"),
        plain("/api/whoami-v2", accounts.whoami),
        plain("/api/repos/create", accounts.repo_create, "POST"),
        plain("/api/repos/delete", accounts.repo_delete, "DELETE"),
        plain("/api/repos/move", accounts.repo_move, "POST"),
        plain("/api/validate-yaml", cards.validate_yaml, "POST"),
        plain("/api/agent-harnesses", agent_harnesses),
        plain("/api/_lfs/verify/{repo:int}", lfs.lfs_verify, "POST"),
        plain("/api/_lfs/complete/{mid}", lfs.lfs_complete, "POST"),
        plain("/_s3/put/{sha}", lfs.s3_put, "PUT"),
        plain("/_s3/part/{mid}/{part:int}", lfs.s3_part, "PUT"),
        plain("/_s3/{kind}/{name}", files.s3_get, *READ),
        plain("/_cas/v1/xorbs/default/{hash}", xet.xorb_put, "POST"),
        plain("/_cas/v1/shards", xet.shard_put, "POST"),
        plain("/_cas/v1/reconstructions/{hash}", xet.reconstruction),
        plain("/v1/telemetry", xet.accept, "POST"),
        plain("/_cas/{rest:path}", xet.not_here, "GET", "POST", "HEAD"),
        RepoRoute(REPO + "/revision/{rev}", describe.repo_info, *READ),
        RepoRoute(REPO + "/tree/{rev}/{path}", describe.tree, *READ),
        RepoRoute(REPO + "/tree/{rev}", describe.tree, *READ),
        RepoRoute(REPO + "/paths-info/{rev}", describe.paths_info, "POST"),
        RepoRoute(REPO + "/refs", history.refs, *READ),
        RepoRoute(REPO + "/commits/{rev}", history.commits, *READ),
        RepoRoute(REPO + "/preupload/{rev}", commit.preupload, "POST"),
        RepoRoute(REPO + "/commit/{rev}", commit.commit, "POST"),
        RepoRoute(REPO + "/xet-{kind}-token/{rev}", xet.xet_token, *READ),
        RepoRoute(REPO + "/branch/{branch}", history.branch, "POST", "DELETE"),
        RepoRoute(REPO + "/tag/{rev}", history.tag, "POST", "DELETE"),
        RepoRoute(REPO + "/super-squash/{branch}", history.squash, "POST"),
        RepoRoute(REPO + "/settings", accounts.repo_settings, "PUT"),
        RepoRoute(REPO + "/auth-check", accounts.auth_check, *READ),
        RepoRoute(REPO + "/discussions", history.discussions, "POST"),
        RepoRoute("/{rt}/" + batch, lfs.lfs_batch, "POST"),
        RepoRoute("/" + batch, lfs.lfs_batch, "POST"),
        RepoRoute("/{rt}/{name}/resolve/{rev}/{path}", files.resolve, *READ),
        RepoRoute("/{name}/resolve/{rev}/{path}", files.resolve, *READ),
        RepoRoute("/{rt}/{name}/raw/{rev}/{path}", files.resolve, *READ),
        RepoRoute(REPO, describe.repo_info, *READ),
        RepoRoute("/api/{rt}", accounts.repo_list, "GET"),
    ]
    handlers = {ApiError: lambda _request, error: error.response()}
    return Faults(Starlette(routes=routes, exception_handlers=handlers))


def main() -> None:
    """Run one hub until killed, on a port of this machine or on the caller's listening socket."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=HUB.config.port)
    parser.add_argument("--socket", type=int, help="a descriptor, in place of --port")
    parser.add_argument("--root", type=Path, default=HUB.config.root)
    parser.add_argument("--page-size", type=int, default=HUB.config.page_size)
    parser.add_argument("--multipart-over", type=int, default=HUB.config.multipart_over)
    parser.add_argument("--part-size", type=int, default=HUB.config.part_size)
    parser.add_argument("--lfs-threshold", type=int, default=HUB.config.lfs_threshold)
    parser.add_argument("--commits-per-hour", type=int, default=HUB.config.commits_per_hour)
    parser.add_argument("--no-xet", dest="xet", action="store_false")
    options = vars(parser.parse_args())
    descriptor = options.pop("socket")
    for name, value in options.items():
        setattr(HUB.config, name, value)
    if descriptor is None:
        listener = socket.create_server(("127.0.0.1", HUB.config.port))
    else:
        listener = socket.socket(fileno=descriptor)
        HUB.config.port = listener.getsockname()[1]
    HUB.open()
    config = uvicorn.Config(build(), log_level="error", http="h11", lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])
