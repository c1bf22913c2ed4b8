"""`deepsynth doctor`: whether jobs can be run on Flyte, as far as this machine knows."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

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
        yield wrong("flyte-settings", error)
    else:
        yield Finding(Severity.INFO, "flyte-store", "flyte", f"What steps make goes to {store}.")


def wrong(code: str, error: DeepSynthError) -> Finding:
    """An error as a finding of the doctor."""
    return Finding(Severity.ERROR, code, error.where or "flyte", error.what, error.hint or "")
