"""The command `deepsynth`: its verbs, and how errors leave it."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, UnknownOptionError

from deepsynth import __version__
from deepsynth.errors import EXIT_FAILED, EXIT_REQUEST, EXIT_STOPPED, DeepSynthError
from deepsynth.families import every_family
from deepsynth.runners import kinds
from deepsynth.terminal import groups
from deepsynth.terminal.verb import Verb

_OURS = {
    groups.BEGIN: {
        "make:init": "Write a commented job file to start from, and the folders it needs.",
        "make:predict": "Use the trained model of a run.",
    },
    groups.MAKE_DATA: {
        "pages:generate": "Turn texts with summaries into datasets of page images.",
        "pages:preview": "Show pages, or the lines of manuscripts, as the model gets them: an HTML "
        "gallery.",
    },
    groups.WORK: {
        "work:run": "Do everything a job says: prepare, check, train, evaluate.",
        "work:check": "Look for what would go wrong, without a GPU and before anything expensive "
        "runs.",
        "work:prepare": "Read, clean and split the data of a job; nothing is trained.",
        "train:train": "Train the model of a job, run or list of datasets, preparing and checking "
        "first.",
        "work:evaluate": "Score the model of a job or run and write its report, training first if "
        "need be.",
    },
    groups.LOOK: {
        "look:status": "Say how a run stands, or list all runs.",
        "look:logs": "Print what a step printed.",
        "look:stop": "Ask a run to save and stop; `deepsynth run --resume` goes on later.",
        "look:fetch": "Bring what a run made elsewhere into its folder here, and verify it.",
        "look:compare": "Put the figures of several runs side by side, then the settings in which "
        "they differ.",
    },
    groups.PUBLISH: {
        "publish:publish": "Put a dataset or the model of a run on the Hugging Face Hub, as one "
        "verified commit.",
    },
    groups.LOOK_AFTER: {
        "system:doctor": "Find what stands in the way: Hub access, caches, disk space; with --on, "
        "at another place.",
        "system:setup": "Install an environment that a family needs, here or at another place.",
        "system:trust": "Let the settings file of a folder be used, as it is now; the user's own "
        "needs no word.",
    },
}
"""Our own verbs, by module in `verbs/`, with the first line of what they say of themselves."""


def every_verb() -> list[Verb]:
    """All verbs of the command line: our own, those of families, those of runners."""
    ours = [
        Verb(f"deepsynth.verbs.{place}", summary, group)
        for group, verbs in _OURS.items()
        for place, summary in verbs.items()
    ]
    brought = (verb for owner in (*every_family(), *kinds()) for verb in owner.verbs)
    return [*ours, *brought]


_LISTED = "deepsynth --help lists the verbs and options."


def build_app(*, listed: bool = False) -> App:
    """The command line; `listed` where only the list of verbs is wanted, which loads none."""
    app = App(
        name="deepsynth",
        help="One job file takes documents to a fine-tuned, evaluated, published model.",
        version=__version__,
        help_format="plaintext" if listed else "markdown",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    app.group_commands = groups.MORE
    for verb in every_verb():
        verb.register(app, listed=listed)
    app.register_install_completion_command()
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong request, 130 stopped."""
    sys.exit(run_command(sys.argv[1:] if arguments is None else arguments))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line; every error becomes one message and an exit code."""
    try:
        app = build_app(listed=list(arguments) in ([], ["--help"], ["-h"]))
        command, bound, given = app.parse_args(list(arguments))
        if "planned" in given:
            from deepsynth.verbs.runs import planned

            bound.arguments["planned"] = planned
        result = command(*bound.args, **bound.kwargs)
        sys.stdout.flush()
    except DeepSynthError as error:
        return _tell(str(error), error.exit_code)
    except UnknownOptionError as error:
        return _tell(_instead(error) or f"{error}\n  {_LISTED}", EXIT_REQUEST)
    except CycloptsError as error:
        return _tell(_refused(error) or f"{error}\n  {_LISTED}", EXIT_REQUEST)
    except KeyboardInterrupt:
        return _tell("stopped.", EXIT_STOPPED)
    except BrokenPipeError:
        # `deepsynth logs | head`: the reader has what it wanted.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return _unforeseen(error)
        return _tell(
            f"{error.filename or 'disk'}: there is no space left.\n"
            "  Free some, or choose another folder with --runs DIR; then run the same again.",
            EXIT_REQUEST,
        )
    except Exception as error:
        return _unforeseen(error)
    return result if isinstance(result, int) else 0


def _refused(error: CycloptsError) -> str | None:
    """What pydantic said of flags that are settings; None where it was not asked."""
    from pydantic import ValidationError

    from deepsynth.job.settings import refused_flags

    cause = error.__cause__
    return str(refused_flags(cause)) if isinstance(cause, ValidationError) else None


def _instead(error: UnknownOptionError) -> str | None:
    """What to say of an option that another program calls so; None of any other."""
    from deepsynth.training.settings import TrainingSettings

    option = error.token.keyword or error.token.value
    name = option.removeprefix("--").partition("=")[0].replace("-", "_")
    setting, _, value = TrainingSettings.elsewhere.get(name, "").partition(":")
    if not setting:
        return None
    meant = f"--{setting.replace('_', '-')}{value}, or the setting train.{setting}"
    return f"Unknown option: {option}.\n  Did you mean {meant}?"


def _unforeseen(error: Exception) -> int:
    from deepsynth.terminal.unforeseen import keep_traceback

    return _tell(keep_traceback(error), EXIT_FAILED)


def _tell(message: str, code: int) -> int:
    from deepsynth.terminal.console import Console

    colour = "red" if code in (EXIT_FAILED, EXIT_REQUEST) else "yellow"
    console = Console(stderr=True)
    head, _, rest = message.partition("\n")
    console.print(head, style=colour, soft_wrap=True)
    if rest:
        console.print(rest, soft_wrap=True)
    return code


if __name__ == "__main__":
    main()
