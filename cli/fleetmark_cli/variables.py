"""Every environment variable that Fleetmark reads or sets; docs/configuration.md lists them."""

from __future__ import annotations

from typing import NamedTuple


class Variable(NamedTuple):
    """A variable: its name, its reader and its meaning."""

    name: str
    reader: str
    meaning: str


VARIABLES = (
    Variable(
        "FLEETMARK_CONTROLLER",
        "agent, controller",
        "Address HOST:PORT of the controller, where `--controller` is not given.",
    ),
    Variable(
        "FLEETMARK_TOKEN",
        "agent",
        "Join token, where neither `--token` nor `--token-file` is given. Child processes do not"
        " inherit it.",
    ),
    Variable("FLEETMARK_AGENT_HOME", "agent", "Folder of the agent, where `--home` is not given."),
    Variable(
        "FLEETMARK_CONTROLLER_HOME",
        "controller",
        "Folder of the controller, where `--home` is not given; it holds a credential.",
    ),
    Variable(
        "FLEETMARK_CREDENTIALS",
        "controller",
        "Credentials file of an operator, where `--credentials` is not given.",
    ),
    Variable(
        "XDG_DATA_HOME",
        "agent, controller",
        "Folder of the user's data, in which homes are by default; default: `~/.local/share`.",
    ),
    Variable(
        "XDG_CONFIG_HOME",
        "controller",
        "Folder that holds `fleetmark/credentials.json`; default: `~/.config`.",
    ),
    Variable(
        "HOME",
        "agent, controller",
        "Home folder of the user; default: that of the password database.",
    ),
    Variable(
        "PYTHONPATH",
        "agent",
        "If it is set, the agent's processes run with `python -s` in place of `python -I` and find"
        " modules there.",
    ),
    Variable(
        "GRPC_VERBOSITY",
        "agent, controller",
        "How much gRPC itself logs; default here: `NONE`.",
    ),
    Variable(
        "GRPC_DNS_RESOLVER",
        "agent, controller",
        "How gRPC resolves names; default here: `native`, which asks the system.",
    ),
    Variable(
        "MALLOC_ARENA_MAX",
        "agent",
        "Memory arenas of the C library; default here: `1`, which saves memory.",
    ),
    Variable(
        "MPLCONFIGDIR",
        "controller",
        "Folder of matplotlib's cache, for plots in reports; default here: one of the user's own.",
    ),
    Variable("FLEETMARK_JOB", "jobs", "Path of the job's JSON document; set by the agent."),
    Variable("FLEETMARK_OUT", "jobs", "Folder for the job's results; set by the agent."),
    Variable(
        "FLEETMARK_AGENT_OPTIONS",
        "deploy/",
        "Options of `agent start`, in `agent.env` of the unit and in compose.yaml.",
    ),
    Variable(
        "FLEETMARK_CONTROLLER_OPTIONS",
        "deploy/",
        "Options of `controller serve`, in `controller.env` of the unit and in compose.yaml.",
    ),
    Variable("FLEETMARK_AGENT_NAME", "deploy/", "Name of the device in compose.yaml."),
    Variable("FLEETMARK_BASE", "deploy/", "Base image of both containers in compose.yaml."),
    Variable(
        "FLEETMARK_TEST_MIRROR",
        "tests, make",
        "Folder of files named by SHA-256 that tests and `make mlperf-campaign` fetch from.",
    ),
)
