"""Environment variables that Fleetmark reads or sets, for docs/reference/configuration.md."""

from __future__ import annotations

from typing import NamedTuple


class Variable(NamedTuple):
    """One variable, its reader and its meaning."""

    name: str
    reader: str
    meaning: str


VARIABLES = (
    Variable(
        "FLEETMARK_CONTROLLER",
        "agent, controller",
        "Address HOST:PORT of the controller, if `--controller` is not given.",
    ),
    Variable(
        "FLEETMARK_TOKEN",
        "agent",
        "Enrollment token, if neither `--token` nor `--token-file` is given. Child processes do not"
        " inherit it.",
    ),
    Variable("FLEETMARK_AGENT_HOME", "agent", "Folder of the agent, if `--home` is not given."),
    Variable(
        "FLEETMARK_FRONT_HOME",
        "agent front",
        "Folder of the front, if `--home` is not given; `controller fleet add` uses it, too.",
    ),
    Variable(
        "FLEETMARK_CONTROLLER_HOME",
        "controller",
        "Folder of the controller, if `--home` is not given; it holds a credential.",
    ),
    Variable(
        "FLEETMARK_CREDENTIALS",
        "controller",
        "Credentials file of an operator, if `--credentials` is not given.",
    ),
    Variable(
        "FLEETMARK_LOG_FORMAT",
        "agent, controller",
        "Form of log lines (`text`, `json` or `auto`), if `--log-format` is not given.",
    ),
    Variable(
        "XDG_DATA_HOME",
        "agent, controller",
        "Folder of the user's data, the default place of homes; default: `~/.local/share`.",
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
        "Folder of matplotlib's cache, for plots in reports; default here: a folder of the user.",
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
