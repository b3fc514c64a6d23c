"""Install wheels into a plain folder: `python -I -m fleetmark_agent.helpers.install SPEC`.

It is a separate process, so that an idle agent does not hold the modules that it loads.
"""

from __future__ import annotations

import sys

from fleetmark_core.wheel_install import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
