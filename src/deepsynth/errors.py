"""What can go wrong, and how it is said: where, what, and what to do next.

```
DeepSynthError                 exit code 1: the work failed
├── RequestError               exit code 2: what was asked for is wrong
│   ├── JobError               the job file or an override
│   ├── DataError              the documents, tables or images given
│   ├── ModelError             the model named or found
│   ├── RunError               the run folder named or found
│   └── MissingDependency      a program or package that is not installed
├── StepFailed                 a step of a run ended badly; carries its own exit code
└── Stopped                    exit code 130: asked to stop, and did
```

Every message names the place first, as compilers do, and the remedy last:

    tickets/job.yaml:7: train.learning_rte is not a setting of classify.
      Did you mean learning_rate?
"""

from __future__ import annotations

from typing import Any

EXIT_FAILED = 1
EXIT_REQUEST = 2
EXIT_STOPPED = 130


def install_extra(extra: str) -> str:
    """The remedy for packages that come with an extra of DeepSynth.

    From the clone, never by name: on the public package index the name is a stranger's.
    """
    return f"In the folder DeepSynth was cloned to: pip install -e '.[{extra}]'"


class DeepSynthError(Exception):
    """Base of every error a user may meet.

    Args:
        what: One sentence saying what is wrong.
        where: File, `file:line`, field, URL or step the sentence is about.
        hint: What to do next; the remedy, a command, or the list to choose from.
    """

    exit_code = EXIT_FAILED

    def __init__(self, what: str, *, where: object = None, hint: str | None = None) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  {self.hint}" if self.hint else head

    def as_dict(self) -> dict[str, Any]:
        """The error as plain data, to cross a process border (`steps/NAME/error.json`)."""
        return {
            "what": self.what,
            "where": self.where,
            "hint": self.hint,
            "exit_code": self.exit_code,
        }


class RequestError(DeepSynthError):
    """What was asked for is wrong: nothing was started, nothing was changed."""

    exit_code = EXIT_REQUEST


class JobError(RequestError):
    """The job file, or a `key=value` override, does not say something we can do."""


class DataError(RequestError):
    """The data given cannot be used as it is."""


class ModelError(RequestError):
    """The model given cannot be used for this family."""


class RunError(RequestError):
    """The run folder given is missing, of another job, busy, or not writable."""


class MissingDependency(RequestError):
    """A program or package is needed that is not here; the hint is the line that installs it."""


class StepFailed(DeepSynthError):
    """A step ended badly. `exit_code` is 2 when the step found the request to be wrong."""

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        hint: str | None = None,
        exit_code: int = EXIT_FAILED,
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.exit_code = exit_code

    @classmethod
    def from_dict(cls, told: Any) -> StepFailed:
        """The error that `as_dict` made plain data of, on this side of the border.

        What crossed it may be of another version, or not ours at all: what is missing is left out.
        """
        told = told if isinstance(told, dict) else {}
        text = {key: told[key] for key in ("where", "hint") if isinstance(told.get(key), str)}
        code = told.get("exit_code")
        return cls(
            str(told.get("what") or "it did not say why it failed."),
            exit_code=code if code in (EXIT_FAILED, EXIT_REQUEST, EXIT_STOPPED) else EXIT_FAILED,
            **text,
        )


class Stopped(DeepSynthError):
    """The run was asked to stop (Ctrl-C, `deepsynth stop`) and did so cleanly."""

    exit_code = EXIT_STOPPED
