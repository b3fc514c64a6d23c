"""Start a job's program: `python -I -S -B launch.py --path FOLDER… -- SCRIPT ARGUMENT…`.

The folders come first on sys.path, in the given order; the script runs as `__main__`. The
site-packages of the user and the system are hidden, unless the interpreter was started without -S.
"""

from __future__ import annotations

import runpy
import sys


def main(words: list[str]) -> None:
    """Run the script that `words` name."""
    folders: list[str] = []
    while words and words[0] == "--path":
        folders.append(words[1])
        words = words[2:]
    if words[:1] != ["--"] or len(words) < 2:
        sys.exit("launch: expected --path FOLDER… -- SCRIPT ARGUMENT…")
    sys.argv = words[1:]
    sys.path[:0] = folders
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
