"""What of a folder has reached which repository: JSON lines in the folder itself.

A line is written after the storage has confirmed a file, so a re-run after a kill knows what to
ask about. It is a hint, never a proof: each file it names is confirmed with the server before the
commit, and sent again if the server does not have it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from deepsynth import durable

NAME = ".publish-journal"


@dataclass(frozen=True)
class Journal:
    """The uploads of one folder to one repository.

    Attributes:
        folder: The dataset or run folder.
        target: `ENDPOINT/TYPE/USER/NAME`; entries for other targets are left alone.
    """

    folder: Path
    target: str

    def uploaded(self) -> set[str]:
        """Sha256 of the files that this target's storage has confirmed."""
        return {entry["sha256"] for entry in self._entries() if entry["target"] == self.target}

    def add(self, path: str, sha256: str, size: int) -> None:
        """Note one confirmed file."""
        entry = {"target": self.target, "path": path, "sha256": sha256, "bytes": size}
        durable.append_line(self.folder / NAME, entry)

    def close(self) -> None:
        """Forget this target's entries, once its commit is verified."""
        path = self.folder / NAME
        entries = self._entries()
        others = [entry for entry in entries if entry["target"] != self.target]
        if len(others) == len(entries):
            return
        if others:
            lines = (json.dumps(entry, ensure_ascii=False) + "\n" for entry in others)
            durable.write_text(path, "".join(lines))
        else:
            path.unlink(missing_ok=True)

    def _entries(self) -> list[dict[str, str]]:
        wanted = ("target", "sha256")
        return [
            entry
            for entry in durable.read_lines(self.folder / NAME)
            if isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in wanted)
        ]
