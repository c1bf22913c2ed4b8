"""What happens in a warm process, and in what is forked from it; `run/warm.py` asks for it.

It imports and does nothing else, so that no thread is lost in a fork.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import select
import socket
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from deepsynth.run.warm import MESSAGE, came_along

_DESCRIPTORS = 16
"""The most that come with one question."""
_OWN_THREADS = ("jemalloc_bg_thd",)
"""Threads of libraries that survive a fork: the allocator of pyarrow looks after its own."""


def main() -> None:
    """`python -m deepsynth.run.forking DESCRIPTOR MODULE...`: import, and fork when asked to."""
    order = _serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
    # Only a fork comes here.
    if order["own"]:
        order = _with_its_own(order)
    module: str = order["module"]
    sys.argv = [module, *order["arguments"]]
    # It is run anew as the main module, as `python -m` does.
    sys.modules.pop(module, None)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _serve(channel: socket.socket, modules: Sequence[str]) -> dict[str, Any]:
    """Import and answer; returns in each fork, with what it is to run."""
    # Looking for what may go, while so much comes, takes a tenth of the time.
    gc.disable()
    todo = list(modules)
    failed = ""
    asked = False
    while True:
        if todo and not asked and not select.select([channel], [], [], 0)[0]:
            failed = failed or _load(todo.pop(0))
            continue
        message, descriptors, _, _ = socket.recv_fds(channel, MESSAGE, _DESCRIPTORS)
        if not message:
            os._exit(0)
        question = json.loads(message)
        asked = "load" in question
        if asked:
            failed = failed or _load(*question["load"]) or _strange_threads()
            answer = {"failed": failed} if failed else {}
        else:
            order = question["fork"]
            pid = _fork_for_another(channel, order, descriptors)
            if pid is None:
                gc.enable()
                return order
            answer = {"pid": pid} if pid else {"failed": "the warm process could not fork"}
        for descriptor in descriptors:
            os.close(descriptor)
        channel.send(json.dumps(answer).encode())


def _load(*modules: str) -> str:
    """Import modules; says why one failed, or nothing."""
    for module in modules:
        try:
            import_module(module)
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            return f"{module} cannot be imported: {type(error).__name__}: {error}"
    # What was imported is never looked at by the collector again: each fork would copy its pages.
    gc.freeze()
    return ""


def _strange_threads() -> str:
    """Threads that a fork would lose, or nothing; libraries end some of theirs before any fork."""
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    names: list[str] = []
    for task in set(os.listdir("/proc/self/task")) - {str(os.getpid())}:  # noqa: PTH208
        with open(f"/proc/self/task/{task}/comm") as stream:  # noqa: PTH123
            names.append(stream.read().strip())
    strange = sorted(set(names) - set(_OWN_THREADS))
    return f"importing started threads: {', '.join(strange)}" if strange else ""


def _fork_for_another(
    channel: socket.socket, order: dict[str, Any], descriptors: list[int]
) -> int | None:
    """Fork a process and give it away: its parent ends, and the one who asked adopts it.

    Returns:
        Its number, once it is the other's child and leads its session, or 0 if that failed; in the
        fork, None.
    """
    ours, theirs = socket.socketpair()
    with ours:
        if (between := os.fork()) == 0:
            try:
                if os.fork():
                    os._exit(0)
                ours.close()
                channel.close()
                _become(order, descriptors)
                theirs.send(str(os.getpid()).encode())
                theirs.recv(1)  # until it has been given away
                theirs.close()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            return None
        theirs.close()
        pid = int(ours.recv(20) or 0)
        os.waitpid(between, 0)
    return pid


def _become(order: dict[str, Any], descriptors: list[int]) -> None:
    """Be what `subprocess` would have started."""
    os.setsid()
    # Warnings and the like: an import of its own would have printed them.
    said = os.pread(2, os.fstat(2).st_size, 0)
    for target, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, target)
        os.close(descriptor)
    kept = descriptors[3:]
    for descriptor in kept:
        os.set_inheritable(descriptor, True)
    before = os.getcwd()  # noqa: PTH109
    os.chdir(order["directory"])
    if sys.path[0] == before:
        sys.path[:1] = [] if "PYTHONSAFEPATH" in order["environment"] else [order["directory"]]
    os.environ.clear()
    os.environ.update(order["environment"])
    os.environ.update(zip(order["named"], map(str, kept), strict=False))
    if "numpy.random" in sys.modules:  # Python and torch see to theirs
        sys.modules["numpy.random"].seed()
    os.write(2, said)


def _with_its_own(order: dict[str, Any]) -> dict[str, Any]:
    """Fork once more: a warm process for the command line this is going to be."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if (pid := os.fork()) == 0:
        ours.close()
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for target in range(3):
            os.dup2(nothing, target)
        os.close(nothing)
        return _serve(theirs, [])
    theirs.close()
    came_along(ours, pid)
    return order


if __name__ == "__main__":
    main()
