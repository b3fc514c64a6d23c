"""The command `fleetmark`: `fleetmark controller …` and `fleetmark agent …`.

For machines where another program is called `agent` or `controller`.
"""

from __future__ import annotations

import sys
from importlib.metadata import distribution
from typing import NoReturn

from fleetmark_cli.app import PREFIX
from fleetmark_cli.exit_codes import EXIT_USAGE
from fleetmark_cli.output import echo
from fleetmark_core.version import VERSION

_PROGRAMS = {
    "agent": "Run the jobs that a Fleetmark controller sends to this device.",
    "controller": "Run ML benchmarks on a fleet of devices and store the results.",
}
_HELP = """\
Usage: fleetmark COMMAND [ARGS]...

  Fleet-wide, repeatable ML benchmarks on edge hardware.

Commands:
{commands}

`fleetmark COMMAND -h` shows the options of a command."""


def main() -> NoReturn:
    """Run the program that the first argument names, with the other arguments.

    The programs are found by their entry points, because this package imports neither of them.
    """
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        width = max(map(len, _PROGRAMS))
        lines = (f"  {name:<{width}}  {text}" for name, text in _PROGRAMS.items())
        echo(_HELP.format(commands="\n".join(lines)))
        sys.exit(0)
    if arguments[0] == "--version":
        echo(f"fleetmark {VERSION}")
        sys.exit(0)
    if arguments[0] not in _PROGRAMS:
        from fleetmark_core.suggest import hint

        problem = f"fleetmark: no command {arguments[0]!r}. {hint(arguments[0], _PROGRAMS)}"
        echo(problem, err=True)
        sys.exit(EXIT_USAGE)
    found = distribution("fleetmark").entry_points
    (program,) = found.select(group="console_scripts", name=arguments[0])
    sys.argv = [f"{PREFIX}{arguments[0]}", *arguments[1:]]
    program.load()()
    sys.exit(0)


if __name__ == "__main__":
    main()
