"""Runner of a click command; every error becomes one line on stderr and a defined exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

import click

from fleetmark_cli.encoding import protect_streams
from fleetmark_cli.exit_codes import EXIT_INTERRUPTED, EXIT_USAGE, Problem
from fleetmark_cli.output import sentence

PREFIX = "fleetmark "
"""What `fleetmark controller …` puts before the name of a program."""


def run(command: click.Command, translate: Callable[[Exception], Problem | None]) -> NoReturn:
    """Run `command` on sys.argv and exit.

    Args:
        command: the click command.
        translate: returns the problem that an exception represents for users, or None if it is a
            fault of the program. Only in that case a traceback is shown.
    """
    protect_streams()
    name = sys.argv[0] if sys.argv[0].startswith(PREFIX) else command.name
    try:
        result = command.main(prog_name=name, standalone_mode=False)
        code = result if isinstance(result, int) else 0
    except click.exceptions.Abort:
        code = _show_problem(Problem("interrupted", EXIT_INTERRUPTED), command)
    except KeyboardInterrupt:
        code = _show_problem(Problem("interrupted", EXIT_INTERRUPTED), command)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else name
        code = _show_problem(
            Problem(f"{error.format_message()} Try `{where} --help`", EXIT_USAGE), command
        )
    except click.ClickException as error:
        code = _show_problem(Problem(error.format_message(), EXIT_USAGE), command)
    except BrokenPipeError:
        # The reader (`| head`) closed the pipe; Python's flush at exit must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        problem = translate(error)
        if problem is None:
            raise
        code = _show_problem(problem, command)
    sys.exit(code)


def _show_problem(problem: Problem, command: click.Command) -> int:
    sentence(f"{command.name}: {problem.line}", err=True)
    return problem.exit_code
