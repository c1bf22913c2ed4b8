"""The layer around the application: request log, faults on request, error mapping.

A fault is `{"match": REGEX on "METHOD /path?query", "times": N, "skip": N, ...}` with some of

- `status` (with `retry_after`, `ratelimit`, `headers`, `body`): answer that instead;
- `drop`: "fin" or "rst" ends the connection before any answer; with `after_bytes` in the middle of
  the answer's body, or of the request's body when `upload` is true;
- `lost_response`: do the work, then drop the connection instead of answering;
- `hold` until the faults are cleared, `delay` seconds before anything, `bps` bytes per second of
  answer, `corrupt`: flip one bit.
"""

import asyncio
import re
import socket
import struct
import time
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from .access import ApiError
from .state import HUB

BODY_KEPT = 4000


class Exchange:
    """One request and its answer, with the fault chosen for it."""

    def __init__(self, scope, receive, send):
        self.scope, self._receive, self._send = scope, receive, send
        query = scope["query_string"].decode()
        line = f"{scope['method']} {scope['path']}" + (f"?{query}" if query else "")
        headers = {k.decode(): v.decode("latin1") for k, v in scope["headers"]}
        self.transport = getattr(getattr(send, "__self__", None), "transport", None)
        self.fault = take_fault(line)
        self.record: dict[str, Any] = {
            "t": round(time.time(), 3),
            "req": line,
            "host": headers.get("host"),
            "auth": "authorization" in headers,
            "ua": headers.get("user-agent", "")[:90],
            "range": headers.get("range"),
            "ct": headers.get("content-type") or "",
            "in": 0,
            "out": 0,
            "status": None,
            "fault": {k: v for k, v in self.fault.items() if k not in ("match", "times")} or None,
            "body": "",
        }
        HUB.log.append(self.record)

    def cut(self, how: str) -> None:
        """End the connection without an answer: politely (fin) or with a reset (rst)."""
        self.record["status"] = f"dropped:{how}"
        if self.transport is None:
            return
        if how == "rst":
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def answered_by_fault(self) -> bool:
        """Apply what happens before the application sees the request."""
        fault = self.fault
        cleared = HUB.cleared
        while fault.get("hold") and HUB.cleared == cleared:
            await asyncio.sleep(0.02)
        if fault.get("delay"):
            await asyncio.sleep(fault["delay"])
        if fault.get("drop") and not fault.get("after_bytes") and not fault.get("lost_response"):
            self.cut(fault["drop"])
            return True
        if not fault.get("status"):
            return False
        headers = dict(fault.get("headers") or {})
        if fault.get("retry_after") is not None:
            headers["Retry-After"] = str(fault["retry_after"])
        if fault.get("ratelimit") is not None:
            headers["RateLimit"] = f'"api";r=0;t={fault["ratelimit"]}'
            headers["RateLimit-Policy"] = '"fixed window";"api";q=500;w=300'
        self.record["status"] = fault["status"]
        body = fault.get("body") or {"error": f"injected {fault['status']}"}
        answer = JSONResponse(body, fault["status"], headers=headers)
        await answer(self.scope, self._receive, self._send)
        return True

    async def receive(self):
        """The request's body, counted; cut in the middle when the fault says so."""
        message = await self._receive()
        body = message.get("body", b"")
        self.record["in"] += len(body)
        textual = "json" in self.record["ct"] or "urlencoded" in self.record["ct"]
        if textual and len(self.record["body"]) < BODY_KEPT:
            self.record["body"] += body[:BODY_KEPT].decode("utf-8", "replace")
        limit = self.fault.get("after_bytes")
        if self.fault.get("upload") and limit and self.record["in"] >= limit:
            self.cut(self.fault.get("drop", "rst"))
            return {"type": "http.disconnect"}
        return message

    async def send(self, message):
        """The answer: lost, slowed, cut or corrupted when the fault says so."""
        fault = self.fault
        if message["type"] == "http.response.start":
            if self.record["status"] is None:
                self.record["status"] = message["status"]
            if fault.get("lost_response"):
                return self.cut(fault.get("drop", "rst"))
        elif message["type"] == "http.response.body":
            body = message.get("body", b"")
            if fault.get("bps"):
                await asyncio.sleep(len(body) / fault["bps"])
            limit = None if fault.get("upload") else fault.get("after_bytes")
            if fault.get("drop") and limit is not None and self.record["out"] + len(body) > limit:
                kept = body[: limit - self.record["out"]]
                self.record["out"] += len(kept)
                await self._send({**message, "body": kept, "more_body": True})
                await asyncio.sleep(0.05)  # let the bytes leave before the reset drops them
                return self.cut(fault["drop"])
            if fault.get("corrupt") and body:
                body = bytes([body[0] ^ 1]) + body[1:]
                message = {**message, "body": body}
            self.record["out"] += len(body)
        if not str(self.record["status"]).startswith("dropped"):
            await self._send(message)
        return None


def take_fault(line: str) -> dict[str, Any]:
    """The first fault that matches the request line, used up by one; {} when there is none."""
    for fault in list(HUB.faults):
        if not re.search(fault["match"], line):
            continue
        if fault.get("skip", 0) > 0:
            fault["skip"] -= 1
            continue
        fault["times"] = fault.get("times", 1) - 1
        if fault["times"] <= 0:
            HUB.faults.remove(fault)
        return fault
    return {}


class Faults:
    """ASGI middleware: every request but the test controls goes through an `Exchange`."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["path"].startswith("/_standin/"):
            return await self.app(scope, receive, send)
        exchange = Exchange(scope, receive, send)
        if await exchange.answered_by_fault():
            return None
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except ApiError as error:
            await error.response()(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            exchange.record["status"] = exchange.record["status"] or "client-left"
        return None
