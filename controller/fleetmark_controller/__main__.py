"""`python -m fleetmark_controller`."""

from fleetmark_controller.entry import main

main()
