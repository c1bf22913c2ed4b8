"""A package from outside, built from the code blocks of a page of the documentation."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def install(page: str, folder: Path) -> Path:
    """Write the files a page shows into `folder`, as installed there; returns the folder.

    A block whose first line is `# PATH` is that file; `pyproject.toml` becomes the metadata that
    an installer would leave.
    """
    blocks = re.findall(r"^```\w+\n# (\S+)\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)
    assert blocks
    for name, text in blocks:
        if name != "pyproject.toml":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
            continue
        project = tomllib.loads(text)["project"]
        metadata = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        groups = [
            "\n".join([f"[{group}]", *(f"{name} = {place}" for name, place in points.items())])
            for group, points in project["entry-points"].items()
        ]
        (metadata / "entry_points.txt").write_text("\n".join(groups) + "\n")
    return folder
