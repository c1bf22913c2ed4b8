"""The command `deepsynth`: its verbs, and how errors leave it."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from rich.console import Console

from deepsynth import __version__
from deepsynth.errors import EXIT_FAILED, EXIT_REQUEST, EXIT_STOPPED, DeepSynthError
from deepsynth.families.htr import cli as htr
from deepsynth.families.summarize import cli as summarize
from deepsynth.runners import kinds
from deepsynth.terminal import groups
from deepsynth.verbs import look, make, pages, publish, system, train, work

_GROUPS = {
    groups.BEGIN: (make.init, make.predict),
    groups.MAKE_DATA: (pages.generate, pages.preview),
    groups.WORK: (work.run, work.check, work.prepare, train.train, work.evaluate),
    groups.LOOK: (look.status, look.logs, look.stop, look.fetch, look.compare),
    groups.PUBLISH: (publish.publish,),
    groups.LOOK_AFTER: (system.doctor, system.setup),
}
_MORE = (htr, summarize)
"""Modules with verbs of their own; each has a `register`."""

_GIVEN = {"planned": work.planned}
"""What verbs that are brought by others get besides what was typed, by name of the parameter."""


def build_app(*, listed: bool = False) -> App:
    """The command line; `listed` where only the list of verbs is wanted, which loads none."""
    app = App(
        name="deepsynth",
        help="One job file takes documents to a fine-tuned, evaluated, published model.",
        version=__version__,
        help_format="markdown",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    app.group_commands = groups.MORE
    for group, verbs in _GROUPS.items():
        for verb in verbs:
            app.command(verb, group=group)
    for module in _MORE:
        module.register(app)
    for kind in kinds():
        for verb in kind.verbs:
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
        result = command(*bound.args, **bound.kwargs, **{name: _GIVEN[name] for name in given})
        sys.stdout.flush()
    except DeepSynthError as error:
        return _tell(str(error), error.exit_code)
    except CycloptsError as error:
        return _tell(f"{error}\n  deepsynth --help lists the verbs and options.", EXIT_REQUEST)
    except KeyboardInterrupt:
        return _tell("stopped.", EXIT_STOPPED)
    except BrokenPipeError:
        # `deepsynth logs | head`: the reader has what it wanted.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return _tell(
            f"{error.filename or 'disk'}: there is no space left.\n"
            "  Free some, or choose another folder with --runs DIR; then run the same again.",
            EXIT_REQUEST,
        )
    return result if isinstance(result, int) else 0


def _tell(message: str, code: int) -> int:
    colour = "red" if code in (EXIT_FAILED, EXIT_REQUEST) else "yellow"
    console = Console(stderr=True, highlight=False)
    head, _, rest = message.partition("\n")
    console.print(head, style=colour, markup=False, soft_wrap=True)
    if rest:
        console.print(rest, markup=False, soft_wrap=True)
    return code


if __name__ == "__main__":
    main()
