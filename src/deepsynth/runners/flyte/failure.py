"""Our errors across Flyte and back: the message a person reads, and the exit code it means."""

from __future__ import annotations

import re

from deepsynth.errors import (
    EXIT_FAILED,
    EXIT_REQUEST,
    EXIT_STOPPED,
    DeepSynthError,
    StepFailed,
    Stopped,
)

_CODE = "DeepSynthExit"


def as_flyte(error: DeepSynthError, *, again: bool = False) -> Exception:
    """The error as Flyte records it; what was asked for wrongly, or stopped, is not tried again.

    Args:
        error: Ours.
        again: Let it be tried again whatever its exit code.
    """
    import flyte.errors

    code = f"{_CODE}{error.exit_code}"
    if not again and error.exit_code in (EXIT_REQUEST, EXIT_STOPPED):
        return flyte.errors.NonRecoverableError(message=str(error), code=code)
    return flyte.errors.RuntimeUserError(code, str(error))


def from_flyte(error: BaseException) -> DeepSynthError:
    """The error a task raised, as the caller of a runner expects it."""
    return told(getattr(error, "code", ""), str(error) or type(error).__name__)


def told(code: str, message: str) -> DeepSynthError:
    """An error from the code and the message that Flyte recorded."""
    found = re.search(rf"{_CODE}(\d+)", code) or re.search(rf"{_CODE}(\d+)", message)
    exit_code = int(found[1]) if found else EXIT_FAILED
    head, _, hint = message.strip().partition("\n")
    where, colon, what = head.partition(": ")
    if not colon:
        where, what = "", head
    if exit_code == EXIT_STOPPED:
        return Stopped(what, where=where or None)
    return StepFailed(what, where=where or None, hint=hint.strip() or None, exit_code=exit_code)
