"""`deepsynth doctor`: whether jobs can be run on Flyte, on this machine and on its cluster."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from deepsynth.checks import Finding, Severity
from deepsynth.errors import DeepSynthError
from deepsynth.runners.flyte.settings import load_settings, local_store


def examine() -> Iterator[Finding]:
    """What is installed and configured; contacts nobody, and says nothing where Flyte is not."""
    try:
        installed = version("flyte")
    except PackageNotFoundError:
        return
    yield Finding(Severity.INFO, "flyte-version", "flyte", f"Flyte is {installed}.")
    try:
        store = load_settings().store or local_store()
    except DeepSynthError as error:
        yield _wrong("flyte-settings", error)
    else:
        yield Finding(Severity.INFO, "flyte-store", "flyte", f"What steps make goes to {store}.")


def examine_cluster() -> Iterator[Finding]:
    """Whether the cluster answers, and whether its machines can reach the store."""
    from deepsynth.runners.flyte.cluster import connect, store_of

    yield from examine()
    try:
        settings = load_settings()
        store_of(settings)
        endpoint = connect(settings, Path.cwd())
    except DeepSynthError as error:
        yield _wrong("flyte-cluster", error)
    else:
        yield Finding(Severity.INFO, "flyte-cluster", endpoint, "The cluster answers.")


def _wrong(code: str, error: DeepSynthError) -> Finding:
    return Finding(Severity.ERROR, code, error.where or "flyte", error.what, error.hint or "")
