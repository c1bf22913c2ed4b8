"""The last resort: an error that nobody foresaw is kept for who mends it, and said in a line."""

from __future__ import annotations

import os
import tempfile
import time
import traceback
from pathlib import Path

from deepsynth.home import state_folder
from deepsynth.printing import masked


def keep_traceback(error: BaseException) -> str:
    """Write the traceback of `error` to a file; returns what to say of it.

    It lies where only the user can read it, since it may show what was worked on.
    """
    text = masked("".join(traceback.format_exception(error)))
    name = f"deepsynth-error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    said = masked(" ".join(f"{type(error).__name__}: {error}".split()))[:200]
    for folder in (state_folder() / "errors", Path(tempfile.gettempdir())):
        path = folder / name
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError:
            continue
        return f"this was not foreseen ({said}). The details are in {path}"
    return f"this was not foreseen ({said}), and its details could not be written."
